"""How processes of a run start, are told apart, and end."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ice_lightning.checks import problem

INTERRUPTED = (
    "interrupted: the same command with the same hydra.run.dir goes on, "
    "a discovery that had finished a pass with ckpt_path=last"
)
"""What to tell whoever pressed Ctrl-C or ended the job."""

LEFT_BEHIND = ("LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")
"""Set by Lightning for the ranks that it starts; the next job of a sweep would take itself for one of them."""


NEEDLESS = (
    *("num_workers", "configure_optimizers", "in eval mode", "LeafSpec", "returned `None`"),
    "was called before the ``update`` method",  # of a metric over those who flip, where nobody does
)
"""Words of warnings about runs without an optimiser, worker processes, layers in train mode, or anyone to measure."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within, Lightning keeps needless warnings to itself; after it, filters and log level are as they were."""
    import pytorch_lightning  # noqa: F401 (which sets the level of its log when it is imported first)

    log = logging.getLogger("pytorch_lightning")
    level = log.level
    with warnings.catch_warnings():
        for words in NEEDLESS:
            warnings.filterwarnings("ignore", message=f"(?s).*{words}.*")
        log.setLevel(logging.WARNING)
        try:
            yield
        finally:
            log.setLevel(level)


def command(folder: Path) -> list[str]:
    """What starts another rank of the job that runs in `folder`."""
    return [
        *(sys.executable, "-m", "ice_lightning.run"),
        *("--config-path", str(folder.resolve() / ".hydra"), "--config-name", "config"),
        *(f"hydra.run.dir={folder.resolve()}", "hydra.output_subdir=null"),
    ]


@contextmanager
def own_ranks(folder: Path) -> Iterator[None]:
    """Within, Lightning's ranks are those of the job in `folder`; after it, nothing is left of them."""
    from pytorch_lightning.strategies.launchers import subprocess_script  # which a run needs first, and --help never

    before = {name: os.environ.get(name) for name in LEFT_BEHIND}
    theirs = subprocess_script._hydra_subprocess_cmd

    def ours(local_rank: int) -> tuple[Sequence[str], str]:
        return command(folder), os.getcwd()

    subprocess_script._hydra_subprocess_cmd = ours
    # It says which process was killed, and would say so to nobody.
    logging.getLogger("lightning_fabric.strategies.launchers.subprocess_script").setLevel(logging.INFO)
    try:
        yield
    finally:
        subprocess_script._hydra_subprocess_cmd = theirs
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized() and before["LOCAL_RANK"] is None:
            dist.destroy_process_group()


def check_shares(processes: int, people: int, name: str) -> None:
    """Refuse more processes than people.

    Args:
        processes: at least 1.
        people: at least 1.
        name: of the setting that says how many people.

    Raises:
        IceError: in one sentence.
    """
    if processes > people:
        fix = f"raise {name} or lower trainer.devices"
        raise problem(f"at least as many people as processes ({processes})", people, fix)


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
