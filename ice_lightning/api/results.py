"""What the calls return: a subspace, an explanation, a verdict, each with figures and a view for notebooks."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ice_lightning.api.arguments import as_people, check, undisturbed
from ice_lightning.checks import at_least
from ice_lightning.counterfactuals.base import CounterfactualMethod
from ice_lightning.discovery.discover import local_problem
from ice_lightning.discovery.metrics import DiscoveryMetrics
from ice_lightning.discovery.module import Discovery
from ice_lightning.edits import SubspaceAt, subspace_at
from ice_lightning.explanation.controls import ControlSettings
from ice_lightning.explanation.module import Explainer
from ice_lightning.explanation.rows import Explained
from ice_lightning.explanation.verdict import ClassifierVerdict, SubspaceVerdict, summary
from ice_lightning.metrics import Measurement
from ice_lightning.reports import figures
from ice_lightning.reports.discovery import people_of, spectrum_of
from ice_lightning.reports.explanation import headline
from ice_lightning.reports.page import picture, table
from ice_lightning.subspace import Subspace
from ice_lightning.wording import percent, probability, words


@dataclass(frozen=True)
class Discovered(Subspace):
    """A subspace that was just found, with what is known of its search; a file keeps the subspace alone.

    Attributes:
        module: the search, after its end.
    """

    module: Discovery = field(kw_only=True, repr=False, compare=False)

    @property
    def metrics(self) -> DiscoveryMetrics:
        """Its numbers, those of metrics.json: explained_energy, leakage, residual, stability, ..."""
        return self.module.metrics

    @property
    def subspace(self) -> Subspace:
        """What a file of it holds."""
        return Subspace(**{each.name: getattr(self, each.name) for each in fields(Subspace)})

    def at(self, u: Tensor, *, directions: int | None = 8, held: bool = False) -> SubspaceAt:
        """The directions of single people, each their own, in the order and with the signs of the average ones.

        Args:
            u: people (N, n).
            directions: at most so many, the strongest; None for all.
            held: whether moves hold still what is suppressed, see `SubspaceAt.held`.

        Returns:
            What moves these people, by `edit`.

        Raises:
            IceError: in one sentence.
        """
        directions, held = check(directions=directions, held=held)
        generator = self.module.generator
        with undisturbed(generator, self.module.faces):
            people, count = as_people(u, self, generator), directions or self.directions.shape[1]
            found = subspace_at(local_problem(self.module, self), people, count, self.provenance)
        return found.held() if held else found

    def spectrum(self) -> Figure:
        """Eigenvalues: the kept ones, those below the ratio, and those before anything was suppressed."""
        return spectrum_of(self.module)

    def people(self) -> Figure:
        """The energy of each person of the search, and how far the directions of its halves are apart."""
        return people_of(self.module)

    def _repr_html_(self) -> str:
        """For notebooks: what it is, how good it is, and its spectrum."""
        m = self.metrics
        left_out = f", {m.people_skipped} left out" if m.people_skipped else ""
        facts = {
            "activated energy explained": f"{percent(m.explained_energy)} %",
            "largest leakage into a suppressed term": max(m.leakage.values(), default="none is suppressed"),
            "people": f"{m.people_used}{left_out}",
            "residual": m.residual,
        } | ({"stopped early": m.stopped_early} if m.stopped_early else {})
        name = words(self.provenance["criterion"])
        seen = picture(figures.png(self.spectrum()), f"spectrum of {name}")
        return super()._repr_html_() + table(facts, name) + seen


@dataclass(frozen=True)
class Settings:
    """What decides an explanation beside its subspace; outcomes in random subspaces hold for the same settings.

    Attributes:
        classifier: its name, or the object that was passed.
        generator: its SHA-256.
        space: of the latents.
        dimension: of the subspace.
        people: how many.
        seed: of the first of them.
        method: of search.
        controls: what the subspace is compared with.
    """

    classifier: Any
    generator: str
    space: str
    dimension: int
    people: int
    seed: int
    method: CounterfactualMethod
    controls: ControlSettings


@dataclass(frozen=True)
class Explanation:
    """Counterfactuals of a classifier within a subspace.

    Attributes:
        explained: what is known of everyone, a row for each person.
        measured: figures by name, each with its value, of how many, and over whom.
        module: the search, after its end.
        settings: what decided it.
    """

    explained: Explained
    measured: Mapping[str, Measurement]
    module: Explainer = field(repr=False)
    settings: Settings = field(repr=False)

    @property
    def summary(self) -> SubspaceVerdict:
        """What it says by itself: flips, effort, and against random subspaces."""
        return summary(self.explained)

    @property
    def sentence(self) -> str:
        """In plain words."""
        return headline(self.summary)

    def _easiest(self, people: int) -> Tensor:
        """Rows of at most so many people who flip, least effort first."""
        return self.explained.rows.flips_by_effort()[: at_least("people", people, 1)]

    def counterfactuals(self, people: int = 8) -> tuple[Tensor, Tensor]:
        """Those who flip with the least effort, and their counterfactuals.

        Args:
            people: at most so many.

        Returns:
            Images (N, 3, H, W) in 0..1 twice; N is 0 where nobody flips.
        """
        return self.module.counterfactuals(self.explained.rows.select(self._easiest(people)))

    def figure(self, people: int = 8) -> Figure | None:
        """People who flip, beside their counterfactuals, least effort first; None where nobody does.

        Args:
            people: at most so many.
        """
        some = self._easiest(people)
        if not len(some):
            return None
        labels = [f"{each:.2f} deviations" for each in self.explained.rows.named.effort[some].tolist()]
        name = words(f"{self.explained.classifier}: {self.explained.criterion}")
        flips = self.summary.flips
        title = f"{name}, {percent(flips.rate)} % of {flips.of} people flip"
        return figures.counterfactuals(torch.stack(self.counterfactuals(people), 1), labels, title)

    def _repr_html_(self) -> str:
        """For notebooks: the sentence, what random subspaces do, and the picture."""
        found = self.summary
        facts: dict[str, object] = {"median effort, deviations": "" if found.effort is None else found.effort}
        if (random := found.significance) is not None:
            facts |= {
                f"flipped by {random.controls} random subspaces": f"{percent(random.random_rate)} %",
                "share of comparisons that it wins": random.score,
                "p before Holm's correction": random.p,
            }
        facts |= {f"flipped by {name}": f"{percent(each.rate)} %" for name, each in found.controls.items()}
        figure, caption = self.figure(), html.escape(self.sentence)
        seen = "<p>Nobody flips.</p>" if figure is None else picture(figures.png(figure), self.sentence)
        return f"<p>{caption}</p>{table(facts, self.sentence)}{seen}"


@dataclass(frozen=True)
class Verdict(ClassifierVerdict):
    """What a classifier looks at, with its picture."""

    def figure(self) -> Figure:
        """A bar for each subspace beside what random ones do."""
        return figures.verdict(self)

    def _repr_html_(self) -> str:
        """For notebooks: the sentence, a line for each subspace, and the picture."""
        lines = {
            words(each.criterion): f"{percent(each.flips.rate)} % flip; "
            + ("" if each.significance is None else f"{probability(each.p)}; ")
            + ("counts" if each.counts else f"doesn't count{each.why_not and ': '}{each.why_not}")
            for each in self.subspaces
        }
        seen = picture(figures.png(self.figure()), self.sentence)
        return f"<p>{html.escape(self.sentence)}</p>{table(lines, self.sentence)}{seen}"
