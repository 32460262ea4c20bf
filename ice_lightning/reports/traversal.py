"""What a traversal leaves: a film and a sheet for each direction, and one sheet of them all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ice_lightning.files import atomic_write
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.reports import figures
from ice_lightning.reports.films import film, there_and_back, write_gif, write_mp4
from ice_lightning.subspace import Subspace
from ice_lightning.traversal import walk


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
    name = subspace.provenance["criterion"].replace("_", " ")
    tiles, tops = {}, {}
    for i in directions:
        strengths, images = walk(generator, subspace, u, i, strength)
        top = strengths[-1]
        tiles[f"direction {i}"], tops[f"direction{i}"] = images[0], top
        sheet = figures.traversal(images, figures.headings(strengths), f"{name}: direction {i}")
        with atomic_write(folder / f"direction{i}.png") as part:
            part.write_bytes(figures.png(sheet))

        def draw(s: float, i: int = i) -> Tensor:
            return generator(subspace.edit(u, i, s), subspace.space)

        moving = film(draw, there_and_back(top, frames))
        write_gif(moving, folder / f"direction{i}.gif", rate)
        write_mp4(moving, folder / f"direction{i}.mp4", rate)
        tell(i)
    with atomic_write(folder / "sheet.png") as part:
        part.write_bytes(figures.png(figures.overview(tiles, f"{name}: one person along each direction", columns=1)))
    metrics = {
        "criterion": subspace.provenance["criterion"],
        "strengths": tops,
        "files": sorted(file.name for file in folder.glob("direction*")),
    }
    with atomic_write(folder / "metrics.json") as part:
        part.write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics
