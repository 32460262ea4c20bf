"""What is measured of counterfactuals: torchmetrics that add up over processes and know their denominators.

x is the original, x' the counterfactual, both (N, 3, H, W) in 0..1. Means run over the people who flipped, unless a
class says otherwise; with nobody in the denominator a mean is NaN.

Some have two conventions (`metrics.convention`): "own", or "ace", which gives the numbers of the evaluation scripts of
ACE (Jeanneret et al. 2023, guillaumejs2403/ACE) on the same arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

CONVENTIONS = ("own", "ace")
ACE_THRESHOLD = 0.5
"""Cosine above which ACE's compute_FVA.py takes two pictures for the same person."""
ACE_PARTS = 50
"""Parts in which the transition replaces an image's pixels."""


class Average(Metric):
    """A mean over some people; `count` is over how many, `over` says who they are, `facts` what else to print."""

    full_state_update = False
    over = "flipped"
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, Any] = {}
        self.add_state("total", torch.zeros((), dtype=torch.float64), "sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), "sum")

    def update(self, value: Tensor, counted: Tensor) -> None:
        """Add value (N,) where counted (N,) bool."""
        self.total += value.double()[counted].sum()
        self.count += counted.sum()

    def compute(self) -> Tensor:
        """The mean, ()."""
        return self.total / self.count


class FlipRate(Average):
    """Share of all people whose decision changes (validity; Wachter et al. 2017)."""

    over = "all"

    def update(self, flipped: Tensor) -> None:  # type: ignore[override]
        """Add flipped (N,) bool."""
        super().update(flipped, torch.ones_like(flipped))


class ImageDistance(Average):
    """Proximity of images (Wachter et al. 2017): per value, so that it doesn't depend on their side.

    Args:
        order: 1 for the mean absolute difference, 2 for the root of the mean square, inf for the largest.
    """

    def __init__(self, order: float) -> None:
        super().__init__()
        self.order = order

    def update(self, x: Tensor, other: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add images."""
        distance = (other - x).double().flatten(1)
        norm = distance.norm(self.order, dim=1)
        super().update(norm if self.order == torch.inf else norm / distance.shape[1] ** (1 / self.order), flipped)


class Locality(Average):
    """Share of the change that lies inside a mask (localisation score of LELSD, Pajouheshgar et al. 2022).

    The mask is that of x and that of x' together (`combine_mask` of its code): a mouth that opens changes where the
    mouth is now, and not only where it was.
    """

    def update(  # type: ignore[override]
        self, x: Tensor, other: Tensor, mask: Tensor, other_mask: Tensor, flipped: Tensor
    ) -> None:
        """Add images and masks (N, H, W) in 0..1 of both; who did not change at all isn't counted."""
        change = (other - x).double().square().sum(1)
        whole = change.sum((1, 2))
        inside = (change * torch.maximum(mask, other_mask)).sum((1, 2))
        super().update(inside / whole.clamp_min(1e-30), flipped & (whole > 0))


class IdentityCosine(Average):
    """Cosine of a face-identity network's embeddings of x and x' (FS, face similarity, of ACE)."""

    def update(self, e: Tensor, other: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add embeddings (N, d) twice."""
        super().update(F.cosine_similarity(e.double(), other.double()), flipped)


class FVA(Average):
    """Face verification accuracy: share who are still taken for the same person (Singla et al. 2020), a similarity.

    That is, whose cosine is above a threshold, which belongs to the network: 0.5 is that of VGGFace2's.

    Args:
        threshold: of the cosine.
        facts: what else to print beside the threshold.
    """

    def __init__(self, threshold: float, **facts: Any) -> None:
        super().__init__()
        self.threshold, self.facts = threshold, {"threshold": threshold} | facts

    def update(self, e: Tensor, other: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add embeddings (N, d) twice."""
        super().update((F.cosine_similarity(e.double(), other.double()) > self.threshold).double(), flipped)


class MNAC(Average):
    """Mean number of attributes that change (DiVE, Rodriguez et al. 2021; STEEX): an oracle's logits change sign.

    Under "own" the attributes are the oracles', without what the explained classifier itself says; under "ace" that,
    the query, is counted among them, as in compute_MNAC.py.
    """

    def __init__(self, convention: str = "own") -> None:
        super().__init__()
        self.facts = {"convention": convention}

    def update(self, before: Tensor, after: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add logits (N, A) of x and of x', column 0 that of the query."""
        changed = (before > 0) != (after > 0)
        super().update((changed if self.facts["convention"] == "ace" else changed[:, 1:]).double().sum(1), flipped)


class COUT(Average):
    """Counterfactual transition (Khorram & Fuxin 2022), in [-1, 1]; see `transition`.

    Under "ace" over everyone, flipped or not, as in compute_COUT.py (which leaves out whom the classifier got wrong;
    drawn people have no label to tell).
    """

    def __init__(self, convention: str = "own") -> None:
        super().__init__()
        self.facts = {"convention": convention}
        self.over = "all" if convention == "ace" else "flipped"

    def update(self, transition: Tensor, counted: Tensor) -> None:
        """Add values (N,) of `transition`."""
        super().update(transition, counted)


def transition(
    probabilities: Callable[[Tensor], Tensor],
    x: Tensor,
    other: Tensor,
    source: Tensor,
    target: Tensor,
    parts: int = ACE_PARTS,
    convention: str = "own",
) -> Tensor:
    """AUC of the target's probability minus that of the source's, while pixels of x' replace those of x, (N,).

    The most changed pixels come first, in equal parts. The scripts of ACE take parts of as many whole pixels as go
    `parts` times into the image, and count the rest that is left as one more of that size (so that 1 on the whole way
    is 1.02 in an image of 16 x 16 pixels).

    Args:
        probabilities: images -> (N, C).
        x: (N, 3, H, W).
        other: x'.
        source: the class (N,) of x.
        target: the class (N,) to which the decision changes; see `sides`.
        parts: of the replacement.
        convention: out of CONVENTIONS.
    """
    rank = (other - x).abs().sum(1).flatten(1).argsort(1, descending=True).argsort(1).view(len(x), 1, *x.shape[2:])
    pixels, ends = x[0, 0].numel(), torch.stack([source, target], 1)
    if convention == "ace":
        part = max(1, pixels // parts)
        replaced, width = [float(n) for n in range(0, pixels + part, part)], part / pixels
    else:
        replaced, width = [pixels * step / parts for step in range(parts + 1)], 1 / parts
    p = [probabilities(torch.where(rank < n, other, x)).double().gather(1, ends) for n in replaced]
    return torch.trapezoid(torch.cat([each.diff() for each in p], 1), dx=width, dim=1)


def sides(before: Tensor, after: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """The classes (N,) that a decision leaves and enters, for `transition`.

    One of the two is the class that the classifier is asked for. The other is, where x isn't of that class, what x is
    taken for; else what x' is taken for, or would be without that class.

    Args:
        before: probabilities (N, C) of x.
        after: of x'.
        index: the class that the classifier is asked for.
    """
    asked = torch.full((len(before),), index, device=before.device)
    without = [p.index_fill(1, asked[:1], -1.0) for p in (before, after)]
    positive = before[:, index] >= without[0].amax(1)
    return torch.where(positive, asked, without[0].argmax(1)), torch.where(positive, without[1].argmax(1), asked)


class CD(Metric):
    """Correlation difference (DiME, Jeanneret et al. 2022): does changing q change what merely goes with it?

    abs(corr(dO_q, dO_a) - corr(O_q, O_a)) over attributes a: the first over the people who flipped, the second over
    everyone's originals. q is column 0. A correlation of changes that is undefined, since one of them never changes,
    is 0; one of originals makes the result NaN.

    Under "own", after DiME and not comparable with published numbers: the *mean* over the other attributes, of
    sigmoids of logits; NaN unless three people flipped, since two changes always correlate. Under "ace" as in
    compute_CD.py: the *sum* over all attributes, q among them, of *binarised* predictions. (There the second
    correlation is that of a data set's labels. Drawn people have none: those of the originals' predictions take their
    place.)

    Args:
        attributes: columns.
        convention: out of CONVENTIONS.
    """

    full_state_update = False
    over = "flipped, correlations in the data over all"
    changes: Tensor
    data: Tensor

    def __init__(self, attributes: int, convention: str = "own") -> None:
        super().__init__()
        self.facts = {"convention": convention}
        for name in ("changes", "data"):
            zero = torch.zeros(attributes + 1, attributes + 1, dtype=torch.float64)
            self.add_state(name, zero, "sum")

    def update(self, before: Tensor, after: Tensor, flipped: Tensor) -> None:
        """Add logits (N, A) of x and of x', column 0 that of q."""
        binary = self.facts["convention"] == "ace"
        p, q = ((y > 0).double() if binary else y.double().sigmoid() for y in (before, after))
        for state, values in ((self.changes, (q - p)[flipped]), (self.data, p)):
            state += moments(values)

    @property
    def count(self) -> Tensor:
        """How many flipped."""
        return self.changes[-1, -1]

    def compute(self) -> Tensor:
        """The mean, or the sum, of absolute differences, ()."""
        difference = (correlations(self.changes).nan_to_num(0) - correlations(self.data)).abs()
        if self.facts["convention"] == "ace":
            return difference.sum() if self.count else difference.new_tensor(torch.nan)
        return difference[1:].mean() if self.count >= 3 else difference.new_tensor(torch.nan)


def correlations(moments: Tensor) -> Tensor:
    """corr(column 0, every column) (A,) from sums of products (A + 1, A + 1) of columns and of a column of ones.

    NaN where either is constant up to rounding.
    """
    mean = moments[-1, :-1] / moments[-1, -1]
    square = moments[:-1, :-1] / moments[-1, -1]
    covariance = square - mean[:, None] * mean
    variance = covariance.diagonal()
    constant = variance <= 1e-12 * square.diagonal()
    deviation = torch.where(constant, torch.nan, variance.clamp_min(0)).sqrt()
    return covariance[0] / (deviation[0] * deviation)


class Frechet(Metric):
    """FID and sFID over a feature network of one's own, originals against valid counterfactuals.

    FID (Heusel et al. 2017) compares Gaussians fitted to features. It is small already because x' keeps most of x; sFID
    (ACE, Jeanneret et al. 2023) compares one half's originals with the other's counterfactuals, and averages both ways.
    People of even and of odd numbers are the halves (ACE shuffles).

    Under "own" the originals are those of the people who flipped; under "ace" everyone's, as in compute_FID.sh and
    compute_sFID.sh.

    Args:
        features: length of a feature vector.
        convention: out of CONVENTIONS.
    """

    full_state_update = False
    originals: Tensor
    others: Tensor

    def __init__(self, features: int, convention: str = "own") -> None:
        super().__init__()
        self.facts = {"convention": convention}
        self.over = "counterfactuals of the flipped, originals of all" if convention == "ace" else "flipped"
        for name in ("originals", "others"):
            self.add_state(name, torch.zeros(2, features + 1, features + 1, dtype=torch.float64), "sum")

    def update(self, features: Tensor, other: Tensor, number: Tensor, flipped: Tensor) -> None:
        """Add features (N, d) of x and of x', and the people's numbers (N,)."""
        kept = torch.ones_like(flipped) if self.facts["convention"] == "ace" else flipped
        for half in (0, 1):
            here = number % 2 == half
            self.originals[half] += moments(features.double()[kept & here])
            self.others[half] += moments(other.double()[flipped & here])

    @property
    def count(self) -> Tensor:
        """How many flipped."""
        return self.others[:, -1, -1].sum()

    def compute(self) -> dict[str, Tensor]:
        """{"fid": (), "sfid": ()}; NaN unless each half has two people."""
        if min(self.originals[:, -1, -1].min(), self.others[:, -1, -1].min()) < 2:
            nothing = torch.tensor(torch.nan, dtype=torch.float64)
            return {"fid": nothing, "sfid": nothing}
        a, b = self.originals, self.others
        crossed = frechet(gaussian(a[0]), gaussian(b[1])) + frechet(gaussian(a[1]), gaussian(b[0]))
        return {"fid": frechet(gaussian(a.sum(0)), gaussian(b.sum(0))), "sfid": crossed / 2}


def moments(x: Tensor) -> Tensor:
    """Sums of products of the columns of x (N, d), and of a column of ones: (d + 1, d + 1)."""
    with_one = F.pad(x, (0, 1), value=1.0)
    return with_one.T @ with_one


def gaussian(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d), unbiased, of two rows or more, from `moments`."""
    n, mean = moments[-1, -1], moments[-1, :-1] / moments[-1, -1]
    return mean, (moments[:-1, :-1] - n * mean[:, None] * mean) / (n - 1)


def frechet(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    """Squared Frechet distance of two Gaussians (mean (d,), covariance (d, d)); Heusel et al. 2017.

    The trace of the root of A B is the nuclear norm of root(A) root(B), which stays real where A and B are singular.
    """
    (mean, A), (other, B) = a, b
    common = torch.linalg.svdvals(root(A) @ root(B)).sum()
    return (mean - other).square().sum() + A.trace() + B.trace() - 2 * common


def root(C: Tensor) -> Tensor:
    """The symmetric root of a positive semidefinite C (d, d)."""
    values, V = torch.linalg.eigh(C)
    return (V * values.clamp_min(0).sqrt()) @ V.T


class Sufficiency(Metric):
    """Share of people whom at least one of the first k subspaces flips, for every k (StylEx, Lang et al. 2021)."""

    full_state_update = False
    over = "all"
    flips: Tensor
    count: Tensor

    def __init__(self, subspaces: int) -> None:
        super().__init__()
        self.add_state("flips", torch.zeros(subspaces, dtype=torch.float64), "sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), "sum")

    def update(self, flipped: Tensor) -> None:
        """Add flipped (N, S) bool, the best subspace first."""
        self.flips += flipped.long().cummax(1).values.sum(0)
        self.count += len(flipped)

    def compute(self) -> Tensor:
        """(S,) in 0..1, not falling."""
        return self.flips / self.count
