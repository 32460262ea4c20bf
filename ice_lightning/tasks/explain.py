"""task=explain: counterfactuals of a classifier within a subspace."""

from __future__ import annotations

import json
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from ice_lightning.checks import problem
from ice_lightning.launch import check_shares
from ice_lightning.tasks.base import Result, check_trainer, command, quieten, writable
from ice_lightning.tasks.build import build_criterion, generator_from, logger_of, name_of, oracles_from
from ice_lightning.tasks.settings import digest, digest_of, people_of, resolved, settings, weights_of
from ice_lightning.tasks.subspace_cache import found_before


def explain(cfg: DictConfig) -> Result:
    """Flip a classifier within a subspace, person by person, and write what was found into cfg.run_dir.

    A run folder with people in it goes on where it stopped; a finished one is read.
    """
    folder = writable(Path(cfg.run_dir))
    if cfg.get("classifier") is None:
        raise problem("a classifier to explain", "none", "add classifier=smiling or another one")
    from ice_lightning.checks import at_least
    from ice_lightning.explanation.controls import ControlSettings, read_controls
    from ice_lightning.explanation.module import Explainer
    from ice_lightning.explanation.rows import ROWS, Header, finished, load_explained
    from ice_lightning.explanation.verdict import summary
    from ice_lightning.latents import LatentDataModule, read_latents
    from ice_lightning.launch import own_ranks
    from ice_lightning.loggers.wandb import Track
    from ice_lightning.population import POPULATION, layer_covariances
    from ice_lightning.reports.explanation import SaveExplanation, headline
    from ice_lightning.subspace import file_of, load_subspace

    quieten()
    check_trainer(cfg)
    logger = logger_of(cfg)
    people, controls = at_least("explain.people", cfg.explain.people, 1), ControlSettings(**cfg.explain.controls)
    if cfg.explain.latents is not None:
        people = len(read_latents(cfg.explain.latents).u)
    generator = generator_from(cfg)
    faces, classifier = instantiate(cfg.faces), instantiate(cfg.classifier)
    oracles = oracles_from(cfg, generator, classifier)
    place = file_of(cfg.subspace or found_before(cfg, generator, faces))
    subspace = load_subspace(place)
    if cfg.explain.directions is not None:
        subspace = subspace.strongest(at_least("explain.directions", cfg.explain.directions, 1))
    subspace.check_generator(generator.fingerprint)
    decisive = settings(cfg, ("generator", "faces", "classifier", "counterfactual", "metrics"))
    decisive |= (who := people_of(cfg))
    random = settings(cfg, ("generator", "classifier", "counterfactual")) | weights_of(generator, classifier=classifier)
    random |= who | {"space": subspace.space}
    random |= {"controls": [controls.subspaces, controls.seed], "directions": subspace.directions.shape[1]}
    kept = Path(cfg.explain.kept_controls) / digest_of(random | {"rows": ROWS})
    decisive |= settings(cfg, ("explain.controls",)) | {"explain.oracles": list(oracles)}
    decisive |= {"subspace": digest(subspace.directions.numpy().tobytes())}
    own = {"faces": faces, "classifier": classifier} | {f"oracle {name}": each for name, each in oracles.items()}
    decisive |= weights_of(generator, **own)
    header = Header(
        classifier=name_of(cfg.classifier),
        criterion=subspace.provenance["criterion"],
        directions=subspace.directions.shape[1],
        oracles=tuple(oracles),
        settings=decisive,
    )
    done = {number: row for number, row in finished(folder, decisive).items() if number < people}
    if not (folder / "metrics.json").exists() or len(done) < people:
        named = OmegaConf.create(subspace.provenance["config"]["criterion"])
        criterion = build_criterion(named, faces, generator.resolution)
        population = generator.people(POPULATION, cfg.explain.seed, subspace.space)
        method = instantiate(cfg.counterfactual)
        covariances = layer_covariances(generator, subspace.space)
        module = Explainer(
            generator, classifier, faces, subspace, method, covariances, population, criterion, oracles, controls,
            convention=cfg.metrics.convention, query=cfg.metrics.query, done=done, random_done=read_controls(kept),
        )  # fmt: skip
        data = LatentDataModule(
            generator, subspace.space, people, cfg.explain.seed, cfg.explain.batch, cfg.explain.latents
        )
        config = resolved(cfg)
        yaml = OmegaConf.to_yaml(cfg, resolve=True)
        save = SaveExplanation(folder, header, yaml, place, subspace.provenance, command(), kept)
        trainer = instantiate(cfg.trainer, _partial_=True)(
            logger=logger,
            callbacks=[Track(config), save],
            inference_mode=False,
        )
        check_shares(trainer.world_size, people, "explain.people")
        with own_ranks(folder):
            trainer.test(module, datamodule=data, verbose=False)
    said = f"{headline(summary(load_explained(folder)))} {folder / 'report.html'}"
    return Result(folder, json.loads((folder / "metrics.json").read_text()), said, subspace)
