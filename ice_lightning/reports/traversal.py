"""What a traversal leaves: a film and a sheet for each direction, and one sheet of them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ice_lightning.edits import CLEAN, Moved, SubspaceAt
from ice_lightning.files import write_bytes, write_json
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.reports import figures
from ice_lightning.reports.films import film, there_and_back, write_gif, write_mp4
from ice_lightning.subspace import Subspace
from ice_lightning.traversal import STEPS, Walk, walk
from ice_lightning.wording import words

SHARES = {-1.0: "- full", -0.5: "- half", 0.0: "original", 0.5: "+ half", 1.0: "+ full"}
"""What stands above the steps of a walk where everyone has a strength of their own."""


@dataclass(frozen=True)
class TraversalMetrics:
    """What metrics.json of a traversal says.

    Attributes:
        criterion: of the subspace.
        strengths: at the ends, in lengths of the direction, by direction; the mean where everyone has their own.
        people: what is known of everyone, by direction; nothing where they move along the average's.
        files: names of the films and sheets of directions.
    """

    criterion: str
    strengths: Mapping[str, float]
    people: Mapping[str, tuple[Moved, ...]]
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        rows = {direction: [each.to_json() for each in moved] for direction, moved in self.people.items()}
        return asdict(self) | {"people": rows}


def sheet(walked: Walk, name: str, direction: int, at: SubspaceAt | None = None) -> Figure:
    """People along a direction, with what is to be said of each.

    Args:
        walked: their images.
        name: of the subspace, in words.
        direction: which.
        at: who moved them along directions of their own; None where everyone moved along the average's.

    Returns:
        A figure; steps at which something that is suppressed isn't held are marked.
    """
    title = f"{name}: direction {direction}"
    if at is None:
        return figures.traversal(walked.images, figures.headings(walked.strengths[0].tolist()), title)
    moved = at.moved(direction, tops := walked.strengths[:, -1])
    alike = bool((tops == tops[0]).all())
    headings = figures.headings(walked.strengths[0].tolist()) if alike else [SHARES[step] for step in STEPS]
    unit = "deviations" if at.problem.coordinates.geometry is not None else "latent units"
    labels = ["\n".join(label(each, unit)) for each in moved]
    marks = [marks_of(each, row) for each, row in zip(moved, walked.strengths.tolist(), strict=True)]
    title += ", everyone's own" + (", held" if at.hold else "")
    return figures.traversal(walked.images, headings, title, labels, marks)


def label(moved: Moved, unit: str) -> list[str]:
    """What stands beside a person, in lines.

    Args:
        moved: what is known of them.
        unit: of strengths.

    Example:
        >>> from ice_lightning.edits import Reach
        >>> sides = Reach(-0.6, -0.9, "shape"), Reach(1.2, None, "")
        >>> label(Moved(1.2, True, "", 0.9, 3.1, 0.1, sides), "deviations")
        ['±1.2 deviations', 'held to -0.6, not at -0.9:', 'shape']
    """
    lines = [f"±{moved.strength:.2g} {unit}"]
    if not moved.own:
        return [*lines, "the average's, for want", f"of {moved.why}"]
    if moved.clean is not None and moved.clean < CLEAN:
        lines.append("not clean")
    if moved.reach is None:
        return lines
    for held_up_to, not_held_at, term in moved.reach:
        if not_held_at is not None:
            before = f"held to {held_up_to:+.2g}, not at" if held_up_to else "not held at"
            lines += [f"{before} {not_held_at:+.2g}" + (":" if term else ""), *filter(None, [words(term)])]
    return lines if len(lines) > 1 else [*lines, "held"]


def marks_of(moved: Moved, strengths: Sequence[float]) -> list[str]:
    """What stands on each image of a person: "not held" beyond where they are.

    Args:
        moved: what is known of them.
        strengths: (K,), of the images.

    Example:
        >>> from ice_lightning.edits import Reach
        >>> sides = Reach(-0.5, -1.0, "shape"), Reach(1.0, None, "")
        >>> marks_of(Moved(1.0, True, "", 0.9, 3.1, 0.1, sides), [-1.0, -0.5, 0.0, 1.0])
        ['not held', '', '', '']
    """
    if moved.reach is None:
        return [""] * len(strengths)
    ends = [abs(moved.reach[strength > 0].held_up_to) * (1 + 1e-6) for strength in strengths]
    return ["not held" if abs(strength) > end else "" for strength, end in zip(strengths, ends, strict=True)]


@torch.no_grad()
def write_traversal(
    folder: Path,
    generator: AnyGenerator,
    mover: Subspace | SubspaceAt,
    u: Tensor,
    directions: Sequence[int],
    strength: float | None,
    frames: int,
    rate: float,
    progress: Callable[[int], None] = lambda direction: None,
) -> TraversalMetrics:
    """Write direction<i>.gif, .mp4 (where ffmpeg is there), direction<i>.png, sheet.png and metrics.json.

    Args:
        folder: of the run.
        generator: of the subspace.
        mover: along whose directions people move: everyone's, or each one's own.
        u: (N, n) people.
        directions: their numbers.
        strength: at the ends; None for where the change is plain to see.
        frames: of a film's round.
        rate: frames a second.
        progress: is called with the number of each direction that is done.

    Returns:
        What metrics.json holds.
    """
    name = words(mover.provenance["criterion"])
    tiles, strengths, people = {}, {}, {}
    for i in directions:
        own = mover if isinstance(mover, SubspaceAt) else None
        walked = walk(generator, mover, u, i, strength) if own is None else own.walk(i, strength)
        tops = walked.strengths[:, -1]
        tiles[f"direction {i}"], strengths[f"direction{i}"] = walked.images[0], float(tops.mean())
        if own is not None:
            people[f"direction{i}"] = own.moved(i, tops)
        write_bytes(folder / f"direction{i}.png", figures.png(sheet(walked, name, i, own)))

        def draw(share: float, i: int = i, tops: Tensor = tops) -> Tensor:
            return generator(mover.edit(u, i, share * tops), mover.space)

        moving = film(draw, there_and_back(1.0, frames))
        write_gif(moving, folder / f"direction{i}.gif", rate)
        write_mp4(moving, folder / f"direction{i}.mp4", rate)
        progress(i)
    write_bytes(
        folder / "sheet.png",
        figures.png(figures.overview(tiles, f"{name}: one person along each direction", columns=1)),
    )
    files = tuple(sorted(file.name for file in folder.glob("direction*")))
    metrics = TraversalMetrics(mover.provenance["criterion"], strengths, people, files)
    write_json(folder / "metrics.json", metrics.to_json())
    return metrics
