"""task=explain: counterfactuals of a classifier within a subspace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ice_lightning.checks import problem
from ice_lightning.launch import check_shares, own_ranks, quiet
from ice_lightning.tasks.base import Result, check_trainer, command, writable
from ice_lightning.tasks.build import (
    build_criterion,
    criterion_of,
    generator_from,
    local_problem_of,
    logger_of,
    name_of,
    oracles_from,
)
from ice_lightning.tasks.settings import digest, digest_of, people_of, resolved, settings, weights_of
from ice_lightning.tasks.subspace_cache import found_before

if TYPE_CHECKING:
    from torch import nn

    from ice_lightning.explanation import ControlSettings
    from ice_lightning.modules.generator import AnyGenerator
    from ice_lightning.subspace import Subspace


def explain(cfg: DictConfig) -> Result:
    """Flip a classifier within a subspace, person by person, and write what was found into cfg.run_dir.

    A run folder with people in it goes on where it stopped; a finished one is read.
    """
    folder = writable(Path(cfg.run_dir))
    if cfg.get("classifier") is None:
        raise problem("a classifier to explain", "none", "add classifier=smiling or another one")
    with quiet():
        return _explain(cfg, folder)


def _explain(cfg: DictConfig, folder: Path) -> Result:
    from ice_lightning.checks import at_least
    from ice_lightning.explanation.controls import VERSION as KEPT_VERSION
    from ice_lightning.explanation.controls import ControlSettings, read_controls
    from ice_lightning.explanation.explain import explain
    from ice_lightning.explanation.own import problem_or_average
    from ice_lightning.explanation.rows import Header, finished, load_explained
    from ice_lightning.explanation.verdict import summary
    from ice_lightning.latents import LatentDataModule, read_latents
    from ice_lightning.loggers.wandb import Track
    from ice_lightning.reports.explanation import SaveExplanation, headline
    from ice_lightning.subspace import file_of, load_subspace

    check_trainer(cfg)
    logger = logger_of(cfg)
    count, controls = at_least("explain.people", cfg.explain.people, 1), ControlSettings(**cfg.explain.controls)
    if cfg.explain.latents is not None:
        count = len(read_latents(cfg.explain.latents).u)
    generator = generator_from(cfg)
    faces, classifier = instantiate(cfg.faces), instantiate(cfg.classifier)
    oracles = oracles_from(cfg, generator, classifier)
    place = file_of(cfg.subspace or found_before(cfg, generator, faces))
    whole = subspace = load_subspace(place)
    if cfg.explain.directions is not None:
        subspace = subspace.strongest(at_least("explain.directions", cfg.explain.directions, 1))
    subspace.check_generator(generator)
    networks = {"faces": faces, "classifier": classifier} | {f"oracle {name}": each for name, each in oracles.items()}
    if resolved(cfg)["criterion"] == subspace.provenance.get("config", {}).get("criterion"):
        criterion = build_criterion(cfg.criterion, faces, generator.resolution)
    else:
        criterion = criterion_of(subspace, faces, generator.resolution)
    local = problem_or_average(
        lambda: local_problem_of(whole, generator, faces, criterion), None if cfg.local else False, cfg.held
    )
    dimension = subspace.directions.shape[1] if local is None else local.most(subspace.directions.shape[1])
    decisive = _decisive(cfg, subspace, list(oracles), local is not None) | weights_of(generator, **networks)
    kept = Path(cfg.explain.kept_controls) / digest_of(
        _deciding_controls(cfg, generator, classifier, subspace.space, dimension, controls) | {"rows": KEPT_VERSION}
    )
    header = Header(
        classifier=name_of(cfg.classifier),
        criterion=subspace.provenance["criterion"],
        directions=dimension,
        oracles=tuple(oracles),
        settings=decisive,
    )
    done = {number: row for number, row in finished(folder, decisive).items() if number < count}
    if not (folder / "metrics.json").exists() or len(done) < count:
        people = LatentDataModule(
            generator, subspace.space, count, cfg.explain.seed, cfg.explain.batch, cfg.explain.latents
        )
        yaml = OmegaConf.to_yaml(cfg, resolve=True)
        save = SaveExplanation(folder, header, yaml, place, subspace.provenance, command(), kept)
        trainer = instantiate(cfg.trainer, _partial_=True)(
            logger=logger,
            callbacks=[Track(resolved(cfg)), save],
            inference_mode=False,
        )
        check_shares(trainer.world_size, count, "explain.people")
        with own_ranks(folder):
            explain(
                generator, classifier, faces, subspace, criterion, instantiate(cfg.counterfactual), people, trainer,
                seed=cfg.explain.seed, oracles=oracles, controls=controls, convention=cfg.metrics.convention,
                query=cfg.metrics.query, done=done, random_done=read_controls(kept), local=local, held=cfg.held,
                keep_directions=cfg.explain.keep_directions,
            )  # fmt: skip
    message = f"{headline(summary(load_explained(folder)))} {folder / 'report.html'}"
    return Result(folder, json.loads((folder / "metrics.json").read_text()), message, subspace)


def _decisive(cfg: DictConfig, subspace: Subspace, oracles: list[str], local: bool) -> dict[str, Any]:
    """What decides the rows of an explanation beside the weights of its networks.

    Args:
        cfg: all settings.
        subspace: whose directions they are, or the average of people's own ones.
        oracles: their names.
        local: whether people move along directions of their own.
    """
    parts = ("generator", "faces", "classifier", "counterfactual", "metrics")
    decisive = settings(cfg, parts) | people_of(cfg) | settings(cfg, ("explain.controls",))
    decisive |= {"local": local, "held": cfg.held, "explain.keep_directions": local and cfg.explain.keep_directions}
    return decisive | {"explain.oracles": oracles, "subspace": digest(subspace.directions.numpy().tobytes())}


def _deciding_controls(
    cfg: DictConfig, generator: AnyGenerator, classifier: nn.Module, space: str, dimension: int,
    controls: ControlSettings,
) -> dict[str, Any]:  # fmt: skip
    """What decides outcomes in random subspaces, which serve every named one of the same dimension.

    Args:
        cfg: all settings.
        generator: of the run.
        classifier: that is explained.
        space: of the latents.
        dimension: of the subspaces.
        controls: how many there are, and which.
    """
    decisive = settings(cfg, ("generator", "classifier", "counterfactual"))
    decisive |= weights_of(generator, classifier=classifier) | people_of(cfg) | {"space": space}
    return decisive | {
        "controls": [controls.subspaces, controls.seed],
        "directions": dimension,
    }
