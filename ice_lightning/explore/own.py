"""Directions of the person on the screen, searched in the background: own ones first, then held paths along them."""

from __future__ import annotations

import atexit
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ice_lightning.checks import IceError
from ice_lightning.discovery.local import LocalProblem
from ice_lightning.edits import SubspaceAt, subspace_at

LOG = logging.getLogger("ice_lightning")

DIRECTIONS = 8
"""So many are looked for, as everywhere else, whatever the sliders show of them."""
KEPT = 32
"""People of whom what was found is kept."""
AVERAGE, OWN, HELD = "average", "own", "held"
"""How somebody moves by a slider: along everyone's direction, along their own, or held along that."""

Key = tuple[str, int]
"""Who: a picture's name, or "" and a seed."""


@dataclass(frozen=True)
class Finder:
    """How people's own directions of one subspace are found.

    Attributes:
        make: what finds them; raises IceError where nothing does.
        ends: of each of the subspace's sliders, how far it goes, in lengths of the direction.
    """

    make: Callable[[], LocalProblem]
    ends: tuple[float, ...]


@dataclass(eq=False)
class Known:
    """What is known of a person.

    Attributes:
        u: (1, n).
        at: their own directions, by subspace.
        todo: finds more at every step; None at its end.
    """

    u: Tensor
    at: dict[str, SubspaceAt] = field(default_factory=dict)
    todo: Iterator[None] | None = None

    def state(self, subspace: str, direction: int, strength: float) -> str:
        """How they move by a strength: AVERAGE, OWN, HELD, or up to where they are held.

        Args:
            subspace: by name.
            direction: which.
            strength: in lengths of the direction; 0 asks for both sides.
        """
        at = self.at.get(subspace)
        if at is None or not at.has(0, direction):
            return AVERAGE
        signs = [1.0 if strength > 0 else -1.0] if strength else [-1.0, 1.0]
        if any((0, direction, sign) not in at.paths for sign in signs):
            return OWN
        reach = at.reach(0, direction)[strength > 0]
        if abs(strength) <= abs(reach.held_up_to) * (1 + 1e-6):
            return HELD
        return "not held" + (f": {reach.stopped_by}" if reach.stopped_by else "")

    def step(self, subspace: str, direction: int, strength: float) -> Tensor | None:
        """(n,), by which a strength moves them, held where a path is known; None along the average."""
        state = self.state(subspace, direction, strength)
        if state == AVERAGE:
            return None
        at = self.at[subspace]
        mover = at.straight() if state == OWN else at.held()
        return (mover.edit(None, direction, strength) - at.u)[0]


class Interrupted(Exception):
    """Something else comes first."""


def work(finders: Mapping[str, Finder], known: Known, between: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Find a person's own directions of each subspace, then held paths of slider after slider, a step for each.

    Args:
        finders: by subspace.
        known: of the person; what is found is added to it.
        between: is called within a path; where it raises `Interrupted`, the path is looked for again later.
    """
    for name, finder in finders.items():
        try:
            problem = finder.make()
        except IceError as error:
            LOG.warning(f"{name}: everyone moves along the average's directions: {error}")
            continue
        known.at[name] = subspace_at(problem, known.u, DIRECTIONS, {})
        yield
    for name, direction, end in [(n, i, end) for n in known.at for i, end in enumerate(finders[n].ends)]:
        at = known.at[name]
        for strength in (end, -end):
            while known.state(name, direction, strength) == OWN:
                with suppress(Interrupted):
                    at.follow(direction, torch.tensor([strength]), [0], between)
                yield


class Background:
    """A thread that finds directions of whoever was moved last, then of those before them.

    Args:
        finders: by subspace.
    """

    def __init__(self, finders: Mapping[str, Finder]) -> None:
        self.finders = finders
        self.people: OrderedDict[Key, Known] = OrderedDict()
        self.wake = threading.Condition()
        self.closed = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        atexit.register(self.close)  # at the interpreter's end a thread within torch would abort the process

    def of(self, key: Key, u: Tensor, first: bool = True) -> Known:
        """What is known by now of a person.

        Args:
            key: who.
            u: (1, n), their latent.
            first: whether more is found of them before it is of others.
        """
        with self.wake:
            if key not in self.people:
                known = self.people[key] = Known(u)
                known.todo = work(self.finders, known, partial(self.check, known))
                if len(self.people) > KEPT:
                    self.people.popitem(last=False)
            if first:
                self.people.move_to_end(key)
            self.wake.notify()
            return self.people[key]

    def unfinished(self) -> Known | None:
        """Of whom something is to be found."""
        return next((known for known in reversed(self.people.values()) if known.todo is not None), None)

    def check(self, known: Known) -> None:
        """Raise Interrupted where somebody else comes first, or all ends."""
        with self.wake:
            if self.closed or self.unfinished() is not known:
                raise Interrupted

    def run(self) -> None:
        """Take one step after the other."""
        torch.set_num_threads(1)  # of this thread: the others draw
        while True:
            with self.wake:
                self.wake.wait_for(lambda: self.closed or self.unfinished() is not None)
                known = self.unfinished()
            if self.closed or known is None or known.todo is None:
                return
            try:
                next(known.todo)
            except StopIteration:
                known.todo = None
            except Exception:
                known.todo = None
                LOG.exception("no more directions are looked for: the search in the background failed")

    def close(self) -> None:
        """End the thread, after a second or a few."""
        with self.wake:
            self.closed = True
            self.wake.notify()
        self.thread.join()
        atexit.unregister(self.close)
