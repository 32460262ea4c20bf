"""Objects from settings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ice_lightning.checks import Mismatch, one_of, problem

if TYPE_CHECKING:
    from torch import nn

    from ice_lightning.criterions import Criterion
    from ice_lightning.discovery.local import LocalProblem
    from ice_lightning.modules.faces import Faces
    from ice_lightning.modules.generator import AnyGenerator
    from ice_lightning.subspace import Subspace

LOG = logging.getLogger("ice_lightning")

OURS = ("ice_lightning.criterions", "ice_lightning.faces")
"""Packages whose exports are built because a subspace's file names them; what else it names could be any code."""


def name_of(classifier: DictConfig) -> str:
    """What a classifier's settings call it."""
    return str(classifier.get("name", classifier._target_))


def oracles_from(cfg: DictConfig, generator: AnyGenerator, classifier: nn.Module) -> dict[str, nn.Module]:
    """The oracles of the settings by name, without the explained classifier: by its name, and by its weights.

    Embedded ones that are asked for by name alone are left out for other generators than the embedded one.

    Args:
        cfg: all settings.
        generator: whose images they read.
        classifier: the explained one.

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
        kind = "embedded_classifier" if isinstance(each, str) else "load_classifier"
        arguments = {"name": each} if isinstance(each, str) else each
        node = OmegaConf.merge({"_target_": f"ice_lightning.classifiers.{kind}"}, arguments)
        assert isinstance(node, DictConfig)
        if name_of(node) == name_of(cfg.classifier) or identical(oracle := instantiate(node), classifier):
            continue
        name = name_of(node).replace(".", "_")  # torch names no module with a dot
        if name in found:
            raise problem("an oracle of each name once", f"'{name}' twice", "set another name")
        found[name] = oracle
    if left_out:
        who = f"{', '.join(left_out)} left out of explain.oracles"
        LOG.warning(f"{who}: they have only seen the portraits of the embedded generator")
    return found


def tracked(cfg: DictConfig) -> bool:
    """Whether the run is recorded for Weights & Biases."""
    return str(cfg.logger._target_).endswith(".Tracker")


def logger_of(cfg: DictConfig) -> Any:
    """The logger; W&B's with the sweep as its group, and tags by which one looks for a run, where it has none."""
    if not tracked(cfg):
        return instantiate(cfg.logger)
    sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    group = cfg.logger.group or (Path(HydraConfig.get().sweep.dir).name if sweep else None)
    classifier = OmegaConf.select(cfg, "classifier.name") if cfg.task.name == "explain" else None
    tags = cfg.logger.tags or [tag for tag in (cfg.criterion.name, classifier, f"space {cfg.space}") if tag]
    return instantiate(cfg.logger, group=group, tags=list(tags))


def generator_from(cfg: DictConfig) -> AnyGenerator:
    """The generator of the settings: a checkpoint's, or a module of the user's own."""
    from ice_lightning.modules.generator import AnyGenerator, GeneratorAdapter

    made = instantiate(cfg.generator)
    return (
        made if isinstance(made, AnyGenerator) and made.fingerprint else GeneratorAdapter(made, cfg.generator._target_)
    )


def layers_of(cfg: DictConfig, generator: AnyGenerator) -> str | None:
    """Which layers may move: those that the user names; else, in a space that has layers, the criterion's own.

    Args:
        cfg: all settings.
        generator: that has the space.

    Returns:
        None for all of them.

    Raises:
        IceError: for a space that the generator doesn't have.
    """
    one_of("space", cfg.space, generator.spaces)
    layers = cfg.layers
    if layers is None and len(generator.widths(cfg.space)) > 1:
        layers = cfg.criterion.layers
    return None if layers in (None, "all") else str(layers)


def build_criterion(cfg: DictConfig, faces: Faces, resolution: int) -> Criterion:
    """A criterion from its yaml; each term gets the face models that its class asks for in `needs`.

    Args:
        cfg: of the criterion.
        faces: the face models.
        resolution: of the generator's images, in pixels; a term that would read them larger reads them as they are.

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
        if made.size is not None and made.size > resolution:
            made.size = resolution
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
        local_relaxation=cfg.get("local_relaxation", 1.0),
    )


def composed(**groups: str) -> DictConfig:
    """The configuration with these choices of its groups, for a call from Python.

    Raises:
        IceError: for a name that a group doesn't have.
    """
    folder = Path(str(files("ice_lightning.conf")))
    for group, name in groups.items():
        known = [path.relative_to(folder / group).with_suffix("") for path in (folder / group).rglob("*.yaml")]
        one_of(group, name, sorted(map(str, known)))
    choices = [f"{group}={name}" for group, name in groups.items()]
    outer = GlobalHydra.instance().hydra  # the caller may be in a Hydra of its own
    GlobalHydra.instance().hydra = None
    try:
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            return compose("config", ["logger=none", "run_dir=.", *choices])
    finally:
        GlobalHydra.instance().hydra = outer


def criterion_of(subspace: Subspace, faces: Faces, resolution: int) -> Criterion:
    """The criterion that a subspace was found for, from its provenance.

    Args:
        subspace: of a preset.
        faces: the face models.
        resolution: of the generator's images, in pixels.

    Raises:
        IceError: where the terms were objects, which no file has written down, or are of anybody else's classes.
    """
    fix = "name the criterion that the search took, criterion="
    node = part_of(subspace, "criterion", fix)
    with readable("criterion", fix):
        return build_criterion(node, faces, resolution)


@contextmanager
def readable(name: str, fix: str) -> Iterator[None]:
    """Say in one sentence that a part of a subspace's file can't be built."""
    try:
        yield
    except (InstantiationException, OmegaConfBaseException, RecursionError, TypeError, ValueError) as error:
        what = str(error).partition("\n")[0][:200]
        raise problem(f"a {name} that can be built in the subspace's file", what, fix, Mismatch) from error


def targets(node: Any) -> Iterator[str]:
    """What settings would have built, with what lies below.

    >>> list(targets({"a": [{"_target_": "x.Y", "network": {"_target_": "z.net"}}], "b": 1}))
    ['x.Y', 'z.net']
    """
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for each in node.values():
            yield from targets(each)
    elif isinstance(node, list):
        for each in node:
            yield from targets(each)


def texts(node: Any) -> Iterator[str]:
    """All keys and strings of settings.

    >>> list(texts({"a": ["b", 1], "c": {"d": "e"}}))
    ['a', 'b', 'c', 'd', 'e']
    """
    if isinstance(node, dict):
        for key, each in node.items():
            yield str(key)
            yield from texts(each)
    elif isinstance(node, list):
        for each in node:
            yield from texts(each)
    elif isinstance(node, str):
        yield node


def part_of(subspace: Subspace, name: str, fix: str) -> DictConfig:
    """The criterion or face models in a subspace's provenance, of which only the package's own may be built.

    A file may come from anybody, and what it names is imported and called. Interpolations are refused: they are
    resolved where something is built, and can make settings (`oc.create`) that nobody has looked at.

    Args:
        subspace: says what it was found with.
        name: criterion or faces.
        fix: what to do where they can't be built.

    Raises:
        IceError: where there is none, or of anybody's own classes.
    """
    node = subspace.provenance.get("config", {}).get(name)
    named = list(targets(node))
    if not named:
        raise problem(f"the {name} of the subspace", "none", fix)
    ours = {f"{package}.{each}" for package in OURS for each in import_module(package).__all__}
    if foreign := [each for each in named if each not in ours]:
        raise problem(f"{name} of the package's own parts in the subspace's file", foreign[0], fix, Mismatch)
    if live := [each for each in texts(node) if "${" in each]:
        raise problem(f"{name} without interpolations in the subspace's file", live[0], fix, Mismatch)
    with readable(name, fix):
        return DictConfig(node)


def local_problem_of(
    subspace: Subspace, generator: AnyGenerator, faces: Faces | None = None, criterion: Criterion | None = None
) -> LocalProblem:
    """What finds people's own directions of a subspace: its criterion, on the layers that its search moved.

    Args:
        subspace: says what it was found with.
        generator: that it was found on.
        faces: the face models; None for those of its provenance.
        criterion: None for that of its provenance.

    Raises:
        IceError: where the file has nothing for single people, or names what can't be built from it.
    """
    from ice_lightning.discovery.local import LocalProblem, check_charges

    check_charges(subspace)
    if faces is None:
        fix = "set local=false to move everyone along its directions"
        node = part_of(subspace, "faces", fix)
        with readable("faces", fix):
            faces = build(node)
    if criterion is None:
        criterion = criterion_of(subspace, faces, generator.resolution)
    config = subspace.provenance.get("config", {})
    layers = config.get("layers")
    if layers is None and len(generator.widths(subspace.space)) > 1:
        layers = config.get("criterion", {}).get("layers")
    layers = None if layers in (None, "all") else str(layers)
    return LocalProblem.of(generator, faces, criterion, subspace, layers)


def build(node: DictConfig) -> Any:
    """What a part of the settings names."""
    return instantiate(node)
