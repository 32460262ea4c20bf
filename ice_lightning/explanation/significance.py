"""Does a named subspace do more than whole random ones? One score per person, and a test against new random draws.

A control is one random subspace, applied to everyone. For a person and a control the named subspace scores 1 where it
flips and the control doesn't, or flips with less image change; 0 the other way round; 1/2 where neither flips, or both
need the same. The score of each control against the others is what a subspace scores that is nothing but random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student
from torch import Tensor

Shares = TypeVar("Shares", float, NDArray[np.float64])

LEVEL = 0.05
"""Below which p counts."""
SCORES = 1000
"""So many steps from chance to 1 in which `detectable` is looked for."""
FEWEST = 10
"""With fewer controls nothing counts: the rank of the best among 9 is no better than one in ten."""


@dataclass(frozen=True)
class Significance:
    """A named subspace against random ones.

    Attributes:
        score: mean over people of the share of controls that it beats; 1/2 is what a random one scores.
        p: one-sided: how likely a new random subspace scores as much.
        rank: 1 for the best of named and controls together; a tie counts against the named one.
        controls: how many.
        people: on how many they were compared.
        difference: flip rate less the mean rate of the controls.
        difference_interval: its 95 % interval, over people and controls.
        random_rates: flip rate of each control.
        random_scores: of each control against the others.
        detectable: from this score on p counts with this many people and controls, whoever the people are; NaN where
            not even 1 counts.
    """

    score: float
    p: float
    rank: int
    controls: int
    people: int
    difference: float
    difference_interval: tuple[float, float]
    random_rates: tuple[float, ...]
    random_scores: tuple[float, ...]
    detectable: float

    @property
    def leads(self) -> bool:
        """Whether it is among the best 5 % of named and controls together, or the very best of fewer than twenty.

        How often a random subspace leads is known whatever the scores look like; p rests on the shape of their tail.
        """
        return self.rank <= max(1, math.floor(LEVEL * (self.controls + 1) + 1e-9))

    @property
    def random_rate(self) -> float:
        """Mean flip rate of the controls."""
        return sum(self.random_rates) / len(self.random_rates)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        plain = asdict(self) | {"random_rate": self.random_rate}
        return {name: None if each != each else each for name, each in plain.items()}  # JSON has no NaN


def beats(flipped: Tensor, change: Tensor, other: Tensor, other_change: Tensor) -> Tensor:
    """Who of two needs less: 1 for the first, 0 for the second, 1/2 for neither; shapes broadcast.

    Args:
        flipped: bool.
        change: of the image at the flip; anything where it didn't.
        other: bool.
        other_change: of the image at the other's flip.

    Returns:
        Of the shape to which all broadcast.

    Example:
        >>> beats(torch.tensor([True, True]), torch.tensor([0.1, 0.3]), torch.tensor(True), torch.tensor(0.2)).tolist()
        [1.0, 0.0]
    """
    need = torch.where(flipped, change.double(), torch.inf)
    other_need = torch.where(other, other_change.double(), torch.inf)
    return (need < other_need).double() + 0.5 * (need == other_need)


def compare(
    flipped: Tensor, change: Tensor, random_flipped: Tensor, random_change: Tensor, level: float = LEVEL
) -> Significance:
    """Compare a subspace with whole random ones on the same people.

    The p-value is that of a new draw from M (Student's prediction, M - 1 degrees of freedom) on probits of mean
    scores: where subspaces differ by a normal strength and people by normal noise (Thurstone 1927), those are
    normal. A control's score against the M - 1 others varies M / (M - 1) times as much as its strength, since its own
    is in the mean of nobody else. Where few people flip, strong random subspaces lie farther out than weak ones: then
    the spread of the upper half counts, with half as many degrees of freedom. No spread is taken for less than what a
    sample of this many people has.

    Args:
        flipped: (N,) bool, in the named subspace.
        change: (N,) of the image at its flip.
        random_flipped: (N, M) bool, in each control.
        random_change: (N, M) of the image at its flip.
        level: below which p would count, for `detectable`; nothing else depends on it.

    Returns:
        What a verdict rests on; p and detectable are NaN with fewer than two controls.

    Example:
        >>> everyone, nobody = torch.ones(64, dtype=torch.bool), torch.zeros(64, 20, dtype=torch.bool)
        >>> found = compare(everyone, torch.rand(64), nobody, torch.full((64, 20), torch.nan))
        >>> found.score, found.rank, found.p < 0.001
        (1.0, 1, True)
    """
    n, m = random_flipped.shape
    person = beats(flipped[:, None], change[:, None], random_flipped, random_change)  # (N, M)
    among = beats(
        random_flipped[:, :, None], random_change[:, :, None], random_flipped[:, None], random_change[:, None]
    )
    against = among.mean(0).fill_diagonal_(0)  # (M, M): of the row against the column
    score, random_scores = float(person.mean()), against.sum(1) / max(m - 1, 1)
    noise = _sampling(person.mean(1), 0.5)
    everyone = torch.cat([person.mean(0, keepdim=True), against])  # each against the controls
    against_named = torch.cat([torch.zeros(1), 1 - person.mean(0)])
    total = everyone.sum(1) + against_named
    rank = 1 + int((total[1:] >= total[0] - 1e-12).sum())
    places = torch.from_numpy(_probit(random_scores.double().numpy(), m - 1))
    p, detectable = math.nan, math.nan
    if m > 1:
        middle, (spread, freedom) = float(places.mean()), _spread(places)
        spread *= (m - 1) / m
        wide = spread * math.sqrt(1 + 1 / m)

        # The score to be judged, and those of which the first is `detectable` from which on all count.
        every = np.concatenate([[score], np.linspace(0.5, 1, SCORES + 1)])
        noises = np.concatenate([[noise], _most_noise(every[1:], n)])
        placed = _probit(every, m)
        sure = np.maximum(wide, noises / np.maximum(norm.pdf(placed), 1e-3))  # the slope of the score by its probit
        tails = student.sf((placed - middle) / np.where(sure > 0, sure, 1), freedom)
        p = float(tails[0]) if sure[0] else 0.5  # nobody flips anywhere
        counts = np.logical_and.accumulate(tails[:0:-1] <= level)[::-1]
        detectable = float(every[1:][counts][0]) if counts.any() else math.nan
    rates = random_flipped.double().mean(0)
    return Significance(
        score, p, rank, m, n, float(flipped.double().mean() - rates.mean()), _difference(flipped, random_flipped),
        tuple(rates.tolist()), tuple(random_scores.tolist()), detectable,
    )  # fmt: skip


def _probit(share: Shares, m: int) -> Shares:
    """Of a mean over m controls, kept off 0 and 1 by half a control.

    Where everyone agrees which subspace needs less, scores are ranks, and beating all of m says no more than that.
    """
    place: Shares = norm.ppf((share * m + 0.5) / (m + 1))
    return place


def _spread(places: Tensor) -> tuple[float, float]:
    """Standard deviation of (m,) and its degrees of freedom.

    Or of those above the median about it, where that is larger, with half as many.
    """
    above, freedom = (places - places.quantile(0.5)).clamp_min(0), len(places) - 1
    whole, upper = float(places.std()), math.sqrt(2 * float(above.square().sum()) / freedom)
    return (whole, freedom) if whole >= upper else (upper, freedom / 2)


def _sampling(values: Tensor, prior: float) -> float:
    """Standard error of the mean of (n,) people, with one more at `prior`: nobody is sure of what all agree in."""
    return float(torch.cat([values.double(), values.new_full((1,), prior).double()]).std()) / math.sqrt(len(values) + 1)


def _most_noise(scores: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """What `_sampling` says at most of n people with such mean scores (k,): of those who win all or lose all."""
    variance = scores * (1 - scores) + (scores - 0.5) ** 2 / (n + 1)
    return np.sqrt(variance / (n + 1))


def _difference(flipped: Tensor, random_flipped: Tensor) -> tuple[float, float]:
    """95 % interval of the flip rate less the controls' mean, over people and controls (crossed random effects)."""
    n, m = random_flipped.shape
    if n < 2 or m < 2:
        return math.nan, math.nan
    person = flipped.double() - random_flipped.double().mean(1)
    variance = _sampling(person, 0.0) ** 2 + float(random_flipped.double().mean(0).var()) / m
    half = float(student.isf(0.025, min(n, m) - 1)) * math.sqrt(variance)
    return max(-1.0, float(person.mean()) - half), min(1.0, float(person.mean()) + half)


def holm(p: Sequence[float]) -> list[float]:
    """p-values after Holm's step-down (1979) over all of them; NaN stays, and isn't counted.

    Example:
        >>> [round(each, 3) for each in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, each in enumerate(p) if not math.isnan(each)), key=lambda i: p[i])
    after, largest = [math.nan] * len(p), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p[i]))
        after[i] = largest
    return after
