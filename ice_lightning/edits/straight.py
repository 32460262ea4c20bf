"""Straight moves: everyone along a direction of their own, or of everyone."""

from __future__ import annotations

import torch
from torch import Tensor


def straight(u: Tensor, v: Tensor, strength: float | Tensor) -> Tensor:
    """People moved along a direction.

    Args:
        u: people (N, n).
        v: (n,), the direction of everyone, or (N, n), of each.
        strength: in lengths of the direction; a number or (N,).

    Returns:
        (N, n).

    Example:
        >>> straight(torch.zeros(2, 2), torch.eye(2), torch.tensor([1.0, -3.0])).tolist()
        [[1.0, 0.0], [0.0, -3.0]]
    """
    step = torch.as_tensor(strength, dtype=u.dtype, device=u.device).reshape(-1, 1)
    return u + step * v.to(u)
