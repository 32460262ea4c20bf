"""What tasks have in common: their result, their folder, and what is checked at the door."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from ice_lightning.checks import NotFound, problem
from ice_lightning.files import LAST

if TYPE_CHECKING:
    from ice_lightning.subspace import Subspace


@dataclass(frozen=True)
class Result:
    """What a run returns.

    Attributes:
        folder: where its files lie.
        metrics: as in metrics.json, or for a verdict as in verdict.json.
        message: for the user at the end, a line or several.
        subspace: the directions that were found or explained with; a verdict has none of its own.
    """

    folder: Path
    metrics: dict[str, Any]
    message: str
    subspace: Subspace | None = None


def command() -> str:
    """The command line that repeats this run; "" for one that Python started."""
    if not HydraConfig.initialized():
        return ""
    return shlex.join(["python", "-m", "ice_lightning.run", *HydraConfig.get().overrides.task])


def check_trainer(cfg: DictConfig) -> None:
    """Refuse a trainer that can't be built on this machine, before anything is loaded for it."""
    try:
        instantiate(cfg.trainer, _partial_=True)(logger=False)
    except Exception as error:  # of several classes, about nothing but these settings
        import torch

        message = " ".join(str(error).split())
        if cfg.trainer.get("accelerator") in ("gpu", "cuda") and not torch.cuda.is_available():
            raise problem(
                "a CUDA device", "none", "set trainer=cpu, or trainer=ddp_cpu for several processes"
            ) from error
        raise problem(
            "a trainer that Lightning can build here", f"'{message}'", "change trainer or its settings"
        ) from error


def checkpoint_of(path: str | None, folder: Path) -> Path | None:
    """The file that `ckpt_path` names.

    Args:
        path: "last" for the run folder's own, None for none.
        folder: of the run.

    Raises:
        IceError: where there is none.
    """
    if path is None:
        return None
    file = folder / LAST if path == "last" else Path(path)
    if not file.is_file():
        fix = "set hydra.run.dir to the folder of the run that was interrupted, or drop ckpt_path"
        raise problem(f"a checkpoint at {file}", "none", fix, NotFound)
    return file


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
