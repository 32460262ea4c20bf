"""What a discovery leaves in its run folder."""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ice_lightning.checks import problem
from ice_lightning.discovery.discover import local_problem, subspace_of
from ice_lightning.discovery.features import LeftOut
from ice_lightning.discovery.metrics import RunMetrics
from ice_lightning.discovery.module import Discovery
from ice_lightning.edits import Moved, SubspaceAt, subspace_at
from ice_lightning.files import LAST, write_bytes, write_json, write_text
from ice_lightning.loggers.wandb import PICTURED, TOGETHER, artifact_name, generator_artifact, trackers
from ice_lightning.reports import figures, pages
from ice_lightning.reports.energies import people, spectrum
from ice_lightning.reports.page import source_of
from ice_lightning.reports.traversal import sheet
from ice_lightning.subspace import FILE, Subspace
from ice_lightning.traversal import traverse, visible_strength, walk
from ice_lightning.wording import words

LOG = logging.getLogger("ice_lightning")

HELD_OUT = 1_000_000
"""Added to the seed for people who are shown but not used in the fit."""
DIRECTIONS = 8
"""So many directions of their own are looked for, as everywhere else, and the first is shown."""


def peak_memory_mb() -> float:
    """High-water mark of this process's resident memory, or of CUDA's allocator where that is larger."""
    unit = 1 if sys.platform == "darwin" else 1024
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return max(host, torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_available() else host


def spectrum_of(module: Discovery) -> Figure:
    """Eigenvalues of a discovery that has found its subspace, kept ones and others."""
    result, name = module.result, words(module.criterion.name)
    title = f"{name}: {len(result.values)} directions"
    unit = "unit of latent" if module.coordinates.geometry is None else "deviation"
    return spectrum(result.projected.tolist(), result.unprojected.tolist(), len(result.values), title, unit)


def people_of(module: Discovery) -> Figure:
    """Energies of the people of a discovery that has found its subspace, and how far its halves agree."""
    title = f"{words(module.criterion.name)}: who it was found on"
    return people(module.energies, module.metrics.odd_people, module.metrics.stability, title)


class SaveDiscovery(pl.Callback):
    """Subspace, metrics, pictures and page into the run's folder, and to the logger.

    Args:
        folder: of the run.
        config: the resolved settings of the run, for provenance; `local` and `held` in it say how people are moved.
        yaml: the same as text, for the page.
        command: that repeats the run, "" where there is none.
        seconds: what took time before the fit, by stage.
        people: rows of the traversal.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        yaml: str,
        command: str,
        seconds: dict[str, float],
        people: int = 4,
    ) -> None:
        self.folder, self.config, self.yaml, self.command = folder, config, yaml, command
        self.seconds, self.people = seconds, people
        self.subspace: Subspace
        self.metrics: RunMetrics
        self.moved: tuple[Moved, ...] = ()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write everything, the subspace first: what comes after it can be made again."""
        if trainer.is_global_zero:
            assert isinstance(pl_module, Discovery)
            if not hasattr(pl_module, "result"):
                fix = "leave out what limits its passes or steps, such as trainer.max_epochs"
                raise problem("a trainer that lets the search come to its end", "one that stopped it", fix)
            self.write(trainer, pl_module)
        trainer.strategy.barrier()  # the other processes read what this one wrote

    def write(self, trainer: pl.Trainer, pl_module: Discovery) -> None:
        """Write the files of a run and tell the loggers."""
        name = pl_module.criterion.name
        self.subspace = subspace_of(pl_module, self.config)
        self.subspace.save(self.folder / FILE)
        with pl_module.stage("pictures", pl_module.people_used):
            pictures = self.pictures(pl_module)
        seconds = {k: round(v, 3) for k, v in (self.seconds | dict(pl_module.seconds)).items()}
        self.metrics = RunMetrics(pl_module.metrics, seconds, round(peak_memory_mb(), 1))
        shown = {"held_out": [each.to_json() for each in self.moved]}
        write_json(self.folder / "metrics.json", self.metrics.to_json() | shown)
        source = source_of(self.subspace.provenance)
        page = pages.discovery_page(
            name, pl_module.criterion.description, pictures, self.metrics, self.yaml, source, self.command, self.moved
        )
        write_text(self.folder / "report.html", page)
        self.track(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say how to go on, where there is something to go on from."""
        if trainer.is_global_zero and isinstance(exception, KeyboardInterrupt) and (self.folder / LAST).exists():
            LOG.info(f"stopped; go on with the same settings and ckpt_path=last hydra.run.dir={self.folder}")

    def pictures(self, module: Discovery) -> dict[str, bytes]:
        """Draw and write traversal.png, spectrum.png and people.png; caption -> PNG."""
        G, name = module.generator, words(module.criterion.name)
        seed = self.config["latents"]["seed"] + HELD_OUT
        with torch.no_grad():
            u = G.people(self.people, seed, module.space)
        at = self.own_directions(module, u)
        if at is None:
            walked = walk(G, self.subspace, u)
        else:
            walked = at.walk()
            self.moved = at.moved(0, walked.strengths[:, -1])
        found = {
            "traversal": sheet(walked, f"{name}, people the search never saw", 0, at),
            "spectrum": spectrum_of(module),
            "people": people_of(module),
        }
        drawn = {caption: figures.png(figure) for caption, figure in found.items()}
        for caption, data in drawn.items():
            write_bytes(self.folder / f"{caption}.png", data)
        return drawn

    def own_directions(self, module: Discovery, u: Tensor) -> SubspaceAt | None:
        """The directions of people (N, n), each their own; None where everyone moves along the average's."""
        if not self.config.get("local", True):
            return None
        with torch.enable_grad():  # Lightning's end of a fit has it off
            at = subspace_at(local_problem(module, self.subspace), u, DIRECTIONS, self.subspace.provenance)
        return at.held() if self.config.get("held", False) else at

    def track(self, trainer: pl.Trainer, module: Discovery) -> None:
        """Numbers to every logger; pictures, the people and what was made of what to W&B."""
        seconds = {f"seconds/{k}": v for k, v in self.metrics.seconds.items()}
        leakage = {f"leakage/{k}": v for k, v in module.metrics.leakage.items()}
        scalars = {k: v for k, v in self.metrics.to_json().items() if isinstance(v, int | float)}
        for logger in trainer.loggers:
            logger.log_metrics(scalars | seconds | leakage)
            logger.save()
        for logger in trackers(trainer.loggers):
            logger.pictures(self.folder / f"{name}.png" for name in ("traversal", "spectrum", "people"))
            logger.table("people", self.rows(trainer, module))
            G, name = module.generator, artifact_name("subspace", module.criterion.name)
            logger.artifact(*generator_artifact(G.fingerprint, G.name), taken=True)
            logger.artifact(name, "subspace", self.folder / FILE, self.subspace.provenance)

    @torch.no_grad()
    def rows(self, trainer: pl.Trainer, module: Discovery) -> list[dict[str, Any]]:
        """A row for each person of the search; the first have pictures of themselves along the strongest direction."""
        latents = trainer.datamodule.latents  # type: ignore[attr-defined]
        left_out = {p: each.reason for p, each in module.analyses.items() if isinstance(each, LeftOut)}
        rows: list[dict[str, Any]] = [
            {
                "person": person,
                "criterion": module.criterion.name,
                "energy": module.energies.get(person),
                "odd": person in module.metrics.odd_people,
                "left_out_for_want_of": left_out.get(person),
            }
            for person in range(len(latents))
        ]
        parts = latents[:PICTURED].to(module.device).split(TOGETHER)
        top = visible_strength(module.generator, self.subspace, parts[0])
        drawn = [traverse(module.generator, self.subspace, u, [-top, 0, top]) for u in parts]
        for row, images in zip(rows, torch.cat(drawn), strict=False):
            row |= dict(zip(("minus", "original", "plus"), images, strict=True))
        return rows
