"""What a sweep of discoveries leaves: each run's strongest direction on the same person, as a picture and a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ice_lightning.checkpoints.generators import generator_of
from ice_lightning.discovery.metrics import RunMetrics
from ice_lightning.files import write_bytes, write_text
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.reports import figures, pages
from ice_lightning.reports.discovery import HELD_OUT
from ice_lightning.subspace import load_subspace
from ice_lightning.traversal import traverse, visible_strength


def write_comparison(
    folder: Path, runs: Mapping[str, Path], shared: str, build: Callable[[Any], AnyGenerator], command: str = ""
) -> None:
    """comparison.png and comparison.html.

    Args:
        folder: where to; the runs lie below it.
        runs: what tells a run from the others -> folder of a finished discovery.
        shared: the settings that they have in common, "" for none.
        build: the generator of a configuration, where a subspace's isn't a checkpoint's; see `generator_of`.
        command: that repeats the sweep.
    """
    tiles = {}
    for name, run in runs.items():
        subspace = load_subspace(run)
        G = generator_of(subspace, build)
        with torch.no_grad():
            u = G.people(1, subspace.provenance["seed"] + HELD_OUT, subspace.space)
        top = visible_strength(G, subspace, u)
        tiles[name] = traverse(G, subspace, u, [-top, 0, top])[0]
    picture = figures.png(figures.overview(tiles, shared or "strongest directions"))
    found = {name: RunMetrics.from_json(json.loads((run / "metrics.json").read_text())) for name, run in runs.items()}
    links = {name: f"{run.relative_to(folder)}/report.html" for name, run in runs.items()}
    write_bytes(folder / "comparison.png", picture)
    write_text(folder / "comparison.html", pages.comparison_page(picture, found, links, shared, command))
