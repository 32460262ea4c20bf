"""The explorer without its page: people, sliders, pictures and scores, as tensors."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ice_lightning.checks import one_of, problem
from ice_lightning.discovery.local import LocalProblem
from ice_lightning.explore.own import AVERAGE, HELD, OWN, Finder, Known
from ice_lightning.latents import FILE, SavedLatents
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.population import POPULATION, radius, scaled_to_deviations
from ice_lightning.subspace import Subspace
from ice_lightning.traversal import visible_strength

SEEDS = 2**31
"""People are drawn from seeds below it."""
FARTHEST = 100.0
"""No slider goes farther, in standard deviations: a change that needs more is nowhere to be seen."""


@dataclass(frozen=True)
class Slider:
    """How far to go along one direction, in standard deviations of the population.

    Attributes:
        name: of the subspace, and the direction's number.
        subspace: its name.
        direction: its number.
        unit: one deviation, in lengths of the direction.
        visible: where the change is plain to see.
        limit: farthest either way: `visible`, or the bound of counterfactuals where that is farther, rounded up.
    """

    name: str
    subspace: str
    direction: int
    unit: float
    visible: float
    limit: float


@dataclass(frozen=True, eq=False)
class Explorer:
    """A generator, and where its people may be moved.

    Attributes:
        generator: draws people.
        space: of the subspaces.
        sliders: (k,) of them.
        basis: (n, k), a direction for each slider, as long as one standard deviation of the population along it.
        classifiers: by name, image in 0..1 -> (N,) logits.
        people: latents (n,) of inverted pictures, by name.
        finders: of people's own directions, by subspace; without one they move along the average's.
    """

    generator: AnyGenerator
    space: str
    sliders: tuple[Slider, ...]
    basis: Tensor
    classifiers: Mapping[str, nn.Module]
    people: Mapping[str, Tensor] = field(default_factory=dict)
    finders: Mapping[str, Finder] = field(default_factory=dict)


class Drawn(NamedTuple):
    """A person as drawn.

    Attributes:
        u: (1, n), the latent.
        image: (3, H, W) in 0..1.
        scores: (C,), the classifiers' probabilities.
    """

    u: Tensor
    image: Tensor
    scores: Tensor


@torch.no_grad()
def build(
    generator: AnyGenerator,
    subspaces: Mapping[str, Subspace],
    classifiers: Mapping[str, nn.Module],
    people: Mapping[str, Tensor],
    directions: int = 3,
    on_search: Callable[[str], None] = lambda name: None,
    problems: Mapping[str, Callable[[], LocalProblem]] | None = None,
) -> Explorer:
    """Sliders for the strongest directions of subspaces of one generator and space.

    Args:
        generator: of all of them.
        subspaces: by name, at least one.
        classifiers: by name, image in 0..1 -> (N,) logits.
        people: latents (n,) of inverted pictures, by name.
        directions: how many of each subspace, the strongest.
        on_search: called with the name of the subspace whose visible strengths are looked for, which takes seconds.
        problems: what finds people's own directions, by name, for those subspaces that have it.

    Returns:
        The explorer.
    """
    space = next(iter(subspaces.values())).space
    population = generator.people(POPULATION, 0, space)
    sliders, bases = [], []
    for name, subspace in subspaces.items():
        on_search(name)
        subspace = subspace.strongest(directions)
        basis = scaled_to_deviations(torch.nn.functional.normalize(subspace.directions, dim=0), population)
        bases.append(basis)
        units = basis.norm(dim=0) / subspace.directions.to(basis).norm(dim=0)
        for i, unit in enumerate(units.tolist()):
            strength = visible_strength(generator, subspace, population[:2], i)
            visible = min(math.ceil(10 * strength / unit) / 10, FARTHEST)
            limit = float(max(math.ceil(visible), round(radius(1))))
            sliders.append(Slider(f"{name} {i}", name, i, unit, visible, limit))
    finders = {
        name: Finder(make, tuple(each.limit * each.unit for each in sliders if each.subspace == name))
        for name, make in (problems or {}).items()
    }
    return Explorer(generator, space, tuple(sliders), torch.cat(bases, 1), classifiers, people, finders)


def check_person(explorer: Explorer, name: Any, seed: Any) -> tuple[str, int]:
    """Who is asked for, checked: the page may send anything.

    Args:
        explorer: what is shown.
        name: of a picture, or "" for nobody's.
        seed: of a person, which only counts without a name.

    Returns:
        A picture's name and 0, or "" and a seed.

    Raises:
        IceError: for a picture that isn't there, or a seed that isn't a whole number in 0..2**31 - 1.
    """
    if name:
        return one_of("picture", name, explorer.people), 0
    if not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise problem(f"a seed from 0 to {SEEDS - 1}", seed, "type a whole number")
    return "", seed


@torch.no_grad()
def person(explorer: Explorer, name: str, seed: int) -> Tensor:
    """The latent of a person.

    Args:
        explorer: what is shown.
        name: of a picture, or "".
        seed: that the person is drawn from, where there is no name.

    Returns:
        (1, n).
    """
    if name:
        return explorer.people[name][None]
    return explorer.generator.people(1, seed, explorer.space)


def edit(explorer: Explorer, u: Tensor, moves: Sequence[float], known: Known | None = None) -> Tensor:
    """People moved by all sliders.

    Args:
        explorer: what is shown.
        u: (N, n); of one person where something is known of them.
        moves: a number for each slider, in standard deviations; beyond its limit the limit counts.
        known: the person's own directions, as far as they are known.

    Returns:
        (N, n).

    Raises:
        IceError: unless there is a finite number for each slider.
    """
    t = torch.tensor(limited(explorer, moves))
    steps = {i: step for i, step in enumerate(own_steps(explorer, t.tolist(), known)) if step is not None}
    t[list(steps)] = 0
    moved = u + t.expand(len(u), -1).to(u) @ explorer.basis.T
    for step in steps.values():
        moved = moved + step
    return moved


def limited(explorer: Explorer, moves: Sequence[float]) -> list[float]:
    """Numbers of all sliders within their limits.

    Args:
        explorer: what is shown.
        moves: as they came.

    Raises:
        IceError: unless there is a finite number for each slider.
    """
    limits = [slider.limit for slider in explorer.sliders]
    numbers = [move for move in moves if isinstance(move, int | float) and math.isfinite(move)]
    if not len(numbers) == len(moves) == len(limits):
        got = f"{len(numbers)} in {len(moves)} values"
        raise problem(f"{len(limits)} finite numbers, one for each slider", got, "reset the sliders")
    return [max(-limit, min(limit, move)) for move, limit in zip(moves, limits, strict=True)]


def own_steps(explorer: Explorer, t: Sequence[float], known: Known | None) -> list[Tensor | None]:
    """By how much each slider moves a person along their own direction, (n,); None where it moves along the average's.

    Args:
        explorer: what is shown.
        t: a number for each slider, within its limits.
        known: of the person.
    """
    if known is None:
        return [None] * len(t)
    return [
        known.step(slider.subspace, slider.direction, move * slider.unit) if move else None
        for slider, move in zip(explorer.sliders, t, strict=True)
    ]


def state(explorer: Explorer, moves: Sequence[float], known: Known | None) -> str:
    """How a person moves by the sliders that aren't at 0, in a word or a few; by all of them where they rest.

    Args:
        explorer: what is shown.
        moves: a number for each slider.
        known: of the person.

    Returns:
        What holds of the least of them: average, own, not held, or held; "" where nobody has own directions.

    Raises:
        IceError: unless there is a finite number for each slider.
    """
    t = limited(explorer, moves)
    if not explorer.finders or known is None:
        return ""
    asked = [
        known.state(slider.subspace, slider.direction, move * slider.unit)
        for slider, move in zip(explorer.sliders, t, strict=True)
        if move or not any(t)
    ]
    order = {AVERAGE: 0, OWN: 1, HELD: 3}
    return min(asked, key=lambda each: order.get(each, 2))


@torch.no_grad()
def drawn(explorer: Explorer, u: Tensor) -> Drawn:
    """A person's image, and what the classifiers say of it.

    Args:
        explorer: with the generator and the classifiers.
        u: (1, n).

    Returns:
        All three.
    """
    image = explorer.generator(u, explorer.space).clamp(0, 1)
    logits = [classifier(image) for classifier in explorer.classifiers.values()]
    return Drawn(u, image[0], torch.cat(logits).sigmoid() if logits else torch.empty(0))


def pixels(image: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in 0..1 -> (H, W, 3)."""
    return (255 * image).round().byte().permute(1, 2, 0).cpu().numpy()


def caption(explorer: Explorer, moves: Sequence[float]) -> str:
    """The sliders that aren't at 0, in words.

    Args:
        explorer: with k sliders.
        moves: (k,), their values.

    Returns:
        Names and values, "" for none.
    """
    return ", ".join(f"{s.name} {move:+g}" for s, move in zip(explorer.sliders, moves, strict=True) if move)


def encoded(image: NDArray[np.uint8], kind: str, **options: int) -> bytes:
    """A picture as the content of a file.

    Args:
        image: (H, W, 3).
        kind: a format that Pillow writes, such as PNG.
        options: of that format.

    Returns:
        The bytes of the file.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def archive(explorer: Explorer, shown: Drawn, name: str) -> bytes:
    """An edit as a zip file: edit.png, and latents.safetensors, which explain, traverse and discover take.

    Args:
        explorer: what is shown.
        shown: the person, moved.
        name: of the person in the latents.

    Returns:
        The bytes of the zip file.
    """
    latents = SavedLatents(shown.u, explorer.space, explorer.generator.fingerprint, (name,))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("edit.png", encoded(pixels(shown.image), "PNG"))
        packed.writestr(FILE, latents.to_bytes())
    return buffer.getvalue()
