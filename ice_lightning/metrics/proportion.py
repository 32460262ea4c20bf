"""A share of people, with its interval and its denominator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest
from torch import Tensor


@dataclass(frozen=True)
class Proportion:
    """A share of people.

    Attributes:
        rate: 0 to 1; NaN of nobody.
        low: lower end of the 95 % interval (Wilson 1927).
        high: upper end.
        of: how many people.
    """

    rate: float
    low: float
    high: float
    of: int

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"rate": self.rate, "interval": [self.low, self.high], "of": self.of}


def proportion(chosen: Tensor) -> Proportion:
    """The share of True.

    Args:
        chosen: (N,) bool, one of each person.

    Returns:
        With Wilson's interval, whose coverage is near 95 % for few people and for rates near 0 and 1 as well.

    Example:
        >>> import torch
        >>> flips = proportion(torch.arange(263) < 81)  # Newcombe 1998, table I
        >>> round(flips.rate, 4), round(flips.low, 4), round(flips.high, 4), flips.of
        (0.308, 0.2553, 0.3662, 263)
    """
    n, k = len(chosen), int(chosen.sum())
    if not n:
        return Proportion(math.nan, math.nan, math.nan, 0)
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return Proportion(k / n, float(interval.low), float(interval.high), n)
