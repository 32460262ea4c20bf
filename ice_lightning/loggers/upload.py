"""The second process of `logger.mode=online`: uploads the record that a run writes, and ends some time after it.

`wandb beta sync --live` follows a record, but waits for ever for a server that is dead and for a run that was killed.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LOG = logging.getLogger("ice_lightning")

CLOSED, UPLOAD_LOG = "closed", "upload.log"
"""Beside a record: there once nobody writes it any longer; and what its upload says."""

PATIENCE = 600.0
"""Seconds that an upload may go on after its run has ended."""


def alive(process: int) -> bool:
    """Whether a process of this user is there."""
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def upload(record: Path, writer: int, patience: float = PATIENCE) -> bool:
    """Upload a record while it is written; whether it came through.

    Args:
        record: its folder.
        writer: the process that writes it.
        patience: seconds it may take, once nobody writes any longer.
    """
    record = record.resolve()
    command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", "--yes", str(record)]
    child = subprocess.Popen(command, cwd=record, stdin=subprocess.DEVNULL, start_new_session=True)  # it leaves a log
    deadline = time.monotonic() + patience
    while child.poll() is None and time.monotonic() < deadline:
        if alive(writer) and not (record / CLOSED).exists():
            deadline = time.monotonic() + patience
        time.sleep(0.2)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)  # with the service that it has started
        LOG.warning(f"expected an upload within {patience:g} s, got none: try `wandb sync {record}` later")
    return child.wait() == 0


def main() -> int:
    """Upload one record; 0 when it came through."""
    parser = argparse.ArgumentParser(prog="python -m ice_lightning.loggers.upload", description=__doc__)
    parser.add_argument("record", type=Path, help="folder offline-run-...")
    parser.add_argument("writer", type=int, help="number of the process that writes it")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds after its end")
    args = parser.parse_args()
    return int(not upload(args.record, args.writer, args.patience))


if __name__ == "__main__":
    sys.exit(main())
