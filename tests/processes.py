"""Processes that don't import torch and Lightning for five seconds first.

A server imports them once (multiprocessing's forkserver); what is started is a fork of it, with a folder, an
environment, streams, a session and an exit status of its own. What an interpreter does before and after `main` is
tested where one is started: `whole_run` of `tests/tasks/test_run.py`, and the tests of `--help`, of Ctrl-C and of the
wheel.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["ice_lightning.discovery.module", "ice_lightning.explanation.module", "ice_lightning.run", "torch.distributed"]
)


def run_main(*arguments: str) -> None:
    """What `python -m ice_lightning.run` does."""
    from ice_lightning.run import main

    sys.path.insert(0, os.getcwd())
    sys.argv = ["ice_lightning.run", *arguments]
    main()


def run_code(code: str) -> None:
    """What `python -c` does."""
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


def _forked(function: Callable[..., None], arguments: tuple, folder: str, environment: dict, streams: str) -> None:
    os.setsid()
    for number, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(os.open(f"{streams}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    torch.set_num_threads(1)
    try:
        function(*arguments)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


class Fork:
    """A function that is running in a process of its own, the first of its session: its `pid`, and what it says."""

    def __init__(self, function: Callable[..., None], *arguments: str, cwd: Path, **environment: str):
        self.arguments, self.streams = arguments, tempfile.TemporaryDirectory()
        given = (function, arguments, str(cwd), os.environ | environment, self.streams.name)
        self.process = FORKS.Process(target=_forked, args=given)
        self.process.start()
        self.pid = self.process.pid

    def read(self, name: str) -> str:
        """What has come out of its `stdout` or `stderr` so far."""
        file = Path(self.streams.name) / name
        return file.read_text() if file.exists() else ""

    def running(self) -> bool:
        """Whether it hasn't come to its end."""
        return self.process.is_alive()

    def ended(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """How it came to its end, as subprocess.run says it."""
        self.process.join(timeout)
        if self.running():
            self.process.kill()
            raise subprocess.TimeoutExpired(self.arguments, timeout, self.read("stdout"), self.read("stderr"))
        done = self.process.exitcode, self.read("stdout"), self.read("stderr")
        self.streams.cleanup()
        return subprocess.CompletedProcess(self.arguments, *done)


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m ice_lightning.run` in a folder, in a fork."""
    return Fork(run_main, *arguments, cwd=cwd).ended()


def interpreter(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in an interpreter of its own, for what depends on how one begins and ends."""
    line = [sys.executable, "-m", "ice_lightning.run", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)
