"""task=discover: a criterion's subspace."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ice_lightning.files import LAST
from ice_lightning.launch import check_shares, own_ranks, quiet
from ice_lightning.tasks.base import Result, check_trainer, checkpoint_of, writable
from ice_lightning.tasks.build import build_criterion, generator_from, layers_of, logger_of
from ice_lightning.tasks.settings import resolved, settings, weights_of


def discover(cfg: DictConfig, command: str = "") -> Result:
    """Find a criterion's subspace and write it with its metrics and pictures into cfg.run_dir.

    Args:
        cfg: all settings.
        command: what the page says to do to repeat it; "" where there is none.

    Returns:
        The metrics and the subspace, as its file has them.

    Raises:
        IceError: in one sentence.
    """
    began = time.perf_counter()
    folder = writable(Path(cfg.run_dir))
    checkpoint = checkpoint_of(cfg.ckpt_path, folder)
    with quiet():
        return _discover(cfg, command, folder, checkpoint, began)


def _discover(cfg: DictConfig, command: str, folder: Path, checkpoint: Path | None, began: float) -> Result:
    from ice_lightning.discovery.callbacks import SavePass, StageProgress
    from ice_lightning.discovery.discover import discover
    from ice_lightning.loggers.wandb import Track
    from ice_lightning.reports.discovery import SaveDiscovery
    from ice_lightning.subspace import load_subspace

    check_trainer(cfg)
    logger = logger_of(cfg)
    generator, faces = generator_from(cfg), instantiate(cfg.faces)
    criterion = build_criterion(cfg.criterion, faces, generator.resolution)
    layers, config = layers_of(cfg, generator), resolved(cfg)
    decisive = settings(cfg) | weights_of(generator, faces=faces)
    people = instantiate(cfg.latents, _partial_=True)(generator=generator, space=cfg.space)
    seconds = {"load": time.perf_counter() - began}
    save = SaveDiscovery(folder, config, OmegaConf.to_yaml(cfg, resolve=True), command, seconds)
    trainer = instantiate(cfg.trainer, _partial_=True)(
        logger=logger, callbacks=[Track(config), StageProgress(), save, SavePass(folder)]
    )
    check_shares(trainer.world_size, len(people.latents), "latents.count")
    with own_ranks(folder):
        discover(
            generator, faces, criterion, instantiate(cfg.solver), people, trainer, space=cfg.space, layers=layers,
            precision=cfg.precision, geometry=cfg.geometry, settings=decisive, checkpoint=checkpoint,
        )  # fmt: skip
    (folder / LAST).unlink(missing_ok=True)
    # Forked processes keep what they hold to themselves: the files are what every way of running has in common.
    metrics = json.loads((folder / "metrics.json").read_text())
    early = f"the search stopped early: {metrics['stopped_early']}\n" if metrics["stopped_early"] else ""
    message = f"{early}{metrics['rank']} directions: {folder / 'traversal.png'}"
    return Result(folder, metrics, message, load_subspace(folder))
