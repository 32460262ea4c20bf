"""The processes of one job: how Lightning starts them under Hydra, and what they leave behind.

Lightning starts ranks above 0 with the command line of the first, which in a sweep is that of the whole sweep. Here
they get the job's own settings, as Hydra saved them.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning.strategies.launchers import subprocess_script

LEFT_BEHIND = ("LOCAL_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")
"""Set by Lightning for the ranks that it starts; the next job of a sweep would take itself for one of them."""


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
