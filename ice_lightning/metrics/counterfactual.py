"""What is measured of counterfactuals, person by person: how far they are, what else changed, who it still is.

x is the original, x' the counterfactual, both (N, 3, H, W) in 0..1. Means run over the people who flipped, unless a
class says otherwise; with nobody in the denominator a mean is NaN.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from ice_lightning.metrics.average import Average

ACE_THRESHOLD = 0.5
"""Cosine above which ACE's compute_FVA.py takes two pictures for the same person."""


class FlipRate(Average):
    """Share of all people whose decision changes (validity; Wachter et al. 2017).

    Example:
        >>> rate = FlipRate()
        >>> rate.update(torch.tensor([True, True, False, True]))
        >>> float(rate.compute())
        0.75
    """

    over = "all"

    def update(self, flipped: Tensor) -> None:  # type: ignore[override]
        """Add flipped (N,) bool."""
        super().update(flipped, torch.ones_like(flipped))


class ImageDistance(Average):
    """Proximity of images (Wachter et al. 2017): per value, so that it doesn't depend on their side.

    Args:
        order: 1 for the mean absolute difference, 2 for the root of the mean square, inf for the largest.

    Example:
        >>> distance = ImageDistance(2)
        >>> distance.update(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5), torch.tensor([True]))
        >>> float(distance.compute())
        0.5
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

    Example:
        >>> mask, locality = torch.tensor([[[1.0, 0.0]]]), Locality()
        >>> locality.update(torch.zeros(1, 3, 1, 2), torch.ones(1, 3, 1, 2), mask, mask, torch.tensor([True]))
        >>> float(locality.compute())
        0.5
    """

    def update(  # type: ignore[override]
        self, x: Tensor, other: Tensor, mask: Tensor, other_mask: Tensor, flipped: Tensor
    ) -> None:
        """Add images and masks (N, H, W) in 0..1 of both; who did not change at all isn't counted."""
        change = (other - x).double().square().sum(1)
        total = change.sum((1, 2))
        inside = (change * torch.maximum(mask, other_mask)).sum((1, 2))
        super().update(inside / total.clamp_min(1e-30), flipped & (total > 0))


class IdentityCosine(Average):
    """Cosine of a face-identity network's embeddings of x and x' (FS, face similarity, of ACE).

    Example:
        >>> cosine = IdentityCosine()
        >>> cosine.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([True]))
        >>> round(float(cosine.compute()), 3)
        0.6
    """

    def update(self, e: Tensor, other: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add embeddings (N, d) twice."""
        super().update(F.cosine_similarity(e.double(), other.double()), flipped)


class FVA(Average):
    """Face verification accuracy: share who are still taken for the same person (Singla et al. 2020), a similarity.

    That is, whose cosine is above a threshold, which belongs to the network: 0.5 is that of VGGFace2's.

    Args:
        threshold: of the cosine.
        facts: what else to print beside the threshold.

    Example:
        >>> same = FVA(0.5)
        >>> same.update(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([True]))
        >>> float(same.compute())
        1.0
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

    Args:
        convention: out of CONVENTIONS.

    Example:
        >>> changed = MNAC()
        >>> changed.update(torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[-1.0, -1.0, 1.0]]), torch.tensor([True]))
        >>> float(changed.compute())
        1.0
    """

    def __init__(self, convention: str = "own") -> None:
        super().__init__()
        self.facts = {"convention": convention}

    def update(self, before: Tensor, after: Tensor, flipped: Tensor) -> None:  # type: ignore[override]
        """Add logits (N, A) of x and of x', column 0 that of the query."""
        changed = (before > 0) != (after > 0)
        super().update((changed if self.facts["convention"] == "ace" else changed[:, 1:]).double().sum(1), flipped)


class Sufficiency(Metric):
    """Share of people whom at least one of the first k subspaces flips, for every k (StylEx, Lang et al. 2021).

    Args:
        subspaces: how many.

    Example:
        >>> reach = Sufficiency(2)
        >>> reach.update(torch.tensor([[True, False], [False, True], [False, False], [True, True]]))
        >>> reach.compute().tolist()
        [0.5, 0.75]
    """

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
