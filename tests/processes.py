"""The command line in a process of its own, which doesn't import torch and Lightning for five seconds first.

A server imports them once (multiprocessing's forkserver), and every command is a fork of it, with a folder, streams,
signals and an exit status of its own. What an interpreter does before and after `main` is tested where one is started:
`test_run.real_run`, and the tests of `--help`, of signals, of launchers and of the wheel.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["ice_lightning.discovery.module", "ice_lightning.explanation.module", "ice_lightning.run", "torch.distributed"]
)


def _main(arguments: list[str], folder: str, environment: dict[str, str], streams: str) -> None:
    """What `python -m ice_lightning.run` does, in a fork."""
    for number, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(os.open(f"{streams}/{name}", os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv = ["ice_lightning.run", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    import torch

    torch.set_num_threads(1)
    from ice_lightning.run import main

    main()


class Command:
    """A command that is running: its `pid`, and what it has said so far."""

    def __init__(self, *arguments: str, cwd: Path):
        self.arguments, self.streams = arguments, tempfile.TemporaryDirectory()
        given = (list(arguments), str(cwd), dict(os.environ), self.streams.name)
        self.process = FORKS.Process(target=_main, args=given)
        self.process.start()
        self.pid = self.process.pid

    def read(self, name: str) -> str:
        file = Path(self.streams.name) / name
        return file.read_text() if file.exists() else ""

    def running(self) -> bool:
        return self.process.is_alive()

    def ended(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """How it came to its end, as subprocess.run says it."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            raise subprocess.TimeoutExpired(self.arguments, timeout, self.read("stdout"), self.read("stderr"))
        status, out, err = self.process.exitcode, self.read("stdout"), self.read("stderr")
        self.streams.cleanup()
        return subprocess.CompletedProcess(self.arguments, status, out, err)


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m ice_lightning.run` in a folder, in a fork of a process that has imported what it needs."""
    return Command(*arguments, cwd=cwd).ended()


def interpreter(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same in an interpreter of its own, for what depends on how one begins and ends."""
    line = [sys.executable, "-m", "ice_lightning.run", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, check=False)
