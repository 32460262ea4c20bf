"""A mean over some people that knows its denominator, and the value that comes of it.

Some metrics have two conventions (`metrics.convention`): "own", or "ace", which gives the numbers of the evaluation
scripts of ACE (Jeanneret et al. 2023, guillaumejs2403/ACE) on the same arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

CONVENTIONS = ("own", "ace")


@dataclass(frozen=True)
class Measurement:
    """A value and its denominator.

    Attributes:
        value: NaN where it isn't defined.
        of: over how many people.
        over: who they are.
        facts: what else to print beside it, such as a threshold.
    """

    value: float
    of: int
    over: str
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        return {"value": self.value, "of": self.of, "over": self.over, **self.facts}


def measurements(name: str, metric: Any, of: int) -> dict[str, Measurement]:
    """The values of a metric by their names; none where its denominator is 0.

    Args:
        name: of the metric, where it has one value; several have names of their own.
        metric: computes one value, or several in a mapping; has `over` and `facts`, see `Average`.
        of: over how many people of all processes.

    Returns:
        A measurement for each value.

    Example:
        >>> mean = Average()
        >>> mean.update(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
        >>> measurements("length", mean, 2)
        {'length': Measurement(value=2.0, of=2, over='flipped', facts={})}
    """
    if not of:
        return {}
    value = metric.compute()
    named = value if isinstance(value, dict) else {name: value}
    return {key: Measurement(float(each), of, metric.over, metric.facts) for key, each in named.items()}


class Average(Metric):
    """A mean over some people; NaN over nobody.

    Attributes:
        over: who they are, in words.
        facts: what else to print beside the value.
        total: the sum, ().
        count: over how many, ().

    Example:
        >>> mean = Average()
        >>> mean.update(torch.tensor([1.0, 3.0, 9.0]), torch.tensor([True, True, False]))
        >>> float(mean.compute()), int(mean.count)
        (2.0, 2)
    """

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
