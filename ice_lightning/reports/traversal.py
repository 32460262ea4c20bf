"""What a traversal leaves: a film and a sheet for each direction, and one sheet of them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ice_lightning.files import write_bytes, write_json
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.reports import figures
from ice_lightning.reports.films import film, there_and_back, write_gif, write_mp4
from ice_lightning.subspace import Subspace
from ice_lightning.traversal import walk
from ice_lightning.wording import words


@dataclass(frozen=True)
class TraversalMetrics:
    """What metrics.json of a traversal says.

    Attributes:
        criterion: of the subspace.
        strengths: at the ends, in latent units, by direction.
        files: names of the films and sheets of directions.
    """

    criterion: str
    strengths: Mapping[str, float]
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        return asdict(self)


@torch.no_grad()
def write_traversal(
    folder: Path,
    generator: AnyGenerator,
    subspace: Subspace,
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
        subspace: whose directions are walked along.
        u: (N, n) people.
        directions: their numbers.
        strength: at the ends; None for where the change is plain to see.
        frames: of a film's round.
        rate: frames a second.
        progress: is called with the number of each direction that is done.

    Returns:
        What metrics.json holds.
    """
    name = words(subspace.provenance["criterion"])
    tiles, tops = {}, {}
    for i in directions:
        strengths, images = walk(generator, subspace, u, i, strength)
        top = strengths[-1]
        tiles[f"direction {i}"], tops[f"direction{i}"] = images[0], top
        sheet = figures.traversal(images, figures.headings(strengths), f"{name}: direction {i}")
        write_bytes(folder / f"direction{i}.png", figures.png(sheet))

        def draw(s: float, i: int = i) -> Tensor:
            return generator(subspace.edit(u, i, s), subspace.space)

        moving = film(draw, there_and_back(top, frames))
        write_gif(moving, folder / f"direction{i}.gif", rate)
        write_mp4(moving, folder / f"direction{i}.mp4", rate)
        progress(i)
    write_bytes(
        folder / "sheet.png",
        figures.png(figures.overview(tiles, f"{name}: one person along each direction", columns=1)),
    )
    files = tuple(sorted(file.name for file in folder.glob("direction*")))
    metrics = TraversalMetrics(subspace.provenance["criterion"], tops, files)
    write_json(folder / "metrics.json", metrics.to_json())
    return metrics
