"""task=traverse: a person along directions."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from ice_lightning.checks import problem
from ice_lightning.tasks.base import Result, writable
from ice_lightning.tasks.build import generator_from


def traverse(cfg: DictConfig) -> Result:
    """Films and sheets of a saved subspace, on people whom its search has never seen or on inverted pictures."""
    from ice_lightning.checkpoints.generators import generator_of
    from ice_lightning.checks import at_least
    from ice_lightning.latents import LatentDataModule
    from ice_lightning.progress import steps
    from ice_lightning.reports.traversal import write_traversal
    from ice_lightning.subspace import load_subspace

    if cfg.subspace is None:
        raise problem("the run folder of a discovery", "none", "set subspace=DIR")
    folder, subspace = writable(Path(cfg.run_dir)), load_subspace(cfg.subspace)
    G, settings = generator_of(subspace, make=lambda _: generator_from(cfg)), cfg.traverse
    u = LatentDataModule(G, subspace.space, settings.people, settings.seed, file=settings.latents).latents
    count = min(at_least("traverse.directions", settings.directions, 1), subspace.directions.shape[1])

    with steps("direction", count) as progress:
        metrics = write_traversal(
            folder, G, subspace, u, range(count), settings.strength, settings.frames, settings.rate,
            progress=lambda direction: progress.at(direction + 1),
        )  # fmt: skip
    return Result(folder, metrics.to_json(), f"{count} directions of {len(u)} people: {folder / 'sheet.png'}", subspace)
