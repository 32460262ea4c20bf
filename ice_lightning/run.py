"""The command line: `python -m ice_lightning.run criterion=skin_color`, and run(cfg) for everyone else.

Only Hydra is imported up here, so that `--help` answers at once.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ice_lightning.checks import IceError, one_of, problem
from ice_lightning.files import LAST
from ice_lightning.settings import check_arguments, check_values

if TYPE_CHECKING:
    from torch import nn

    from ice_lightning.criterions import Criterion
    from ice_lightning.modules.any_generator import AnyGenerator
    from ice_lightning.modules.faces import Faces
    from ice_lightning.subspace import Subspace
    from ice_lightning.verdict import Verdict


@dataclass(frozen=True)
class Result:
    """What a run returns.

    Attributes:
        folder: where its files lie.
        metrics: as in metrics.json, or for a verdict as in verdict.json.
        said: what to tell the user at the end, in a line or several.
        subspace: the directions that were found or explained with; a verdict has none of its own.
    """

    folder: Path
    metrics: dict[str, Any]
    said: str
    subspace: Subspace | None = None


def run(cfg: DictConfig) -> Result:
    """Run the task of a composed config (conf/config.yaml).

    Raises:
        IceError: for bad input, in one sentence.
    """
    check(resolved(cfg))
    tasks: dict[str, Callable[[DictConfig], Result]]
    tasks = {"discover": lambda cfg: discover(cfg, command()), "explain": explain, "verdict": judge, "invert": invert}
    return (tasks | {"traverse": traverse, "list": choices})[cfg.task.name](cfg)


def check(plain: dict[str, Any]) -> None:
    """Refuse wrong settings before anything is loaded; a list of choices imports nothing for it.

    Raises:
        IceError: for a name that isn't known, a value of another type, or one out of its range.
    """
    check_values(plain)
    if plain["task"]["name"] != "list":
        check_arguments(plain)


def command() -> str:
    """The command line that repeats this run; "" for one that Python started."""
    if not HydraConfig.initialized():
        return ""
    return shlex.join(["python", "-m", "ice_lightning.run", *HydraConfig.get().overrides.task])


def discover(cfg: DictConfig, command: str = "") -> Result:
    """Find a criterion's subspace and write it with its metrics and pictures into cfg.run_dir.

    `command` is what the page says to do to repeat it.
    """
    began = time.perf_counter()
    folder = writable(Path(cfg.run_dir))
    checkpoint = checkpoint_of(cfg.ckpt_path, folder)
    from ice_lightning.callbacks import SaveDiscovery, SavePass, StageProgress
    from ice_lightning.modules.discovery import Discovery
    from ice_lightning.ranks import own_ranks
    from ice_lightning.subspace import load_subspace
    from ice_lightning.tracking import Track

    quieten()
    check_trainer(cfg)
    logger = logger_of(cfg)
    generator = generator_from(cfg)
    faces = instantiate(cfg.faces)
    criterion = build_criterion(cfg.criterion, faces, generator.img_resolution)
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


def explain(cfg: DictConfig) -> Result:
    """Flip a classifier within a subspace, person by person, and write what was found into cfg.run_dir.

    A run folder with people in it goes on where it stopped; a finished one is read.
    """
    folder = writable(Path(cfg.run_dir))
    if cfg.get("classifier") is None:
        raise problem("a classifier to explain", "none", "add classifier=smiling or another one")
    from ice_lightning.checks import at_least
    from ice_lightning.controls import ControlSettings, read_controls
    from ice_lightning.latents import LatentDataModule, read_latents
    from ice_lightning.modules.explanation import Explanation
    from ice_lightning.population import layer_covariances
    from ice_lightning.ranks import own_ranks
    from ice_lightning.save_explanation import SaveExplanation, finished, lead
    from ice_lightning.spreads import POPULATION
    from ice_lightning.subspace import file_of, load_subspace
    from ice_lightning.tracking import Track
    from ice_lightning.verdict import ROWS, load_explained, summary

    quieten()
    check_trainer(cfg)
    logger = logger_of(cfg)
    people, controls = at_least("explain.people", cfg.explain.people, 1), ControlSettings(**cfg.explain.controls)
    if cfg.explain.latents is not None:
        people = len(read_latents(cfg.explain.latents)[0])
    generator = generator_from(cfg)
    faces, classifier = instantiate(cfg.faces), instantiate(cfg.classifier)
    oracles = oracles_from(cfg, generator, classifier)
    place = file_of(cfg.subspace or found_before(cfg, generator, faces))
    subspace = load_subspace(place)
    if cfg.explain.directions is not None:
        subspace = subspace.strongest(at_least("explain.directions", cfg.explain.directions, 1))
    if subspace.provenance["generator_sha256"] != generator.fingerprint:
        got = f"one of {subspace.provenance['generator']} ({subspace.provenance['generator_sha256'][:12]})"
        fix = "set generator.checkpoint to that, or find the subspace again"
        raise problem(f"a subspace of this generator ({generator.fingerprint[:12]})", got, fix)
    decisive = settings(cfg, ("generator", "faces", "classifier", "method", "metrics"))
    decisive |= (who := people_of(cfg))
    random = settings(cfg, ("generator", "classifier", "method")) | weights_of(generator, classifier=classifier)
    random |= who | {"space": subspace.space}
    random |= {"controls": [controls.subspaces, controls.seed], "directions": subspace.directions.shape[1]}
    kept = Path(cfg.explain.kept_controls) / digest(json.dumps(random | {"rows": ROWS}, sort_keys=True).encode())
    decisive |= settings(cfg, ("explain.controls",)) | {"explain.oracles": list(oracles)}
    decisive |= {"subspace": digest(subspace.directions.numpy().tobytes())}
    own = {"faces": faces, "classifier": classifier} | {f"oracle {name}": each for name, each in oracles.items()}
    decisive |= weights_of(generator, **own)
    facts = {
        "classifier": name_of(cfg.classifier),
        "criterion": subspace.provenance["criterion"],
        "directions": subspace.directions.shape[1],
        "oracles": list(oracles),
        "rows": ROWS,
        "settings": decisive,
    }
    done = {number: row for number, row in finished(folder, decisive).items() if number < people}
    if not (folder / "metrics.json").exists() or len(done) < people:
        named = OmegaConf.create(subspace.provenance["config"]["criterion"])
        criterion = build_criterion(named, faces, generator.img_resolution)
        population = generator.people(POPULATION, cfg.explain.seed, subspace.space)
        method = instantiate(cfg.method)
        covariances = layer_covariances(generator, subspace.space)
        module = Explanation(
            generator, classifier, faces, subspace, method, covariances, population, criterion, oracles, controls,
            convention=cfg.metrics.convention, query=cfg.metrics.query,
        )  # fmt: skip
        module.done, module.random_done = done, read_controls(kept)
        data = LatentDataModule(
            generator, subspace.space, people, cfg.explain.seed, cfg.explain.batch, cfg.explain.latents
        )
        config = resolved(cfg)
        yaml = OmegaConf.to_yaml(cfg, resolve=True)
        save = SaveExplanation(folder, facts, yaml, place, subspace.provenance, command(), kept)
        trainer = instantiate(cfg.trainer, _partial_=True)(
            logger=logger,
            callbacks=[Track(config), save],
            inference_mode=False,
        )
        check_shares(trainer.world_size, people, "explain.people")
        with own_ranks(folder):
            trainer.test(module, datamodule=data, verbose=False)
    said = f"{lead(summary(load_explained(folder)))} {folder / 'report.html'}"
    return Result(folder, json.loads((folder / "metrics.json").read_text()), said, subspace)


def name_of(classifier: DictConfig) -> str:
    """What a classifier's settings call it."""
    return str(classifier.get("name", classifier._target_))


def people_of(cfg: DictConfig) -> dict[str, Any]:
    """Who is explained, and by which file of a classifier: another one may lie under the same path by now."""
    files = {"explain.latents": cfg.explain.latents, "classifier.path": cfg.classifier.get("path")}
    found = {f"content of {name}": digest(Path(path).read_bytes()) for name, path in files.items() if path is not None}
    return found | {"explain.latents": cfg.explain.latents, "explain.seed": cfg.explain.seed}


def oracles_from(cfg: DictConfig, generator: AnyGenerator, classifier: nn.Module) -> dict[str, nn.Module]:
    """The oracles of the settings by name, without the explained classifier: by its name, and by its weights.

    Embedded ones that are asked for by name alone are left out for other generators than the embedded one.

    Raises:
        IceError: for what is neither a name nor a classifier's settings, or two of one name.
    """
    from ice_lightning.checkpoints import ASSETS, sha256
    from ice_lightning.modules.classifier import identical

    asked = cfg.explain.oracles
    entries = list(asked) if isinstance(asked, ListConfig) else [asked]
    known = generator.fingerprint == sha256(ASSETS / "generator.safetensors")
    left_out = [] if known else [each for each in entries if isinstance(each, str)]
    found: dict[str, nn.Module] = {}
    for each in entries:
        if each in left_out:
            continue
        if not isinstance(each, str | DictConfig):
            fix = "give a list of names of embedded ones or of settings, [{name: ..., path: ...}]"
            raise problem("classifiers as explain.oracles", each, fix)
        kind = "embedded" if isinstance(each, str) else "own"
        given = {"name": each} if isinstance(each, str) else each
        node = OmegaConf.merge({"_target_": f"ice_lightning.modules.classifier.{kind}"}, given)
        assert isinstance(node, DictConfig)
        if name_of(node) == name_of(cfg.classifier) or identical(oracle := instantiate(node), classifier):
            continue
        name = name_of(node).replace(".", "_")  # torch names no module with a dot
        if name in found:
            raise problem("an oracle of each name once", f"'{name}' twice", "set another name")
        found[name] = oracle
    if left_out and os.environ.get("LOCAL_RANK", "0") == "0":
        who = f"{', '.join(left_out)} left out of explain.oracles"
        print(f"{who}: they have only seen the portraits of the embedded generator", file=sys.stderr)
    return found


def shipped(cfg: DictConfig, fingerprint: str) -> Path | None:
    """The package's own file of the subspace that the settings of a discovery lead to, where it has enough of it."""
    from ice_lightning.checkpoints import ASSETS
    from ice_lightning.subspace import load_subspace

    file = ASSETS / "subspaces" / f"{cfg.criterion.name}.safetensors"
    if not file.is_file() or cfg.explain.directions is None:
        return None
    subspace = load_subspace(file)
    theirs, ours = settings(OmegaConf.create(subspace.provenance["config"])), settings(cfg)
    same = all(theirs.get(name) == ours.get(name) for name in theirs | ours)  # what isn't said is null
    kept = subspace.directions.shape[1]  # of the eight strongest, so that fewer are all there are
    enough = cfg.explain.directions <= kept or kept < 8
    return file if same and enough and subspace.provenance["generator_sha256"] == fingerprint else None


def place_of(cfg: DictConfig, generator: AnyGenerator, faces: Faces) -> Path:
    """Where the subspace is kept to which settings and networks lead.

    Networks count by their weights, since another file may lie under the same path by now.
    """
    from ice_lightning.modules.fingerprint import fingerprint

    what = settings(cfg) | {"fingerprint": generator.fingerprint, "faces": fingerprint(faces)}
    return Path(cfg.explain.subspaces) / f"{cfg.criterion.name}_{digest(json.dumps(what, sort_keys=True).encode())}"


def found_before(cfg: DictConfig, generator: AnyGenerator, faces: Faces) -> Path:
    """The file or folder of the subspace that settings and networks lead to: shipped, found before, or found now."""
    if (file := shipped(cfg, generator.fingerprint)) is not None:
        return file
    folder = place_of(cfg, generator, faces)
    if not (folder / "metrics.json").is_file():
        plain = resolved(cfg)
        named = {"save_dir": str(folder), "job_type": "discover", "name": cfg.criterion.name}
        plain["logger"] = plain["logger"] | named if tracked(cfg) else {"_target_": "builtins.bool"}
        plain |= {"run_dir": str(folder), "ckpt_path": "last" if (folder / LAST).is_file() else None}
        # Ranks come when people are explained.
        plain["trainer"] |= {"devices": 1, "strategy": "auto", "num_nodes": 1}
        parts = OmegaConf.create(plain)
        print(f"finding {cfg.criterion.name} first, into {folder}", file=sys.stderr)
        discover(parts)
    return folder


def judge(cfg: DictConfig) -> Result:
    """Rank the named subspaces of a folder's explanations, for each classifier."""
    from ice_lightning.save_explanation import write_verdicts
    from ice_lightning.verdict import verdicts

    if cfg.runs is None:
        raise problem("the folder of a sweep of explanations", "none", "set runs=DIR")
    folder = writable(Path(cfg.run_dir))
    judged = verdicts(cfg.runs)
    write_verdicts(folder, judged, Path(cfg.runs))
    track(cfg, folder, judged, Path(cfg.runs))
    said = "\n".join(each.sentence for each in judged)
    return Result(folder, {"verdicts": [each.to_json() for each in judged]}, f"{said}\n{folder / 'verdict.html'}")


def tracked(cfg: DictConfig) -> bool:
    """Whether Weights & Biases is told of the run."""
    return str(cfg.logger._target_).endswith(".Tracker")


def logger_of(cfg: DictConfig) -> Any:
    """The logger; W&B's with the sweep as its group, and tags by which one looks for a run, where none are given."""
    if not tracked(cfg):
        return instantiate(cfg.logger)
    sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    group = cfg.logger.group or (Path(HydraConfig.get().sweep.dir).name if sweep else None)
    classifier = OmegaConf.select(cfg, "classifier.name") if cfg.task.name == "explain" else None
    tags = cfg.logger.tags or [tag for tag in (cfg.criterion.name, classifier, f"space {cfg.space}") if tag]
    return instantiate(cfg.logger, group=group, tags=list(tags))


def track(cfg: DictConfig, folder: Path, judged: list[Verdict], runs: Path) -> None:
    """Tell W&B of a verdict, where it is told of runs."""
    if not tracked(cfg):
        return
    from ice_lightning.save_explanation import track_verdicts

    named = {"save_dir": str(folder), "name": "verdict", "job_type": "verdict", "group": cfg.logger.group or runs.name}
    logger = instantiate(cfg.logger, **named, tags=cfg.logger.tags or [each.classifier for each in judged])
    track_verdicts(logger, {"runs": str(runs)}, folder, judged, runs)


def invert(cfg: DictConfig) -> Result:
    """Find latents whose images are the given pictures, and write them where explain and discover read them."""
    import torch

    from ice_lightning.inversion import KINDS, invert, perceptual, read_pictures
    from ice_lightning.progress import steps
    from ice_lightning.save_inversion import write_inversion
    from ice_lightning.spreads import POPULATION

    folder = writable(Path(cfg.run_dir))
    if cfg.image is None:
        raise problem(f"a picture or a folder of pictures ({', '.join(KINDS)})", "none", "set image=PATH")
    generator = generator_from(cfg)
    names, target = read_pictures(cfg.image, generator.img_resolution)
    one_of("space", cfg.space, generator.spaces)
    # Every w+ has its s, not every s a w+.
    between = "w+" if cfg.space == "s" and "w+" in generator.spaces else cfg.space
    with torch.no_grad():
        population = generator.people(POPULATION // 4, 0, between)

    with steps("step", cfg.invert.steps) as shown:
        found = invert(
            lambda v: generator(v, between), target, population, perceptual(), cfg.invert.steps, cfg.invert.rate,
            tell=lambda step, loss: shown.at(step + 1, f"distance {loss:.4f}"),
        )  # fmt: skip
    u = generator.convert(found.u, between, cfg.space) if between != cfg.space else found.u
    metrics = write_inversion(folder, names, target, found._replace(u=u), cfg.space, generator.fingerprint)
    said = f"{len(names)} pictures, PSNR {metrics['psnr_mean']:.1f} dB: {folder / 'inversion.png'}"
    return Result(folder, metrics, f"{said}\nexplain.latents={folder / 'latents.safetensors'} explains them")


def traverse(cfg: DictConfig) -> Result:
    """Films and sheets of a saved subspace, on people whom its search has never seen or on inverted pictures."""
    from ice_lightning.checks import at_least
    from ice_lightning.latents import LatentDataModule
    from ice_lightning.progress import steps
    from ice_lightning.save_traversal import write_traversal
    from ice_lightning.subspace import load_subspace
    from ice_lightning.traversal import generator_of

    if cfg.subspace is None:
        raise problem("the run folder of a discovery", "none", "set subspace=DIR")
    folder, subspace = writable(Path(cfg.run_dir)), load_subspace(cfg.subspace)
    G, given = generator_of(subspace, own=lambda _: generator_from(cfg)), cfg.traverse
    u = LatentDataModule(G, subspace.space, given.people, given.seed, file=given.latents).latents
    count = min(at_least("traverse.directions", given.directions, 1), subspace.directions.shape[1])

    with steps("direction", count) as shown:
        metrics = write_traversal(
            folder, G, subspace, u, range(count), given.strength, given.frames, given.rate,
            tell=lambda direction: shown.at(direction + 1),
        )  # fmt: skip
    return Result(folder, metrics, f"{count} directions of {len(u)} people: {folder / 'sheet.png'}", subspace)


def choices(cfg: DictConfig) -> Result:
    """Presets, classifiers, face models, spaces: a line each."""
    from importlib.resources import files

    from ice_lightning.listing import listing

    return Result(Path(cfg.run_dir), {}, listing(Path(str(files("ice_lightning.conf")))))


def digest(data: bytes) -> str:
    """A short name for some content."""
    return hashlib.sha256(data).hexdigest()[:12]


def quieten() -> None:
    """Drop warnings about runs without an optimiser, worker processes, layers in train mode, or anyone to measure."""
    never = "was called before the ``update`` method"  # of a metric over those who flip, where nobody does
    for message in ("num_workers", "configure_optimizers", "in eval mode", "LeafSpec", "returned `None`", never):
        warnings.filterwarnings("ignore", message=f"(?s).*{message}.*")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


def check_trainer(cfg: DictConfig) -> None:
    """Refuse a trainer that can't be built on this machine, before anything is loaded for it."""
    try:
        instantiate(cfg.trainer, _partial_=True)(logger=False)
    except Exception as error:  # of several classes, about nothing but these settings
        import torch

        told = " ".join(str(error).split())
        if cfg.trainer.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
            raise problem(
                "a CUDA device", "none", "set trainer=cpu, or trainer=ddp_cpu for several processes"
            ) from error
        raise problem(
            "a trainer that Lightning can build here", f"'{told}'", "change trainer or its settings"
        ) from error


def check_shares(processes: int, people: int, name: str) -> None:
    """Refuse more processes than people."""
    if processes > people:
        fix = f"raise {name} or lower trainer.devices"
        raise problem(f"at least as many people as processes ({processes})", people, fix)


def checkpoint_of(path: str | None, folder: Path) -> Path | None:
    """The file that `ckpt_path` names, "last" being the run folder's own; raises IceError where there is none."""
    if path is None:
        return None
    file = folder / LAST if path == "last" else Path(path)
    if not file.is_file():
        fix = "set hydra.run.dir to the folder of the run that was interrupted, or drop ckpt_path"
        raise problem(f"a checkpoint at {file}", "none", fix)
    return file


DECISIVE = ("generator", "criterion", "faces", "solver", "space", "geometry", "layers", "precision", "latents")
"""What decides a search's answer."""


def settings(cfg: DictConfig, parts: Sequence[str] = DECISIVE) -> dict[str, Any]:
    """Some parts of the settings, flat, by dotted names."""

    def flat(node: Any, name: str) -> Iterator[tuple[str, Any]]:
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
        if pairs is None:
            yield name, node
        else:
            for key, value in pairs:
                yield from flat(value, f"{name}.{key}")

    plain = resolved(cfg)

    def find(part: str) -> Any:
        node: Any = plain
        for key in part.split("."):
            node = node[key]
        return node

    return dict(pair for part in parts for pair in flat(find(part), part))


def weights_of(generator: AnyGenerator, **networks: nn.Module) -> dict[str, str]:
    """What a run's answer depends on beside its settings, since another file may lie under the same path by now."""
    from ice_lightning.modules.fingerprint import fingerprint

    digits = {"generator": generator.fingerprint} | {name: fingerprint(each) for name, each in networks.items()}
    return {f"weights of {name}": each[:12] for name, each in digits.items()}


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The settings as plain values."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def generator_from(cfg: DictConfig) -> AnyGenerator:
    """The generator of the settings: a checkpoint's, or a module of the user's own."""
    from ice_lightning.modules.any_generator import AnyGenerator, OwnGenerator

    made = instantiate(cfg.generator)
    return made if isinstance(made, AnyGenerator) and made.fingerprint else OwnGenerator(made, cfg.generator._target_)


def layers_of(cfg: DictConfig, generator: AnyGenerator) -> str | None:
    """Which layers may move: those that the user names; else, in a space that has layers, the criterion's own."""
    one_of("space", cfg.space, generator.spaces)
    layers = cfg.layers
    if layers is None and len(generator.widths(cfg.space)) > 1:
        layers = cfg.criterion.layers
    return None if layers in (None, "all") else str(layers)


def build_criterion(cfg: DictConfig, faces: Faces, side: int) -> Criterion:
    """A criterion from its yaml; each term gets the face models that its class asks for in `needs`.

    Args:
        cfg: of the criterion.
        faces: the face models.
        side: of the generator's images; a term that would read them larger reads them as they are.

    Raises:
        IceError: for a class that can't be found, a missing face model, or one term both activated and suppressed.
    """
    from ice_lightning.criterions import Activate, Criterion, Suppress

    def term(node: DictConfig) -> Any:
        try:
            kind = get_class(node._target_)
        except (ImportError, ValueError) as error:
            fix = "check its spelling, and that its folder is the working directory or on PYTHONPATH"
            raise problem(
                "the class of a criterion term", f"'{node._target_}' ({str(error).splitlines()[0]})", fix
            ) from error
        networks = {name: getattr(faces, name, None) for name in getattr(kind, "needs", ())}
        for name, network in networks.items():
            if network is None:
                raise problem(f"a face model '{name}' for {kind.__name__}", "none", f"set faces.{name}=PATH")
        try:
            made = instantiate(node, _partial_=True)(**networks)
        except TypeError as error:  # of one that takes any argument, and hands it on to another that doesn't
            if "argument" not in str(error):
                raise
            got = str(error).removeprefix(f"{kind.__name__}.__init__() ")
            raise problem(f"arguments that {kind.__name__} takes", f"'{got}'", "see its signature") from error
        if made.size is not None and made.size > side:
            made.size = side
        return made

    def parts(group: DictConfig, kind: Any) -> dict[str, Any]:
        nodes = {str(name): node for name, node in group.items() if node is not None}
        settings = {name: {k: v for k, v in node.items() if k != "term"} for name, node in nodes.items()}
        return {name: kind(term(node.term), **settings[name]) for name, node in nodes.items()}

    suppressed = cfg.suppress or DictConfig({})
    for one, node in cfg.activate.items():
        for other, against in suppressed.items():
            if node is not None and against is not None and node.term == against.term:
                got = f"'{one}' and '{other!s}', which are the same"
                raise problem("different terms to activate and to suppress", got, "drop one, or take its complement")
    return Criterion(
        name=cfg.name,
        description=cfg.description,
        activate=parts(cfg.activate, Activate),
        suppress=parts(suppressed, Suppress),
        projection=cfg.projection,
        late=tuple(cfg.late),
        activate_ratio=cfg.activate_ratio,
        rank=cfg.rank,
    )


def writable(folder: Path) -> Path:
    """The folder itself, made where it is missing; raises IceError when nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise problem(
            f"a run folder that can be written at {folder}",
            error.strerror,
            "set hydra.run.dir to another one",
        ) from error
    return folder


def sentence(error: BaseException) -> str | None:
    """What to tell the user, or None for what looks like our own mistake."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, IceError):
            return str(cause)
        cause = cause.__cause__
    if disk_is_full(error):
        return str(
            problem("room on the disk of the run folder", "none left", "free some, then go on with ckpt_path=last")
        )
    if "terminated with signal" in str(error):  # ProcessExitedException of torch.multiprocessing
        got = f"one that was killed ({' '.join(str(error).split())})"
        fix = "give each less to do if memory ran out, then go on with ckpt_path=last"
        return str(problem("every process to come to its end", got, fix))
    for line in str(error).splitlines():  # of a process that was forked, only the text of its traceback arrives
        if line.startswith(f"{IceError.__module__}.{IceError.__name__}: "):
            return line.partition(": ")[2]
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        try:
            one_of(group, name, error.options)
        except IceError as named:
            return str(named)
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        fix = "task=list names them, and ~classifier, say, leaves one out"
        return str(problem("the name of a choice, such as solver=exact", "a value of another type", fix))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.filename:
        return str(
            problem(
                "a run folder that can be written",
                f"{error.strerror} at {error.filename}",
                "set hydra.run.dir to another one",
            )
        )
    return None


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or one behind it, is a disk without room; libraries say so in words, torch in its own."""
    told = ("No space left", "unexpected pos")
    seen: BaseException | None = error
    while seen is not None:
        if getattr(seen, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(words in str(seen) for words in told):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def job_number(file: Path) -> str:
    """By what to sort the files of a multirun's folders, which begin with the number of their job."""
    return file.parent.name.partition("_")[0].zfill(6)


class Comparison(Callback):
    """At the end of a multirun, its verdict or its comparison (conf: hydra.callbacks)."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Judge explanations; draw what discoveries found on the same person, by the settings that tell them apart."""
        sweep = Path(config.hydra.sweep.dir)
        if list(sweep.rglob("counterfactuals.safetensors")):
            from ice_lightning.save_explanation import write_verdicts
            from ice_lightning.verdict import verdicts

            judged = verdicts(sweep)
            write_verdicts(sweep, judged, sweep)
            track(config, sweep, judged, sweep)
            print("\n".join([*(each.sentence for each in judged), str(sweep / "verdict.html")]))
            return
        from ice_lightning.save_comparison import write_comparison

        given = {
            file.parent: list(OmegaConf.load(file.parent / ".hydra" / "overrides.yaml"))
            for file in sorted(sweep.glob("*/subspace.safetensors"), key=job_number)
        }
        if len(given) < 2:
            return
        shared = set.intersection(*map(set, given.values()))
        runs = {", ".join(s for s in settings if s not in shared): folder for folder, settings in given.items()}
        again = shlex.join(["python", "-m", "ice_lightning.run", "-m", *config.hydra.overrides.task])
        write_comparison(
            sweep, runs, ", ".join(sorted(shared)), lambda node: generator_from(DictConfig({"generator": node})), again
        )
        print(f"{len(runs)} runs: {sweep / 'comparison.html'}")


@hydra.main(version_base="1.3", config_path="pkg://ice_lightning.conf", config_name="config")
def _hydra_main(cfg: DictConfig) -> None:
    if sys.stderr.isatty() and cfg.task.name != "list":
        print("loading torch and the networks ...", file=sys.stderr)  # for seconds nothing else is to be seen
    try:
        result = run(cfg)
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra goes on with the other jobs, then says which one failed
        stop(error)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(result.said)


def stop(error: Exception) -> NoReturn:
    """End with one sentence and exit status 2; an error that isn't the user's goes on."""
    if isinstance(error, BrokenPipeError):  # whoever reads on, as `--help | head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    told = sentence(error)
    if told is None:
        raise error
    print(f"ice_lightning: {told}", file=sys.stderr)
    sys.exit(2)


INTERRUPTED = (
    "interrupted: the same command with the same hydra.run.dir goes on, "
    "a discovery that had finished a pass with ckpt_path=last"
)
"""What to tell whoever pressed Ctrl-C or ended the job."""


def interruption(ended: BaseException) -> int | None:
    """The exit status of a run that a signal ended; None for one that ended by itself."""
    if isinstance(ended, KeyboardInterrupt) or isinstance(ended.__context__, KeyboardInterrupt):
        return 130  # Lightning words Ctrl-C as exit(1)
    return 143 if type(ended).__name__ == "SIGTERMException" else None  # and SIGTERM as exit(None), which is 0


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: tensors of megabytes come and go, and fresh pages take 15 % of a discovery."""
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # musl has none
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(mmap_threshold, 2**25)


def main() -> None:
    """Run; bad input ends in one sentence and exit status 2, Ctrl-C in one and 130, SIGTERM in one and 143."""
    keep_freed_memory()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing, so that we can word it
    try:
        _hydra_main()
    except Exception as error:
        stop(error)
    except (KeyboardInterrupt, SystemExit) as ended:
        status = interruption(ended)
        if status is None:
            raise
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"\nice_lightning: {INTERRUPTED}", file=sys.stderr)
        sys.exit(status)


if __name__ == "__main__":
    main()
