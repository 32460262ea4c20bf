"""task=discover: a criterion's subspace."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ice_lightning.files import LAST
from ice_lightning.launch import check_shares
from ice_lightning.tasks.base import Result, check_trainer, checkpoint_of, quieten, writable
from ice_lightning.tasks.build import build_criterion, generator_from, layers_of, logger_of
from ice_lightning.tasks.settings import resolved, settings, weights_of


def discover(cfg: DictConfig, command: str = "") -> Result:
    """Find a criterion's subspace and write it with its metrics and pictures into cfg.run_dir.

    `command` is what the page says to do to repeat it.
    """
    began = time.perf_counter()
    folder = writable(Path(cfg.run_dir))
    checkpoint = checkpoint_of(cfg.ckpt_path, folder)
    from ice_lightning.discovery.callbacks import SavePass, StageProgress
    from ice_lightning.discovery.module import Discovery
    from ice_lightning.launch import own_ranks
    from ice_lightning.loggers.wandb import Track
    from ice_lightning.reports.discovery import SaveDiscovery
    from ice_lightning.subspace import load_subspace

    quieten()
    check_trainer(cfg)
    logger = logger_of(cfg)
    generator = generator_from(cfg)
    faces = instantiate(cfg.faces)
    criterion = build_criterion(cfg.criterion, faces, generator.resolution)
    layers, decisive = layers_of(cfg, generator), settings(cfg)
    decisive |= weights_of(generator, faces=faces)
    data = instantiate(cfg.latents, _partial_=True)(generator=generator, space=cfg.space)
    solver, people = instantiate(cfg.solver), len(data.latents)
    module = Discovery(
        generator, faces, criterion, solver, people, cfg.space, layers, cfg.precision, decisive, cfg.geometry
    )
    config = resolved(cfg)
    seconds = {"load": time.perf_counter() - began}
    save = SaveDiscovery(folder, config, OmegaConf.to_yaml(cfg, resolve=True), command, seconds)
    trainer = instantiate(cfg.trainer, _partial_=True)(
        logger=logger, callbacks=[Track(config), StageProgress(), save, SavePass(folder)]
    )
    check_shares(trainer.world_size, len(data.latents), "latents.count")
    with own_ranks(folder):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    (folder / LAST).unlink(missing_ok=True)
    # Forked processes keep what they hold to themselves: the files are what every way of running has in common.
    metrics = json.loads((folder / "metrics.json").read_text())
    early = f"the search stopped early: {metrics['stopped_early']}\n" if metrics["stopped_early"] else ""
    said = f"{early}{metrics['rank']} directions: {folder / 'traversal.png'}"
    return Result(folder, metrics, said, load_subspace(folder))
