"""Random directions that are multiplied along in a search, and show what its first directions have missed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.solvers.inner_product import InnerProduct

PROBES = 6
"""So many products of a random direction, at least, look for directions outside the span. Among 1,408 coordinates so
many Lanczos steps miss one of three times its threshold in 1 of 130 searches at most (Kuczynski & Wozniakowski
1992)."""

QUIET = 3
"""So many passes at the end have to bring nothing new."""

MOST = 16
"""Probes at a time at most."""

RISES = 1e-2
"""A strongest direction whose value rises by this share in a pass is a new one."""


class Watch(NamedTuple):
    """What probes have brought so far.

    Attributes:
        found: wanted pairs in the span.
        top: the largest value there.
        still: passes since either rose.
        width: probes at a time: more after those that were asked alone have found something, since where eigenvalues
            are equal each shows one direction only.
    """

    found: int = 0
    top: float = 0.0
    still: int = 0
    width: int = 1

    @property
    def quiet(self) -> bool:
        """Whether nothing new came for a while."""
        return self.still >= QUIET

    def after(self, values: Tensor, chased: int) -> Watch:
        """After a pass: values (k,) of the wanted pairs in the span, and how many directions it took beside probes."""
        found, top = len(values), float(values[:1].sum())
        if found <= self.found and top <= (1 + RISES) * self.top:
            return self._replace(still=self.still + 1, found=found)
        return Watch(found, top, 0, self.width if chased else min(MOST, 2 * self.width))

    def probes(self, multiplied: Tensor, seed: int) -> Tensor:
        """(n, width or more) directions to ask for next: those of before, multiplied, (n, b), and new random ones.

        A new one at least where nothing new came: of equal eigenvalues powers of one direction show one only.
        """
        draw = torch.Generator().manual_seed(seed)
        new = torch.randn(len(multiplied), max(min(1, self.still), self.width - multiplied.shape[1]), generator=draw)
        return torch.cat([multiplied, new.to(multiplied)], 1)


def next_block(inner: InnerProduct, D: Tensor, W: Tensor, probes: Tensor) -> tuple[Tensor, int]:
    """The directions to multiply next: residuals and probes, without what is known already.

    Args:
        inner: in which they are made orthonormal.
        D: (n, d), the directions so far, orthonormal there.
        W: (n, b), residuals.
        probes: (n, p).

    Returns:
        V (n, b' + p'), where what lies in the span of others is dropped, and p'.
    """
    W = inner.orthonormal(W, D)
    probes = inner.orthonormal(probes, torch.cat([D, W], 1))
    return torch.cat([W, probes], 1), probes.shape[1]
