"""What a named subspace is compared with, and where the outcomes of random subspaces are kept for the next one.

Random subspaces depend on the classifier, the space and the dimension only: they are searched once, and serve every
named subspace that is judged.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ice_lightning.checks import LARGEST_SEED, at_least, problem
from ice_lightning.explanation.outcomes import RandomOutcomes, by_person, joined
from ice_lightning.explanation.rows import Rows
from ice_lightning.files import atomic_write

FILE = "controls.safetensors"
VERSION = 2
"""Of what is kept; files of another lie elsewhere."""
COLUMNS = ("flipped", "change", "t")
"""What is kept of each person, under these names after `random_`."""


@dataclass(frozen=True)
class ControlSettings:
    """What a subspace is compared with.

    Attributes:
        subspaces: whole random subspaces of the same dimension; 0 for none.
        people: to how many, the first ones, each of them is applied.
        seed: of the random subspaces and the random weights.
        weights: the same classifier with random weights, in the named subspace.
        unrestricted: all coordinates of the space at once, which miss no named flip.
    """

    subspaces: int = 20
    people: int = 64
    seed: int = 0
    weights: bool = True
    unrestricted: bool = True

    def __post_init__(self) -> None:
        """Refuse less than nothing."""
        at_least("explain.controls.subspaces", self.subspaces, 0)
        at_least("explain.controls.people", self.people, 1)
        at_least("explain.controls.seed", self.seed, 0)
        if self.seed > LARGEST_SEED:
            raise problem(f"explain.controls.seed of at most {LARGEST_SEED}", self.seed, "0 is usual")
        for name in ("weights", "unrestricted"):
            if not isinstance(getattr(self, name), bool):
                raise problem(f"explain.controls.{name} as true or false", repr(getattr(self, name)), "true is usual")


def read_controls(folder: Path) -> dict[int, RandomOutcomes]:
    """Outcomes of random subspaces by person; nothing where there is no whole file."""
    try:
        columns = load_file(folder / FILE)
        number, kept = columns["number"], {name: columns[f"random_{name}"] for name in COLUMNS}
    except (OSError, SafetensorError, KeyError):
        return {}
    return by_person(number, RandomOutcomes(applied=torch.ones_like(number, dtype=torch.bool), **kept))


def keep_controls(folder: Path, rows: Rows) -> None:
    """Keep the outcomes of random subspaces for other explanations.

    Args:
        folder: of the classifier, the space and the dimension; what is there stays, person by person.
        rows: of an explanation.
    """
    random = rows.random
    if random is None or not random.applied.any():
        return
    people = by_person(rows.number[random.applied], random.select(random.applied))
    everyone = read_controls(folder) | people
    order = sorted(everyone)
    kept = joined([everyone[number] for number in order])
    columns = {f"random_{name}": getattr(kept, name).contiguous() for name in COLUMNS}
    with atomic_write(folder / FILE) as part:
        save_file({"number": torch.tensor(order)} | columns, part)


def reinitialised(classifier: nn.Module, seed: int) -> nn.Module | None:
    """A copy in which nothing trained is left; None for a program, whose code may hold weights, or without weights.

    Layers are drawn by their own initialisation. What this leaves as it was (a transformer's tokens and positions, the
    gains of LayerScale, batch statistics of a layer that keeps them frozen) has its values shuffled, which keeps their
    scale and their sign; a single number is multiplied by one from e^-1 to e.

    Args:
        classifier: any module; state that it doesn't save with its weights counts as part of its code.
        seed: of everything that is drawn.

    Returns:
        Frozen and in eval mode.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> bool((reinitialised(network, 0).weight != network.weight).any())
        True
    """
    if any(isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule) for part in classifier.modules()):
        return None
    randomised = copy.deepcopy(classifier)
    saved = randomised.state_dict(keep_vars=True).values()  # the copy's tensors, but for non-persistent buffers
    trained = {id(t): t for t in saved if isinstance(t, Tensor) and t.is_floating_point()}.values()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        before = [t.clone() for t in trained]
        for layer in randomised.modules():
            if callable(getattr(layer, "reset_parameters", None)):
                layer.reset_parameters()  # type: ignore[operator]
        for t, old in zip(trained, before, strict=True):
            if torch.equal(t, old):
                t.copy_(shuffled(t))
    return randomised.requires_grad_(False).eval() if trained else None


def shuffled(t: Tensor) -> Tensor:
    """The values of a tensor at other places; of one value, another of its sign and size."""
    if t.numel() == 1:
        return t * math.exp(2 * torch.rand(()) - 1)
    values = t.flatten()
    other = values[torch.randperm(len(values)).to(t.device)]
    return (values.roll(1) if torch.equal(other, values) else other).view_as(t)
