"""How fast the classifier's mind changes while the counterfactual's pixels replace those of the original (COUT)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ice_lightning.metrics.average import Average

ACE_PARTS = 50
"""Parts in which the transition replaces an image's pixels, as many as in ACE's compute_COUT.py."""


class COUT(Average):
    """Counterfactual transition (Khorram & Fuxin 2022), in [-1, 1]; see `transition`.

    Under "ace" over everyone, flipped or not, as in compute_COUT.py (which leaves out whom the classifier got wrong;
    drawn people have no label to tell).

    Args:
        convention: out of CONVENTIONS.
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
        target: the class (N,) to which the decision changes; see `source_and_target`.
        parts: of the replacement.
        convention: out of CONVENTIONS.

    Returns:
        In [-1, 1]: 1 where the first replaced pixels do it all.

    Example:
        >>> def light(image):
        ...     p = image.mean((1, 2, 3))
        ...     return torch.stack([1 - p, p], 1)
        >>> x = torch.zeros(1, 3, 2, 2)
        >>> float(transition(light, x, x + 1, torch.tensor([0]), torch.tensor([1]), parts=4))
        0.0
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


def source_and_target(before: Tensor, after: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """The classes that a decision leaves and enters, for `transition`.

    One of the two is the class that the classifier is asked for. The other is, where x isn't of that class, what x is
    taken for; else what x' is taken for, or would be without that class.

    Args:
        before: probabilities (N, C) of x.
        after: of x'.
        index: the class that the classifier is asked for.

    Returns:
        Both (N,).

    Example:
        >>> before, after = torch.tensor([[0.1, 0.7, 0.2]]), torch.tensor([[0.6, 0.3, 0.1]])
        >>> [int(each) for each in source_and_target(before, after, 1)]
        [1, 0]
    """
    asked = torch.full((len(before),), index, device=before.device)
    without = [p.index_fill(1, asked[:1], -1.0) for p in (before, after)]
    positive = before[:, index] >= without[0].amax(1)
    return torch.where(positive, asked, without[0].argmax(1)), torch.where(positive, without[1].argmax(1), asked)
