"""What a traversal leaves: a film and a sheet for each direction, and one sheet of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ice_lightning.files import write_bytes, write_json
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.reports import figures
from ice_lightning.reports.films import film, there_and_back, write_gif, write_mp4
from ice_lightning.subspace import Subspace
from ice_lightning.traversal import traverse, visible_strength
from ice_lightning.wording import words


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
    tell: Callable[[int], None] = lambda direction: None,
) -> dict[str, Any]:
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
        tell: is told which direction is done.

    Returns:
        What metrics.json holds: the strength at the ends of each direction, and the files.
    """
    name = words(subspace.provenance["criterion"])
    tiles, tops = {}, {}
    for i in directions:
        top = strength or visible_strength(generator, subspace, u, i)
        strengths = [top * step for step in (-1, -0.5, 0, 0.5, 1)]
        images = traverse(generator, subspace, u, strengths, i)
        tiles[f"direction {i}"], tops[f"direction{i}"] = images[0], top
        sheet = figures.traversal(images, figures.headings(strengths), f"{name}: direction {i}")
        write_bytes(folder / f"direction{i}.png", figures.png(sheet))

        def draw(s: float, i: int = i) -> Tensor:
            return generator(subspace.edit(u, i, s), subspace.space)

        moving = film(draw, there_and_back(top, frames))
        write_gif(moving, folder / f"direction{i}.gif", rate)
        write_mp4(moving, folder / f"direction{i}.mp4", rate)
        tell(i)
    write_bytes(
        folder / "sheet.png",
        figures.png(figures.overview(tiles, f"{name}: one person along each direction", columns=1)),
    )
    metrics = {
        "criterion": subspace.provenance["criterion"],
        "strengths": tops,
        "files": sorted(file.name for file in folder.glob("direction*")),
    }
    write_json(folder / "metrics.json", metrics)
    return metrics
