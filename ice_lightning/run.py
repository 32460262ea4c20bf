"""The command line: `python -m ice_lightning.run criterion=skin_color`, and run(cfg) for everyone else.

Only Hydra is imported up here, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from ice_lightning.launch import INTERRUPTED, interruption, keep_freed_memory
from ice_lightning.progress import is_rank_zero, shown_log
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

LOG = logging.getLogger("ice_lightning")


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
    with shown_log():  # as `main` does, of which a launcher's other processes know nothing
        show(cfg)


def show(cfg: DictConfig) -> None:
    """Run one job and print its result."""
    if sys.stderr.isatty() and cfg.task.name != "list":
        LOG.info("loading torch and the networks ...")  # for seconds nothing else is to be seen
    try:
        result = run(cfg)
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # Hydra goes on with the other jobs, then says which one failed
        stop(error)
    if is_rank_zero():
        print(result.message)


def stop(error: Exception) -> NoReturn:
    """End with one sentence and exit status 2; an error that isn't the user's goes on."""
    if isinstance(error, BrokenPipeError):  # whoever reads on, as `--help | head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    message = sentence(error)
    if message is None:
        raise error
    LOG.error(message)
    sys.exit(2)


@shown_log()
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
        LOG.info(f"\nice_lightning: {INTERRUPTED}")
        sys.exit(status)


if __name__ == "__main__":
    main()
