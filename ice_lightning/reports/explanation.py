"""What an explanation keeps while it runs, so that no one is searched twice, and what it leaves."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ice_lightning.explanation.controls import keep_controls
from ice_lightning.explanation.module import Explanation
from ice_lightning.explanation.rows import FILE, KEPT, load_explained, write
from ice_lightning.explanation.verdict import SubspaceVerdict, percent, summary
from ice_lightning.files import atomic_write
from ice_lightning.loggers.wandb import PICTURED, TOGETHER, artifact_name, generator_artifact, trackers
from ice_lightning.progress import Steps
from ice_lightning.reports import figures, pages

LOG = logging.getLogger("ice_lightning")


class SaveExplanation(pl.Callback):
    """Every batch of people at once; at the end rows, metrics, pictures and page, and numbers to the loggers.

    Args:
        folder: of the run.
        facts: what stands in the files' header: classifier, criterion, directions, oracles, settings.
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
        facts: Mapping[str, Any],
        yaml: str,
        subspace: Path,
        provenance: Mapping[str, Any],
        command: str,
        kept: Path,
        shown: int = 8,
    ) -> None:
        self.folder, self.facts, self.yaml, self.shown = folder, dict(facts), yaml, shown
        self.subspace, self.provenance, self.command, self.kept = subspace, provenance, command, kept
        self.before: set[int] = set()
        self.began = time.monotonic()
        self.steps: Steps | None = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See who is done already."""
        assert isinstance(pl_module, Explanation)
        self.before, self.began = set(pl_module.done), time.monotonic()
        if trainer.is_global_zero:
            own = len(range(0, len(trainer.datamodule.latents), trainer.world_size))  # type: ignore[attr-defined]
            self.steps = Steps("people", own, len(rank_zero_people(self.before, trainer.world_size)))
            if self.before:
                LOG.info(f"{len(self.before)} people were done before")

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Keep the people of a batch, unless all of them were done before, and say how far it is."""
        assert isinstance(pl_module, Explanation)
        numbers = outputs["number"].tolist() if outputs else []
        if set(numbers) - self.before:
            write(self.folder / KEPT / f"{numbers[0]:09d}.safetensors", outputs, self.facts)
        if self.steps is not None:
            flips = sum(bool(row["flipped"]) for row in pl_module.done.values())
            self.steps.at(len(rank_zero_people(pl_module.done, trainer.world_size)), f"{flips} flipped")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        if self.steps is not None:
            self.steps.stop()

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write everything, the rows first: what comes after them can be made again."""
        assert isinstance(pl_module, Explanation)
        if self.steps is not None:
            self.steps.stop()
        if trainer.is_global_zero:
            write(self.folder / FILE, pl_module.rows, self.facts)
            keep_controls(self.kept, pl_module.rows)
            found = summary(load_explained(self.folder))
            metrics = self.metrics(pl_module, found)
            pictures = self.pictures(pl_module)
            title = f"{self.facts['classifier']} and {self.facts['criterion']}".replace("_", " ")
            source = {"classifier": self.facts["classifier"]} | pages.source(self.provenance)
            page = pages.explanation_page(
                title, headline(found), pictures, found, metrics, self.yaml, source, self.command
            )
            with atomic_write(self.folder / "report.html") as part:
                part.write_text(page)
            with atomic_write(self.folder / "metrics.json") as part:
                part.write_text(json.dumps(metrics, indent=2) + "\n")
            shutil.rmtree(self.folder / KEPT, ignore_errors=True)
            self.track(trainer, pl_module, metrics)
        trainer.strategy.barrier()

    def metrics(self, module: Explanation, found: SubspaceVerdict) -> dict[str, Any]:
        """What stands in metrics.json."""
        plain = found.to_json()
        return {
            "classifier": self.facts["classifier"],
            "criterion": self.facts["criterion"],
            "flip_rate": plain.pop("rate"),
            **plain,
            "people": module.people,
            "without_a_finite_score": module.unknown,
            "measured": module.measured,
            "images_per_person": float(module.rows["evaluations"].double().mean()),
            "seconds": round(time.monotonic() - self.began, 2),
        }

    @torch.no_grad()
    def pictures(self, module: Explanation) -> dict[str, bytes]:
        """Draw and write counterfactuals.png; caption -> PNG."""
        rows = module.rows
        flipped = rows["flipped"].bool().nonzero()[:, 0]
        order = flipped[rows["effort"][flipped].argsort()]
        # Evenly from the least effort to the greatest, so that hard people are seen as well.
        places = torch.linspace(0, len(order) - 1, min(self.shown, len(order))).round().long()
        some = order[places]
        stem = f"{self.facts['classifier']}: {self.facts['criterion']}".replace("_", " ")
        if not len(some):
            return {}
        u, t = rows["u"][some].to(module.device), rows["t"][some].to(module.device)
        pairs = torch.stack([module.draw(u), module.draw(module.basis.displace(u, t))], 1)
        columns = [rows[name][some].tolist() for name in ("effort", "before", "after")]
        labels = [f"{e:.2f} deviations, score {a:.1f} to {b:.1f}" for e, a, b in zip(*columns, strict=True)]
        title = f"{stem}: {len(flipped)} of {len(rows['number'])} flip, least effort first"
        data = figures.png(figures.counterfactuals(pairs, labels, title))
        with atomic_write(self.folder / "counterfactuals.png") as part:
            part.write_bytes(data)
        return {"counterfactuals": data}

    def track(self, trainer: pl.Trainer, module: Explanation, metrics: Mapping[str, Any]) -> None:
        """Numbers to every logger; the picture, the people and what was made of what to W&B."""
        scalars = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
        scalars |= {k: v["value"] for k, v in metrics["measured"].items()}
        scalars |= {f"control/{k}": v["rate"] for k, v in metrics["controls"].items()}
        if (random := metrics["random"]) is not None:
            scalars |= {"control/random": random["random_rate"], "score": random["score"]}
        for logger in trainer.loggers:
            logger.log_metrics(scalars)
            logger.save()
        for logger in trackers(trainer.loggers):
            logger.pictures([self.folder / "counterfactuals.png"])
            logger.table("people", self.table(module))
            classifier, criterion = self.facts["classifier"], self.facts["criterion"]
            logger.artifact(*generator_artifact(module.generator.fingerprint, module.generator.name), taken=True)
            name = artifact_name("subspace", criterion)
            logger.artifact(name, "subspace", self.subspace, self.provenance, taken=True)
            logger.artifact(explanation_artifact(classifier, criterion), "explanation", self.folder / FILE, self.facts)

    @torch.no_grad()
    def table(self, module: Explanation) -> list[dict[str, Any]]:
        """A row for each person; the first have pictures of themselves, their counterfactual and the difference."""
        rows = module.rows
        found = [
            {
                "person": number,
                "classifier": self.facts["classifier"],
                "criterion": self.facts["criterion"],
                **{name: float(rows[name][i]) for name in ("before", "after", "effort", "change")},
                **{name: bool(rows[name][i]) for name in rows if name.endswith("flipped") and rows[name].ndim == 1},
                **{oracle: float(rows["oracles"][i, k]) for k, oracle in enumerate(self.facts["oracles"])},
            }
            for i, number in enumerate(rows["number"].tolist())
        ]
        for begin in range(0, min(PICTURED, len(found)), TOGETHER):
            part = slice(begin, min(begin + TOGETHER, PICTURED))
            u, t = rows["u"][part].to(module.device), rows["t"][part].to(module.device)
            pairs = zip(module.draw(u), module.draw(module.basis.displace(u, t)), strict=True)
            for row, (x, other) in zip(found[part], pairs, strict=True):
                row |= {"original": x, "counterfactual": other, "difference": figures.difference(x, other)}
        return found


def rank_zero_people(people: Iterable[int], ranks: int) -> list[int]:
    """Those who are rank zero's."""
    return [number for number in people if number % ranks == 0]


def headline(found: SubspaceVerdict) -> str:
    """One sentence."""
    flips = found.flips
    return (
        f"Within {found.directions} directions of {found.criterion.replace('_', ' ')}, {percent(flips.rate)} % "
        f"({percent(flips.low)}-{percent(flips.high)} %) of {flips.of} people change sides."
    )


def explanation_artifact(classifier: str, criterion: str) -> str:
    """The name of an explanation's artifact."""
    return artifact_name("explanation", classifier, criterion)
