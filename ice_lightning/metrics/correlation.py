"""Whether changing one attribute changes what merely goes with it (CD)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from ice_lightning.metrics.moments import correlations, moments


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

    Attributes:
        changes: `moments` of the changes of those who flipped, (A + 1, A + 1).
        data: `moments` of everyone's originals.

    Example:
        >>> before = 20 * torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]).repeat(2, 1)
        >>> flipped = before[:, 0] == before[:, 1]  # whose two attributes agree; overall they don't correlate
        >>> cd = CD(attributes=2)
        >>> cd.update(before, -before, flipped)  # both change together
        >>> round(float(cd.compute()), 6)
        1.0
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
