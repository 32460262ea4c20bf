"""What a training leaves behind on its way: its curve, sheets of pictures, the student, and where to go on from."""

from __future__ import annotations

import csv
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from distillation import Distillation
from PIL import Image
from student import CONFIG
from torch import Tensor

from ice_lightning.checkpoints import save_network
from ice_lightning.checkpoints.generators import average
from ice_lightning.files import LAST, atomic_write
from ice_lightning.modules.stylegan2 import Generator

COLUMNS = (
    "steps", "kimg", "seconds", "images_per_second", "side", "paired", "matched", "deceive", "discern", "r1",
    "trusted", "suspected", "frechet", "floor",
)  # fmt: skip
PEOPLE = 10_000_000
"""Seed of the people on the sheets."""


class Record(pl.Callback):
    """A row of the curve after every epoch; the rest after so many minutes, at the end, and when asked to stop.

    Args:
        folder: for everything.
        every: minutes between two savings.
        fidelity: what says how far a generator's pictures are from the teacher's, and how far the teacher's are from
            each other; None where it can't be said.
        fidelity_every: minutes between two of its answers.

    SIGTERM and Ctrl-C end the training after the step, and it is saved; `stopped` is the signal's number then.
    """

    def __init__(
        self,
        folder: Path,
        every: float,
        fidelity: Callable[[Generator], tuple[float, float]] | None,
        fidelity_every: float,
    ) -> None:
        self.folder, self.every, self.fidelity, self.fidelity_every = folder, every, fidelity, fidelity_every
        self.stopped = 0
        self.saved = self.judged = self.told = 0.0
        self.told_images = 0

    def on_train_start(self, trainer: pl.Trainer, module: Distillation) -> None:  # type: ignore[override]
        """Listen for signals; forget rows that were written after what is gone on from."""
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self.stop)
        self.saved = self.judged = self.told = module.seconds
        self.told_images = module.images
        rows = [row for row in read_curve(self.folder / "curve.csv") if int(row["steps"]) <= module.steps]
        write_curve(self.folder / "curve.csv", rows)

    def stop(self, number: int, _: Any) -> None:
        """Take a signal."""
        self.stopped = number

    def on_train_batch_end(self, trainer: pl.Trainer, module: Distillation, *_: Any) -> None:  # type: ignore[override]
        """End when the time is over, or on a signal."""
        if self.stopped or module.progress >= 1:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Distillation) -> None:  # type: ignore[override]
        """Write a row; save when it is time to."""
        ended = trainer.should_stop
        row = self.row(trainer, module)
        due = ended or module.seconds - self.judged > 60 * self.fidelity_every
        if self.fidelity is not None and due and not self.stopped:
            row["frechet"], row["floor"] = (f"{value:.5f}" for value in self.fidelity(module.average))
            self.judged = module.seconds
        write_curve(self.folder / "curve.csv", [*read_curve(self.folder / "curve.csv"), row])
        print("  ".join(f"{name} {row[name]}" for name in COLUMNS if row.get(name)), flush=True)
        if ended or module.seconds - self.saved > 60 * self.every:
            self.saved = module.seconds
            self.save(trainer, module)
        module.seconds = time.monotonic() - module.began  # what was done here took time as well

    def row(self, trainer: pl.Trainer, module: Distillation) -> dict[str, Any]:
        """The means since the last row."""
        images, seconds = module.images - self.told_images, max(1e-9, module.seconds - self.told)
        self.told, self.told_images = module.seconds, module.images
        row: dict[str, Any] = {
            "steps": module.steps,
            "kimg": f"{module.images / 1000:.2f}",
            "seconds": f"{module.seconds:.0f}",
            "images_per_second": f"{images / seconds:.1f}",
            "side": module.plan.at(module.progress).side,
        }
        return row | {name: f"{float(v):.4f}" for name, v in trainer.callback_metrics.items() if name in COLUMNS}

    def save(self, trainer: pl.Trainer, module: Distillation) -> None:
        """Checkpoint, student and sheet."""
        with atomic_write(self.folder / LAST) as part:
            trainer.save_checkpoint(part)
        module.average.mapping.w_avg.copy_(average(module.average.cpu()))
        save_network(self.folder / "student.safetensors", module.average, "generator", CONFIG)
        picture = sheet(module.average, lambda z: module.teacher(z.to(module.device)).cpu())
        with atomic_write(self.folder / "sheets" / f"{module.steps:07d}.png") as part:
            picture.save(part)
        module.average.to(module.device)


@torch.no_grad()
def sheet(student: Generator, teacher: Callable[[Tensor], Tensor], columns: int = 12, rows: int = 2) -> Image.Image:
    """People in pairs of rows, each person as the teacher draws it and below as the student does, at twice the size."""
    z = student.sample(columns * rows, PEOPLE)
    pairs = torch.stack([teacher(z), student(z)]).clamp(0, 1).unflatten(1, (rows, columns))
    grid = pairs.permute(1, 0, 4, 2, 5, 3).flatten(3, 4).flatten(0, 2)
    pixels = (grid * 255).round().byte().numpy()
    return Image.fromarray(pixels).resize((2 * pixels.shape[1], 2 * pixels.shape[0]), Image.Resampling.NEAREST)


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The rows of a curve; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_curve(path: Path, rows: list[dict[str, Any]]) -> None:
    """All rows, whole or not at all."""
    with atomic_write(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
