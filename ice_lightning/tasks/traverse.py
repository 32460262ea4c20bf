"""task=traverse: people along directions, their own or everyone's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from ice_lightning.checks import problem
from ice_lightning.tasks.base import Result, writable
from ice_lightning.tasks.build import build, build_criterion, generator_from, local_problem_of
from ice_lightning.tasks.settings import resolved

if TYPE_CHECKING:
    from ice_lightning.discovery.local import LocalProblem
    from ice_lightning.modules.generator import AnyGenerator
    from ice_lightning.subspace import Subspace

LOG = logging.getLogger("ice_lightning")


def traverse(cfg: DictConfig) -> Result:
    """Films and sheets of a saved subspace, on people whom its search has never seen or on inverted pictures."""
    from ice_lightning.checkpoints.generators import generator_of
    from ice_lightning.checks import at_least
    from ice_lightning.edits import SubspaceAt, subspace_at
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
    mover: Subspace | SubspaceAt = subspace
    if (own := own_directions(cfg, subspace, G)) is not None:
        LOG.info(f"looking for directions of their own for {len(u)} people")
        at = subspace_at(own, u, max(8, count), subspace.provenance)
        mover, count = at.held() if cfg.held else at, min(count, at.directions.shape[2])

    with steps("direction", count) as progress:
        metrics = write_traversal(
            folder, G, mover, u, range(count), settings.strength, settings.frames, settings.rate,
            progress=lambda direction: progress.at(direction + 1),
        )  # fmt: skip
    return Result(folder, metrics.to_json(), f"{count} directions of {len(u)} people: {folder / 'sheet.png'}", subspace)


def own_directions(cfg: DictConfig, subspace: Subspace, generator: AnyGenerator) -> LocalProblem | None:
    """What finds people's own directions; None where everyone moves along the average's, with a warning unless asked.

    Args:
        cfg: all settings; a criterion or face models of somebody's own are built where these name them as well.
        subspace: says what it was found with.
        generator: that it was found on.

    Raises:
        IceError: where moves are to be held, and there are no directions of people's own.
    """
    from ice_lightning.explanation.own import problem_or_average

    named, found_with = resolved(cfg), subspace.provenance.get("config", {})

    def make() -> LocalProblem:
        faces = build(cfg.faces) if named["faces"] == found_with.get("faces") else None
        criterion = None
        if faces is not None and named["criterion"] == found_with.get("criterion"):
            criterion = build_criterion(cfg.criterion, faces, generator.resolution)
        return local_problem_of(subspace, generator, faces, criterion)

    return problem_or_average(make, None if cfg.local else False, cfg.held)
