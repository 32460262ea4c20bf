"""The command line: `python -m ice_lightning.run criterion=skin_color`, and run(cfg) for everyone else.

Only Hydra is imported up here, so that `--help` answers at once.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ice_lightning.checks import IceError, one_of, problem
from ice_lightning.files import LAST

if TYPE_CHECKING:
    from ice_lightning.criterions import Criterion
    from ice_lightning.modules.faces import Faces
    from ice_lightning.subspace import Subspace

TASKS = ("discover",)


@dataclass(frozen=True)
class Result:
    """What a run returns.

    Attributes:
        folder: where its files lie.
        subspace: the directions.
        metrics: as in metrics.json.
    """

    folder: Path
    subspace: Subspace
    metrics: dict[str, Any]


def run(cfg: DictConfig) -> Result:
    """Run the task of a composed config (conf/config.yaml).

    Raises:
        IceError: for bad input, in one sentence.
    """
    one_of("task", cfg.task.name, TASKS)
    return discover(cfg)


def discover(cfg: DictConfig) -> Result:
    """Find a criterion's subspace and write it with its metrics and pictures into cfg.run_dir."""
    began = time.perf_counter()
    folder = writable(Path(cfg.run_dir))
    checkpoint = checkpoint_of(cfg.ckpt_path, folder)
    from ice_lightning.callbacks import SaveDiscovery, SavePass, StageProgress
    from ice_lightning.modules.discovery import Discovery
    from ice_lightning.ranks import own_ranks
    from ice_lightning.subspace import load_subspace

    # Lightning expects an optimiser, worker processes and layers in train mode; a discovery has none of them.
    for message in ("num_workers", "configure_optimizers", "in eval mode", "LeafSpec", "returned `None`"):
        warnings.filterwarnings("ignore", message=f"(?s).*{message}.*")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)

    generator = instantiate(cfg.generator)
    faces = instantiate(cfg.faces)
    criterion = build_criterion(cfg.criterion, faces)
    layers, decisive = layers_of(cfg), settings(cfg)
    data = instantiate(cfg.latents, _partial_=True)(generator=generator, space=cfg.space)
    solver, people = instantiate(cfg.solver), len(data.latents)
    module = Discovery(generator, faces, criterion, solver, people, cfg.space, layers, cfg.precision, decisive)
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    seconds = {"load": time.perf_counter() - began}
    save = SaveDiscovery(folder, config, OmegaConf.to_yaml(cfg, resolve=True), seconds)  # type: ignore[arg-type]
    trainer = instantiate(cfg.trainer, _partial_=True)(
        logger=instantiate(cfg.logger), callbacks=[StageProgress(), save, SavePass(folder)]
    )
    if trainer.world_size > len(data.latents):
        fix = "raise latents.count or lower trainer.devices"
        raise problem(f"at least as many people as processes ({trainer.world_size})", len(data.latents), fix)
    with own_ranks(folder):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    (folder / LAST).unlink(missing_ok=True)
    # Forked processes keep what they hold to themselves: the files are what every way of running has in common.
    return Result(folder, load_subspace(folder), json.loads((folder / "metrics.json").read_text()))


def checkpoint_of(path: str | None, folder: Path) -> Path | None:
    """The file that `ckpt_path` names, "last" being the run folder's own; raises IceError where there is none."""
    if path is None:
        return None
    file = folder / LAST if path == "last" else Path(path)
    if not file.is_file():
        fix = "set hydra.run.dir to the folder of the run that was interrupted, or drop ckpt_path"
        raise problem(f"a checkpoint at {file}", "none", fix)
    return file


def settings(cfg: DictConfig) -> dict[str, Any]:
    """What decides a search's answer, by dotted names."""
    parts = ("generator", "criterion", "faces", "solver", "space", "layers", "precision", "latents")

    def flat(node: Any, name: str) -> Iterator[tuple[str, Any]]:
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
        if pairs is None:
            yield name, node
        else:
            for key, value in pairs:
                yield from flat(value, f"{name}.{key}")

    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return dict(pair for part in parts for pair in flat(plain[part], part))


def layers_of(cfg: DictConfig) -> str | None:
    """Which layers may move: those that the user names; else, in a space that has layers, the criterion's own."""
    layers = cfg.layers
    if layers is None and cfg.space in ("w+", "s"):
        layers = cfg.criterion.layers
    return None if layers in (None, "all") else str(layers)


def build_criterion(cfg: DictConfig, faces: Faces) -> Criterion:
    """A criterion from its yaml; each term gets the face models that its class asks for in `needs`.

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
        return instantiate(node, _partial_=True)(**networks)

    def parts(group: DictConfig, kind: Any) -> dict[str, Any]:
        nodes = {str(name): node for name, node in group.items() if node is not None}
        settings = {name: {k: v for k, v in node.items() if k != "term"} for name, node in nodes.items()}
        return {name: kind(term(node.term), **settings[name]) for name, node in nodes.items()}

    for one, node in cfg.activate.items():
        for other, against in cfg.suppress.items():
            if node is not None and against is not None and node.term == against.term:
                got = f"'{one}' and '{other}', which are the same"
                raise problem("different terms to activate and to suppress", got, "drop one, or take its complement")
    return Criterion(
        name=cfg.name,
        description=cfg.description,
        activate=parts(cfg.activate, Activate),
        suppress=parts(cfg.suppress, Suppress),
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


def job_number(file: Path) -> str:
    """By what to sort the files of a multirun's folders, which begin with the number of their job."""
    return file.parent.name.partition("_")[0].zfill(6)


class Comparison(Callback):
    """At the end of a multirun, `comparison.png`: what each run found, on the same person (conf: hydra.callbacks)."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Draw the runs that left a subspace, each under the settings that tell it from the others."""
        from ice_lightning.callbacks import comparison
        from ice_lightning.files import whole

        sweep = Path(config.hydra.sweep.dir)
        given = {
            file.parent: list(OmegaConf.load(file.parent / ".hydra" / "overrides.yaml"))
            for file in sorted(sweep.glob("*/subspace.safetensors"), key=job_number)
        }
        if len(given) < 2:
            return
        shared = set.intersection(*map(set, given.values()))
        runs = {", ".join(s for s in settings if s not in shared): folder for folder, settings in given.items()}
        with whole(sweep / "comparison.png") as part:
            part.write_bytes(comparison(runs, ", ".join(sorted(shared)) or "strongest directions"))
        print(f"{len(runs)} runs: {sweep / 'comparison.png'}")


@hydra.main(version_base="1.3", config_path="pkg://ice_lightning.conf", config_name="config")
def _hydra_main(cfg: DictConfig) -> None:
    try:
        result = run(cfg)
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra goes on with the other jobs, then says which one failed
        stop(error)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        if result.metrics["stopped_early"]:
            print(f"the search stopped early: {result.metrics['stopped_early']}", file=sys.stderr)
        print(f"{result.metrics['rank']} directions: {result.folder / 'traversal.png'}")


def stop(error: Exception) -> NoReturn:
    """End with one sentence and exit status 2; an error that isn't the user's goes on."""
    told = sentence(error)
    if told is None:
        raise error
    print(f"ice_lightning: {told}", file=sys.stderr)
    sys.exit(2)


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: tensors of megabytes come and go, and fresh pages take 15 % of a discovery."""
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # musl has none
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(mmap_threshold, 2**25)


def main() -> None:
    """Run; bad input ends in one sentence and exit status 2."""
    keep_freed_memory()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra raises instead of printing, so that we can word it
    try:
        _hydra_main()
    except Exception as error:
        stop(error)


if __name__ == "__main__":
    main()
