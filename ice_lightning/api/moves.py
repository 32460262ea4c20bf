"""Calls that move people: along directions of their own, or along everyone's."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ice_lightning import traversal
from ice_lightning.api.arguments import as_faces, as_generator, as_people, as_subspace, check, instance, undisturbed
from ice_lightning.api.results import Discovered
from ice_lightning.checks import finite
from ice_lightning.criterions import Criterion
from ice_lightning.discovery.local import LocalProblem
from ice_lightning.edits import SubspaceAt, subspace_at
from ice_lightning.explanation.own import problem_or_average
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.reports.traversal import sheet
from ice_lightning.subspace import Subspace
from ice_lightning.tasks.build import build_criterion, composed, local_problem_of
from ice_lightning.wording import words

WALKED = 2_000_000
"""Seed of the first person who is moved, whom no search for a subspace has seen; as on the command line."""


def at(
    generator: AnyGenerator,
    subspace: Subspace,
    u: Tensor,
    *,
    directions: int | None = 8,
    held: bool = False,
    faces: Faces | None = None,
    criterion: str | Criterion | None = None,
) -> SubspaceAt:
    """The directions of single people, each their own, in the order and with the signs of the average ones.

    Args:
        generator: of the subspace.
        subspace: of `discover` or `load_subspace`.
        u: people (N, n).
        directions: at most so many, the strongest; None for all.
        held: whether moves hold still what is suppressed, see `SubspaceAt.held`.
        faces: the face models; None for those of the search, or of the embedded generator.
        criterion: of the subspace, where it isn't a preset.

    Returns:
        What moves these people, by `edit`; `.local` says who has no directions of their own, and why.

    Raises:
        IceError: in one sentence.

    Example:
        u = G.people(4, 0, "s")
        u1 = at(G, hair, u, held=True).edit(direction=0, strength=1.0)
        u2 = at(G, mouth, u1, held=True).edit(direction=0, strength=0.5)
    """
    directions, held = check(directions=directions, held=held)
    _check_parts(faces, criterion)
    with undisturbed():
        generator = as_generator(generator)
        subspace = as_subspace(subspace, generator)
        people = as_people(u, subspace, generator)
        found = _own(_problem(generator, subspace, faces, criterion), subspace, people, directions)
    return found.held() if held else found


@torch.no_grad()
def traverse(
    generator: AnyGenerator,
    subspace: Subspace,
    people: int | Tensor = 4,
    *,
    direction: int = 0,
    strength: float | None = None,
    seed: int = WALKED,
    local: bool | None = None,
    held: bool = False,
    faces: Faces | None = None,
    criterion: str | Criterion | None = None,
) -> Figure:
    """Draw people along a direction, at five strengths.

    Args:
        generator: of the subspace.
        subspace: whose direction it is.
        people: how many, or latents (N, n).
        direction: 0 is the average's strongest, and of each person the one that does the same.
        strength: at the ends, in lengths of the direction, above 0; None for where the change is plain to see.
        seed: of the first person, where they are drawn.
        local: whether everyone moves along a direction of their own; None for where the subspace knows enough, else
            along the average's, with a warning.
        held: whether what is suppressed is held still on the way.
        faces: the face models, for directions of people's own; see `at`.
        criterion: the same.

    Returns:
        People in rows, the original in the middle, and what changes.

    Raises:
        IceError: in one sentence.

    Example:
        >>> from ice_lightning import load_generator, load_subspace
        >>> from ice_lightning.checkpoints import ASSETS
        >>> S = load_subspace(ASSETS / "subspaces" / "hair_color.safetensors")
        >>> traverse(load_generator("embedded"), S, people=1, local=False).get_suptitle()
        'hair color: direction 0'
    """
    direction, strength, seed, local, held = check(
        direction=direction, strength=strength, seed=seed, local=local, held=held
    )
    if not isinstance(people, Tensor):
        fix = "for example people=4"
        what = "people as a number, or as latents (N, n) in a Tensor"
        (people,) = check(people=instance(what, people, (int, np.integer), fix))
    _check_parts(faces, criterion)
    with undisturbed():
        generator = as_generator(generator)
        subspace = as_subspace(subspace, generator)
        if isinstance(people, Tensor):
            u = finite("latents of people", as_people(people, subspace, generator))
        else:
            u = generator.people(people, seed, subspace.space)
        name = words(subspace.provenance.get("criterion", "subspace"))
        own = problem_or_average(lambda: _problem(generator, subspace, faces, criterion), local, held)
        if own is None:
            return sheet(traversal.walk(generator, subspace, u, direction, strength), name, direction)
        moved = _own(own, subspace, u, max(8, direction + 1))
        moved = moved.held() if held else moved
        return sheet(moved.walk(direction, strength), name, direction, moved)


def _check_parts(faces: object, criterion: object) -> None:
    """Refuse what are no face models or no criterion."""
    if faces is not None:
        instance("face models as Faces", faces, Faces, "pass faces=, of ice_lightning.faces")
    if criterion is not None:
        instance("the name of a preset or a Criterion", criterion, (str, Criterion), "pass it as discover took it")
    if isinstance(criterion, str):
        composed(criterion=criterion)


def _problem(
    generator: AnyGenerator, subspace: Subspace, faces: Faces | None, criterion: str | Criterion | None
) -> LocalProblem:
    """What finds people's own directions."""
    if isinstance(subspace, Discovered):
        faces = subspace.module.faces if faces is None else faces
        criterion = subspace.module.criterion if criterion is None else criterion
    seen_by = as_faces(faces, generator)
    if isinstance(criterion, str):
        criterion = build_criterion(composed(criterion=criterion).criterion, seen_by, generator.resolution)
    return local_problem_of(subspace, generator, seen_by, criterion)


def _own(problem: LocalProblem, subspace: Subspace, u: Tensor, directions: int | None) -> SubspaceAt:
    """The directions of people (N, n), with the networks as they are wanted meanwhile."""
    count = subspace.directions.shape[1] if directions is None else directions
    with undisturbed(problem.generator, problem.faces):
        return subspace_at(problem, u, count, subspace.provenance)
