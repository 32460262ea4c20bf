"""The command line: `python -m ice_lightning.run criterion=skin_color`, and run(cfg) for everyone else.

Only Hydra is imported up here, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ice_lightning.launch import INTERRUPTED, interruption, keep_freed_memory
from ice_lightning.tasks.arguments import check_arguments
from ice_lightning.tasks.base import Result, command
from ice_lightning.tasks.discover import discover
from ice_lightning.tasks.errors import sentence
from ice_lightning.tasks.explain import explain
from ice_lightning.tasks.invert import invert
from ice_lightning.tasks.list import choices
from ice_lightning.tasks.schema import check_values
from ice_lightning.tasks.settings import resolved
from ice_lightning.tasks.traverse import traverse
from ice_lightning.tasks.verdict import judge


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
