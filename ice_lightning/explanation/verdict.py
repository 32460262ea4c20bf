"""The verdict: what a classifier looks at, from the counterfactuals of one population in several named subspaces."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ice_lightning.checks import Mismatch, NotFound, problem
from ice_lightning.explanation.clean import CleanRates
from ice_lightning.explanation.outcomes import Outcomes
from ice_lightning.explanation.own import OwnDirections
from ice_lightning.explanation.rows import FILE, ROWS, Explained, load_explained
from ice_lightning.explanation.significance import FEWEST, LEVEL, Significance, compare, holm
from ice_lightning.metrics import Proportion, Sufficiency, proportion
from ice_lightning.wording import percent, probability, words

BUDGET = 0.04
"""Root mean square over pixels of an image change within which `unexplained` asks who flips."""


@dataclass(frozen=True)
class SubspaceVerdict:
    """What a classifier's flips within one named subspace say.

    Attributes:
        criterion: the name of the subspace.
        directions: how many it has.
        flips: share of people who flip within it.
        effort: median length of the move of those who flip, in population deviations; None where nobody does.
        controls: flip rates of `weights` and `unrestricted`.
        significance: against whole random subspaces; None where none were tried.
        p: of `significance`, after Holm over the subspaces of one classifier; NaN where there is none.
        counts: whether it does more than random subspaces.
        why_not: why nothing could count; "" where something could.
        slices: flip rates in parts of the population, where it counts.
        own: who moves along directions of their own; None where nobody does.
        clean: shares of people with a flip that moves nothing else; None where nothing says where that would be.
        held: share of the flips that are held moves; None where there was none to hold.
    """

    criterion: str
    directions: int
    flips: Proportion
    effort: float | None
    controls: Mapping[str, Proportion]
    significance: Significance | None
    p: float
    counts: bool
    why_not: str
    slices: Mapping[str, Proportion]
    own: OwnDirections | None = None
    held: Proportion | None = None
    clean: CleanRates | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "criterion": self.criterion,
            "directions": self.directions,
            **self.flips.to_json(),
            "effort": self.effort,
            "counts": self.counts,
            "p": None if math.isnan(self.p) else self.p,
            "why_not": self.why_not,
            "random": None if self.significance is None else self.significance.to_json(),
            "controls": {name: each.to_json() for name, each in self.controls.items()},
            "slices": {name: each.to_json() for name, each in self.slices.items()},
            **({} if self.own is None else {"own_directions": self.own.to_json()}),
            **({} if self.clean is None else {"clean": self.clean.to_json()}),
            **({} if self.held is None else {"held": self.held.to_json()}),
        }


@dataclass(frozen=True)
class ClassifierVerdict:
    """What a classifier looks at.

    Attributes:
        classifier: its name.
        people: who have a finite score.
        subspaces: those that beat random ones most first.
        sufficiency: share of people whom the first, the first two, ... flip.
        unexplained: share of people whom the unrestricted search flips within BUDGET of image change, and no named
            subspace does; None where that search didn't run.
    """

    classifier: str
    people: int
    subspaces: tuple[SubspaceVerdict, ...]
    sufficiency: tuple[float, ...]
    unexplained: Proportion | None = None

    @property
    def sentence(self) -> str:
        """In plain words."""
        return sentence(self)

    def table(self) -> str:
        """A line for each subspace, in Markdown."""
        lines = ["| subspace | flips, % | score | p | rank | counts |", "|---|---|---|---|---|---|"]
        for each in self.subspaces:
            found = each.significance
            against = ("", "", "") if found is None else (f"{found.score:.2f}", f"{each.p:.3g}", str(found.rank))
            flips = f"{percent(each.flips.rate)} ({percent(each.flips.low)} to {percent(each.flips.high)})"
            counts = "yes" if each.counts else f"no{each.why_not and ': '}{each.why_not}"
            lines.append(f"| {each.criterion} | {flips} | {' | '.join(against)} | {counts} |")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """As in verdict.json."""
        return {
            "rows": ROWS,
            "classifier": self.classifier,
            "people": self.people,
            "sentence": self.sentence,
            "subspaces": [each.to_json() for each in self.subspaces],
            "sufficiency": list(self.sufficiency),
            "unexplained": None if self.unexplained is None else {"change": BUDGET, **self.unexplained.to_json()},
        }


def summary(run: Explained) -> SubspaceVerdict:
    """What one explanation says by itself."""
    return _with_slices(_alone(run), run)


def _alone(run: Explained, judged: int = 1) -> SubspaceVerdict:
    """Without slices; what is detectable is so among `judged` subspaces (Holm's first step)."""
    rows, known = run.rows, run.known
    flipped = rows.named.flipped & known
    effort = rows.named.effort[flipped]
    searched = {"weights": rows.weights, "unrestricted": rows.unrestricted}
    controls = {name: proportion(each.flipped[known]) for name, each in searched.items() if each is not None}
    found, why = None, "no random subspaces were tried"
    if (random := rows.random) is not None:
        some = known & random.applied
        count = random.flipped.shape[1]
        why = f"{count} random subspaces are too few to tell, at least {FEWEST} are needed" if count < FEWEST else ""
        why = why or ("" if some.any() else "nobody to whom they were applied has a finite score")
        if some.any() and count:
            named, other = rows.named.select(some), random.select(some)
            found = compare(named.flipped, named.change, other.flipped, other.change, LEVEL / judged)
    return _counted(
        SubspaceVerdict(
            criterion=run.criterion,
            directions=run.directions,
            flips=proportion(flipped[known]),
            effort=float(effort.double().quantile(0.5)) if len(effort) else None,
            controls=controls,
            significance=found,
            p=math.nan if found is None else found.p,
            counts=False,
            why_not=why,
            slices={},
            own=None if rows.own is None else OwnDirections.of(rows.own.select(known), rows.number[known]),
            clean=None
            if rows.clean is None
            else CleanRates.of(
                rows.clean.select(known), flipped[known], None if random is None else random.applied[known]
            ),
            held=proportion(rows.holding.found[flipped]) if rows.holding is not None and flipped.any() else None,
        )
    )


def _counted(each: SubspaceVerdict) -> SubspaceVerdict:
    """With what its p-value and its rank say."""
    leads = each.significance is not None and each.significance.leads
    return replace(each, counts=not each.why_not and leads and each.p <= LEVEL)


def _with_slices(each: SubspaceVerdict, run: Explained) -> SubspaceVerdict:
    """With rates in parts of the population where it counts: nobody looks for a part in which it would have."""
    if not each.counts:
        return each
    rows, known = run.rows, run.known
    positive = rows.before >= 0
    groups = {"called positive": positive, "called negative": ~positive}
    for name, logit in zip(run.slices, rows.oracles.unbind(1), strict=True):
        groups |= {name: logit > 0, f"not {name}": logit <= 0}
    return replace(each, slices={name: proportion(rows.named.flipped[part & known]) for name, part in groups.items()})


def judge(runs: Sequence[Explained]) -> ClassifierVerdict:
    """A classifier's verdict.

    Args:
        runs: one or more of one classifier, each in another subspace.

    Returns:
        Over all of them, in the order of how often they beat random subspaces.

    Raises:
        Mismatch: when they looked at different people.

    Example:
        >>> from ice_lightning.explanation.outcomes import RandomOutcomes
        >>> from ice_lightning.explanation.rows import Rows
        >>> yes, no, one = torch.ones(64).bool(), torch.zeros(64, 20).bool(), torch.ones(64)
        >>> random = RandomOutcomes(applied=yes, flipped=no, change=torch.full((64, 20), torch.nan), t=None)
        >>> rows = Rows(torch.arange(64), one, torch.zeros(64, 0), Outcomes(yes, one, one), random=random)
        >>> judge([Explained(Path(), "smiling", "mouth_shape", 8, rows, ())]).sentence
        'smiling flips with mouth shape for 100 % (94-100 %) of 64 people, beating 20 random subspaces in 100 % of comparisons (p < 0.001; they flip 0 %).'
    """  # noqa: E501
    first = runs[0]
    for run in runs:
        same = torch.equal(run.rows.number, first.rows.number)
        if not same or not torch.allclose(run.rows.before, first.rows.before, 1e-3, 1e-3, equal_nan=True):
            fix = "give all runs the same explain.people and explain.seed"
            raise problem(f"the people of {first.folder.name} in {run.folder.name}", "others", fix, Mismatch)
    alone = [_alone(run, len(runs)) for run in runs]
    adjusted = holm([math.nan if each.why_not else each.p for each in alone])
    found = [
        _with_slices(_counted(replace(each, p=p)), run) for each, p, run in zip(alone, adjusted, runs, strict=True)
    ]
    order = sorted(range(len(runs)), key=lambda k: _strength(found[k]), reverse=True)
    known = first.known
    flipped = torch.stack([run.rows.named.flipped[known] for run in runs], 1)
    together = Sufficiency(len(order))
    together.update(flipped[:, order])
    return ClassifierVerdict(
        classifier=first.classifier,
        people=int(known.sum()),
        subspaces=tuple(found[k] for k in order),
        sufficiency=tuple(together.compute().reshape(-1).tolist()),
        unexplained=_unexplained(runs),
    )


def _strength(each: SubspaceVerdict) -> tuple[float, float]:
    """By what subspaces are ordered: how far they beat random ones, then how many they flip."""
    return (0.5 if each.significance is None else each.significance.score, each.flips.rate)


def _unexplained(runs: Sequence[Explained]) -> Proportion | None:
    """See ClassifierVerdict.unexplained."""
    unrestricted, known = runs[0].rows.unrestricted, runs[0].known
    if unrestricted is None:
        return None
    named = torch.stack([_within_budget(run.rows.named) for run in runs]).any(0)
    return proportion((_within_budget(unrestricted) & ~named)[known])


def _within_budget(found: Outcomes) -> torch.Tensor:
    """(N,) bool: who flips with no more than BUDGET of image change."""
    return found.flipped & (found.change <= BUDGET)


def sentence(verdict: ClassifierVerdict) -> str:
    """The verdict in plain words."""
    name, people = verdict.classifier, verdict.people
    counting = [each for each in verdict.subspaces if each.counts]
    if all(each.why_not for each in verdict.subspaces):
        why = verdict.subspaces[0].why_not
        return f"Whether {name} flips more often than by chance is open: {why}, in {people} people."
    if not counting:
        scores = [each.significance.detectable for each in verdict.subspaces if each.significance is not None]
        least = min((each for each in scores if not math.isnan(each)), default=None)
        seen = "not even one that beats all" if least is None else f"one that beats {percent(least)} %"
        return (
            f"{name} flips with nothing that was named more than with random subspaces, in {people} people "
            f"({seen} of them would have been seen)."
        )
    parts = []
    for each in counting[:3]:
        found = each.significance
        assert found is not None
        parts.append(
            f"with {words(each.criterion)} for {percent(each.flips.rate)} % "
            f"({percent(each.flips.low)}-{percent(each.flips.high)} %) of {each.flips.of} people, beating "
            f"{found.controls} random subspaces in {percent(found.score)} % of comparisons ({probability(each.p)}; "
            f"they flip {percent(found.random_rate)} %)"
        )
    return f"{name} flips {'; '.join(parts)}."


def verdicts(folder: str | Path) -> list[ClassifierVerdict]:
    """A verdict for each classifier among the explanations below a folder.

    Raises:
        NotFound: when there are none.
        Mismatch: when those of one classifier looked at different people.
    """
    by_classifier: defaultdict[str, list[Explained]] = defaultdict(list)
    for file in sorted(Path(folder).rglob(FILE)):
        run = load_explained(file.parent)
        by_classifier[run.classifier].append(run)
    if not by_classifier:
        raise problem(
            f"finished explanations below {folder}", "none", "set runs to the folder of their sweep", NotFound
        )
    return [judge(runs) for runs in by_classifier.values()]
