"""The call of a discovery, the same from Python and from the command line: objects in, a searched module out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ice_lightning.checks import Unreadable, problem
from ice_lightning.criterions import Criterion
from ice_lightning.discovery.local import LocalProblem, average_of, charges_of
from ice_lightning.discovery.module import Discovery
from ice_lightning.discovery.provenance import provenance
from ice_lightning.latents import LatentDataModule
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.solvers import BlockKrylov, FullJacobian
from ice_lightning.solvers.local import Average
from ice_lightning.subspace import Subspace


def discover(
    generator: AnyGenerator,
    faces: Faces,
    criterion: Criterion,
    solver: BlockKrylov | FullJacobian,
    people: LatentDataModule,
    trainer: pl.Trainer,
    *,
    space: str,
    layers: str | None = None,
    precision: str = "float32",
    geometry: str = "population",
    settings: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
) -> Discovery:
    """Search a criterion's subspace over people.

    Args:
        generator: frozen.
        faces: the face models that look at each person once.
        criterion: what to change, and what to keep still.
        solver: whose search it is.
        people: latents (N, n) of `space`.
        trainer: runs the passes; its callbacks write files and show progress.
        space: z, w, w+ or s.
        layers: which layers of the space may move, such as "4-8" or "coarse"; None for all.
        precision: of the generator while products are taken: float32, tf32 or bfloat16.
        geometry: the inner product of the coordinates, population or euclidean.
        settings: what a checkpoint has to agree in, by dotted names.
        checkpoint: of an interrupted search, to go on from.

    Returns:
        The module, whose `result` holds the eigenpairs and whose `metrics` the numbers of metrics.json.

    Raises:
        IceError: in one sentence, for networks, people or settings that can't give a subspace.
    """
    module = Discovery(
        generator, faces, criterion, solver, len(people.latents), space, layers, precision, settings, geometry
    )
    if checkpoint is not None:
        check_readable(checkpoint)
    trainer.fit(module, datamodule=people, ckpt_path=checkpoint)
    return module


def check_readable(checkpoint: Path) -> None:
    """Refuse what isn't a checkpoint of a discovery.

    Raises:
        Unreadable: for a broken or foreign file; nothing in it is executed.
    """
    fix = "set ckpt_path to last.ckpt of an interrupted run, or drop it to begin anew"
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a stranger's file makes of the reader
        raise problem(f"a checkpoint at {checkpoint}", type(error).__name__, fix, Unreadable) from error
    if not isinstance(content, dict) or "pytorch-lightning_version" not in content or "settings" not in content:
        raise problem(f"a checkpoint of a discovery at {checkpoint}", "something else", fix, Unreadable)


def subspace_of(module: Discovery, config: Mapping[str, Any]) -> Subspace:
    """The subspace that a discovery has found.

    Args:
        module: after its search.
        config: the settings that led to it, with `latents.seed` among them.

    Returns:
        Directions (n, k) and eigenvalues (k,), with what made them.
    """
    made, charges = provenance(module, config), charges_of(Average.of(module.solution), module.criterion)
    return Subspace(module.result.vectors, module.result.values, module.space, made, charges)


def local_problem(module: Discovery, subspace: Subspace) -> LocalProblem:
    """What finds people's own directions right after a search.

    Args:
        module: after its search.
        subspace: that it has found.
    """
    coordinates = replace(module.coordinates, drawer=module.generator)
    average = average_of(subspace, module.criterion, coordinates)
    problem = module.problem._replace(people=1)
    return LocalProblem(module.generator, module.faces, module.criterion, coordinates, problem, average)
