"""What is measured of counterfactuals: torchmetrics that add up over processes and know their denominators.

x is the original, x' the counterfactual, both (N, 3, H, W) in 0..1. Means run over the people who flipped, unless a
class says otherwise; with nobody in the denominator a mean is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric


class Average(Metric):
    """A mean over some people; `count` is over how many, `over` says who they are."""

    full_state_update = False
    over = "flipped"
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
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


class Effort(Average):
    """L2 norm of the move in standard deviations of the population (proximity in the latent; Wachter et al. 2017)."""

    def update(self, t: Tensor, flipped: Tensor) -> None:
        """Add moves t (N, k)."""
        super().update(t.double().norm(dim=1), flipped)


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
    """Share of the change that lies inside a mask (localisation score of LELSD, Pajouheshgar et al. 2022)."""

    def update(self, x: Tensor, other: Tensor, mask: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add images and masks (N, H, W) in 0..1; who did not change at all isn't counted."""
        change = (other - x).double().square().sum(1)
        whole = change.sum((1, 2))
        inside = (change * mask).sum((1, 2))
        super().update(inside / whole.clamp_min(1e-30), flipped & (whole > 0))


class IdentityCosine(Average):
    """Cosine of a face-identity network's embeddings of x and x'."""

    def update(self, e: Tensor, other: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add embeddings (N, d) twice."""
        super().update(F.cosine_similarity(e.double(), other.double()), flipped)


class FVA(Average):
    """Face verification accuracy: share whose cosine is above 0.5 (Singla et al. 2020), a similarity."""

    def update(self, e: Tensor, other: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add embeddings (N, d) twice."""
        super().update((F.cosine_similarity(e.double(), other.double()) > 0.5).double(), flipped)


class MNAC(Average):
    """Mean number of attributes that change (DiVE, Rodriguez et al. 2021; STEEX): an oracle's logits change sign."""

    def update(self, before: Tensor, after: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add logits (N, A) of x and of x'."""
        super().update(((before > 0) != (after > 0)).double().sum(1), flipped)


class COUT(Average):
    """Counterfactual transition (Khorram & Fuxin 2022), in [-1, 1]; see `transition`."""

    def update(self, transition: Tensor, flipped: Tensor) -> None:
        """Add values (N,) of `transition`."""
        super().update(transition, flipped)


def transition(score: Callable[[Tensor], Tensor], x: Tensor, other: Tensor, steps: int = 50) -> Tensor:
    """AUC of the target's probability minus that of the source's, while pixels of x' replace those of x, (N,).

    The most changed pixels come first, in `steps` equal parts; probabilities are sigmoids of the score.

    Args:
        score: images -> (N,), whose sign is the decision.
        x: (N, 3, H, W).
        other: x'.
        steps: of the replacement.
    """
    rank = (other - x).abs().sum(1).flatten(1).argsort(1, descending=True).argsort(1).view(len(x), 1, *x.shape[2:])
    pixels = x[0, 0].numel()
    replaced = [torch.where(rank < pixels * step / steps, other, x) for step in range(steps + 1)]
    scores = torch.stack([score(each) for each in replaced], 1).double()
    to_target = torch.where(scores[:, :1] >= 0, -1.0, 1.0)
    p = torch.sigmoid(to_target * scores)
    return torch.trapezoid(2 * p - 1, dx=1 / steps, dim=1)


class CD(Metric):
    """Correlation difference (DiME, Jeanneret et al. 2022): does changing q change what merely goes with it?

    Mean over attributes a of abs(corr(dO_q, dO_a) - corr(O_q, O_a)): the first over changes of the oracle's
    probabilities among the people who flipped, the second over everyone's originals. q is column 0.
    """

    full_state_update = False
    over = "flipped, correlations in the data over all"
    changes: Tensor
    data: Tensor

    def __init__(self, attributes: int) -> None:
        super().__init__()
        for name in ("changes", "data"):
            zero = torch.zeros(attributes + 1, attributes + 1, dtype=torch.float64)
            self.add_state(name, zero, "sum")

    def update(self, before: Tensor, after: Tensor, flipped: Tensor) -> None:
        """Add logits (N, A) of x and of x', column 0 that of q."""
        p, q = before.double().sigmoid(), after.double().sigmoid()
        for state, values in ((self.changes, (q - p)[flipped]), (self.data, p)):
            state += moments(values)

    @property
    def count(self) -> Tensor:
        """How many flipped."""
        return self.changes[-1, -1]

    def compute(self) -> Tensor:
        """The mean of absolute differences, ()."""
        return (correlations(self.changes)[1:] - correlations(self.data)[1:]).abs().mean()


def correlations(moments: Tensor) -> Tensor:
    """corr(column 0, every column) (A,) from sums of products (A + 1, A + 1) of columns and of a column of ones."""
    mean = moments[-1, :-1] / moments[-1, -1]
    covariance = moments[:-1, :-1] / moments[-1, -1] - mean[:, None] * mean
    deviation = covariance.diagonal().clamp_min(0).sqrt()
    return covariance[0] / (deviation[0] * deviation).clamp_min(1e-12)


class Frechet(Metric):
    """FID and sFID over a feature network of one's own, originals against valid counterfactuals.

    FID (Heusel et al. 2017) compares Gaussians fitted to features. It is small already because x' keeps most of x; sFID
    (ACE, Jeanneret et al. 2023) compares one half's originals with the other's counterfactuals, and averages both ways.
    People of even and of odd numbers are the halves.

    Args:
        features: length of a feature vector.
    """

    full_state_update = False
    over = "flipped"
    originals: Tensor
    others: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        for name in ("originals", "others"):
            self.add_state(name, torch.zeros(2, features + 1, features + 1, dtype=torch.float64), "sum")

    def update(self, features: Tensor, other: Tensor, number: Tensor, flipped: Tensor) -> None:
        """Add features (N, d) of x and of x', and the people's numbers (N,)."""
        for half in (0, 1):
            some = flipped & (number % 2 == half)
            self.originals[half] += moments(features.double()[some])
            self.others[half] += moments(other.double()[some])

    @property
    def count(self) -> Tensor:
        """How many flipped."""
        return self.originals[:, -1, -1].sum()

    def compute(self) -> dict[str, Tensor]:
        """{"fid": (), "sfid": ()}; NaN unless each half has two people."""
        if self.originals[:, -1, -1].min() < 2:
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


class Diversity(Average):
    """Mean pairwise distance among the counterfactuals of one x (DiME), over people with at least two."""

    over = "people with two counterfactuals or more"

    def update(self, features: Tensor, valid: Tensor) -> None:
        """Add perceptual features (N, C, d) of C counterfactuals each, of which valid (N, C) bool count."""
        distance = torch.cdist(features.double(), features.double())
        pair = (valid[:, :, None] & valid[:, None]).triu(1)
        pairs = pair.sum((1, 2))
        super().update((distance * pair).sum((1, 2)) / pairs.clamp_min(1), pairs > 0)


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
