"""What an explanation keeps while it runs, so that no one is searched twice, and what it leaves."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ice_lightning.explanation.controls import keep_controls
from ice_lightning.explanation.metrics import ExplanationMetrics
from ice_lightning.explanation.module import Explainer
from ice_lightning.explanation.readings import NAMES
from ice_lightning.explanation.rows import FILE, KEPT, Header, Rows, load_explained, write
from ice_lightning.explanation.verdict import SubspaceVerdict, summary
from ice_lightning.files import write_bytes, write_json, write_text
from ice_lightning.loggers.wandb import PICTURED, TOGETHER, artifact_name, generator_artifact, trackers
from ice_lightning.progress import Steps
from ice_lightning.reports import figures, pages
from ice_lightning.reports.page import source_of
from ice_lightning.wording import percent, words

LOG = logging.getLogger("ice_lightning")


class SaveExplanation(pl.Callback):
    """Every batch of people at once; at the end rows, metrics, pictures and page, and numbers to the loggers.

    Args:
        folder: of the run.
        header: of the files.
        yaml: the resolved settings of the run, for the page.
        subspace: the file of the subspace.
        provenance: of the subspace.
        command: that repeats the run, "" where there is none.
        kept: folder in which outcomes of random subspaces are kept for other runs.
        shown: people in the picture.
    """

    def __init__(
        self,
        folder: Path,
        header: Header,
        yaml: str,
        subspace: Path,
        provenance: Mapping[str, Any],
        command: str,
        kept: Path,
        shown: int = 8,
    ) -> None:
        self.folder, self.header, self.yaml, self.shown = folder, header, yaml, shown
        self.subspace, self.provenance, self.command, self.kept = subspace, provenance, command, kept
        self.before: set[int] = set()
        self.began = time.monotonic()
        self.steps: Steps | None = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See who is done already."""
        assert isinstance(pl_module, Explainer)
        self.before, self.began = set(pl_module.done), time.monotonic()
        if trainer.is_global_zero:
            people = range(len(trainer.datamodule.latents))  # type: ignore[attr-defined]
            here, done = (len(rank_zero_people(each, trainer.world_size)) for each in (people, self.before))
            self.steps = Steps("people", here, done)
            if self.before:
                LOG.info(f"{len(self.before)} people were done before")

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the people of a batch, unless all of them were done before, and say how far it is."""
        assert isinstance(pl_module, Explainer)
        rows: Rows | None = outputs.get("rows") if outputs else None
        numbers = rows.number.tolist() if rows is not None else []
        if rows is not None and set(numbers) - self.before:
            write(self.folder / KEPT / f"{numbers[0]:09d}.safetensors", rows, self.header)
        if self.steps is not None:
            flips = sum(bool(row.named.flipped) for row in pl_module.done.values())
            self.steps.at(len(rank_zero_people(pl_module.done, trainer.world_size)), f"{flips} flipped")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        if self.steps is not None:
            self.steps.stop()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write everything, the rows first: what comes after them can be made again."""
        assert isinstance(pl_module, Explainer)
        if self.steps is not None:
            self.steps.stop()
        if trainer.is_global_zero:
            write(self.folder / FILE, pl_module.rows, self.header)
            keep_controls(self.kept, pl_module.rows)
            metrics = self.metrics(pl_module)
            pictures = self.pictures(pl_module)
            title = words(f"{self.header.classifier} and {self.header.criterion}")
            source = {"classifier": self.header.classifier} | source_of(self.provenance)
            page = pages.explanation_page(
                title, headline(metrics.found), pictures, metrics, self.yaml, source, self.command
            )
            write_text(self.folder / "report.html", page)
            write_json(self.folder / "metrics.json", metrics.to_json())
            shutil.rmtree(self.folder / KEPT, ignore_errors=True)
            self.track(trainer, pl_module, metrics)
        trainer.strategy.barrier()

    def metrics(self, module: Explainer) -> ExplanationMetrics:
        """What stands in metrics.json."""
        assert module.rows.moves is not None
        return ExplanationMetrics(
            classifier=self.header.classifier,
            found=summary(load_explained(self.folder)),
            people=module.people,
            unknown=tuple(module.unknown),
            measured=module.measured,
            images_per_person=float(module.rows.moves.evaluations.double().mean()),
            seconds=round(time.monotonic() - self.began, 2),
        )

    def pictures(self, module: Explainer) -> dict[str, bytes]:
        """Draw and write counterfactuals.png; caption -> PNG."""
        order = module.rows.flips_by_effort()
        # Evenly from the least effort to the greatest, so that hard people are seen as well.
        places = torch.linspace(0, len(order) - 1, min(self.shown, len(order))).round().long()
        some = module.rows.select(order[places])
        if not len(places):
            return {}
        assert some.moves is not None
        pairs = torch.stack(module.counterfactuals(some), 1)
        columns = [column.tolist() for column in (some.named.effort, some.before, some.moves.after)]
        labels = [f"{e:.2f} deviations, score {a:.1f} to {b:.1f}" for e, a, b in zip(*columns, strict=True)]
        if some.clean is not None:  # what moved most beside it, in deviations
            worst, which = some.clean.excess.max(1)
            beside = [f"{NAMES[k]} {far:.1f}" for k, far in zip(which.tolist(), worst.tolist(), strict=True)]
            labels = [f"{label}; {each}" for label, each in zip(labels, beside, strict=True)]
        stem = words(f"{self.header.classifier}: {self.header.criterion}")
        title = f"{stem}: {len(order)} of {len(module.rows.number)} flip, least effort first"
        data = figures.png(figures.counterfactuals(pairs, labels, title))
        write_bytes(self.folder / "counterfactuals.png", data)
        return {"counterfactuals": data}

    def track(self, trainer: pl.Trainer, module: Explainer, metrics: ExplanationMetrics) -> None:
        """Numbers to every logger; the picture, the people and what was made of what to W&B."""
        for logger in trainer.loggers:
            logger.log_metrics(metrics.scalars())
            logger.save()
        for logger in trackers(trainer.loggers):
            logger.pictures([self.folder / "counterfactuals.png"])
            logger.table("people", self.table(module))
            header = self.header
            logger.artifact(*generator_artifact(module.generator.fingerprint, module.generator.name), taken=True)
            name = artifact_name("subspace", header.criterion)
            logger.artifact(name, "subspace", self.subspace, self.provenance, taken=True)
            name = explanation_artifact(header.classifier, header.criterion)
            logger.artifact(name, "explanation", self.folder / FILE, header.to_json())

    def table(self, module: Explainer) -> list[dict[str, Any]]:
        """A row for each person; the first have pictures of themselves, their counterfactual and the difference."""
        rows, named = module.rows, module.rows.named
        assert rows.moves is not None
        numbers = {"before": rows.before, "after": rows.moves.after, "effort": named.effort, "change": named.change}
        searches = {"flipped": named, "weights_flipped": rows.weights, "unrestricted_flipped": rows.unrestricted}
        found = [
            {
                "person": number,
                "classifier": self.header.classifier,
                "criterion": self.header.criterion,
                **{name: float(column[i]) for name, column in numbers.items()},
                **{name: bool(each.flipped[i]) for name, each in searches.items() if each is not None},
                **{oracle: float(rows.oracles[i, k]) for k, oracle in enumerate(self.header.oracles)},
            }
            for i, number in enumerate(rows.number.tolist())
        ]
        for begin in range(0, min(PICTURED, len(found)), TOGETHER):
            part = slice(begin, min(begin + TOGETHER, PICTURED))
            pairs = zip(*module.counterfactuals(rows.select(part)), strict=True)
            for row, (x, other) in zip(found[part], pairs, strict=True):
                row |= {"original": x, "counterfactual": other, "difference": figures.difference(x, other)}
        return found


def rank_zero_people(people: Iterable[int], ranks: int) -> list[int]:
    """The people whom the first process takes.

    Args:
        people: their numbers.
        ranks: processes; person i is of rank i modulo these.

    Returns:
        Their numbers.

    Example:
        >>> rank_zero_people(range(5), 2)
        [0, 2, 4]
    """
    return [number for number in people if number % ranks == 0]


def headline(found: SubspaceVerdict) -> str:
    """What an explanation says, in one sentence."""
    flips, own = found.flips, "" if found.own is None else f" {found.own.sentence}"
    return (
        f"Within {found.directions} directions of {words(found.criterion)}, {percent(flips.rate)} % "
        f"({percent(flips.low)}-{percent(flips.high)} %) of {flips.of} people change sides.{own}"
    )


def explanation_artifact(classifier: str, criterion: str) -> str:
    """The name of an explanation's W&B artifact.

    Args:
        classifier: its name.
        criterion: of the subspace.

    Returns:
        As W&B allows it.

    Example:
        >>> explanation_artifact("smiling", "hair_color")
        'explanation-smiling-hair_color'
    """
    return artifact_name("explanation", classifier, criterion)
