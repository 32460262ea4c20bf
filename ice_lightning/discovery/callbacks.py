"""What a discovery shows while it runs, and what an interrupted one goes on from."""

from __future__ import annotations

import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from rich.console import Console

from ice_lightning.discovery.module import Discovery
from ice_lightning.files import LAST, atomic_write
from ice_lightning.progress import bar


class SavePass(Checkpoint):
    """`last.ckpt` in the run's folder after every pass, written whole or not at all.

    Lightning's own ModelCheckpoint saves nothing where no optimiser steps.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, unless the search is over; Lightning calls this after the module's own hook."""
        if trainer.should_stop:
            return
        if trainer.is_global_zero:
            with atomic_write(self.folder / LAST) as part:
                trainer.save_checkpoint(part)
        else:
            trainer.save_checkpoint(self.folder / LAST)  # which writes nothing, but every rank has to take part


class StageProgress(pl.Callback):
    """A bar that names stage, person and remaining time; plain lines where there is no terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        said = (
            "pass {task.fields[number]}: [bold]{task.fields[stage]}[/]",
            "person {task.fields[person]} of {task.total:.0f}",
        )
        self.progress = bar(self.console, *said)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to the module."""
        assert isinstance(pl_module, Discovery)
        if not trainer.is_global_zero:
            return
        people = len(trainer.datamodule.latents)  # type: ignore[attr-defined]
        task = self.progress.add_task("", total=people, stage="start", person=1, number=1)
        began, said = time.monotonic(), (0, -1)

        def tell(stage: str, person: int, share: float) -> None:
            nonlocal said, began
            number, done, shown = len(pl_module.told) + 1, min(person + share, people), min(person + 1, people)
            if number != said[0]:
                began = time.monotonic()
                self.progress.reset(task, number=number, stage=stage, person=shown)  # which forgets all others
            self.progress.update(task, completed=done, stage=stage, person=shown, number=number)
            if not self.console.is_terminal and (number, person) != said:
                elapsed = time.monotonic() - began
                left = f", about {elapsed / done * (people - done):.0f} s left in this pass" if done else ""
                self.console.print(f"pass {number}, {stage}: person {shown} of {people}{left}")
            said = (number, person)

        pl_module.tell = tell
        if self.console.is_terminal:
            self.progress.start()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the terminal as it was."""
        self.progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self.progress.stop()
