"""What a discovery shows while it runs, and what an interrupted one goes on from."""

from __future__ import annotations

import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from rich.console import Console

from ice_lightning.discovery.module import Discovery, Stage
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
        columns = (
            "pass {task.fields[number]}: [bold]{task.fields[stage]}[/]",
            "person {task.fields[person]} of {task.total:.0f}",
        )
        self.progress = bar(self.console, *columns)
        self.people, self.began, self.shown = 0, 0.0, (0, -1)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to the module."""
        assert isinstance(pl_module, Discovery)
        if not trainer.is_global_zero:
            return
        self.people = len(trainer.datamodule.latents)  # type: ignore[attr-defined]
        self.task = self.progress.add_task("", total=self.people, stage="start", person=1, number=1)
        self.began = time.monotonic()
        pl_module.listeners.append(self.show)
        if self.console.is_terminal:
            self.progress.start()

    def show(self, stage: Stage) -> None:
        """Show what begins; another pass is another bar."""
        number, name, person = stage
        done, shown = min(person, self.people), min(person + 1, self.people)
        if number != self.shown[0]:
            self.began = time.monotonic()
            self.progress.reset(self.task, number=number, stage=name, person=shown)  # which forgets all others
        self.progress.update(self.task, completed=done, stage=name, person=shown, number=number)
        if not self.console.is_terminal and (number, person) != self.shown:
            elapsed = time.monotonic() - self.began
            left = f", about {elapsed / done * (self.people - done):.0f} s left in this pass" if done else ""
            self.console.print(f"pass {number}, {name}: person {shown} of {self.people}{left}")
        self.shown = (number, person)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the terminal as it was."""
        self.progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self.progress.stop()
