"""Searches of the same people by the same score share their first look, and find the same to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ice_lightning.counterfactuals.base import Counterfactuals
from ice_lightning.counterfactuals.bases import Columns, EveryCoordinate
from ice_lightning.counterfactuals.gradient import Gradient
from ice_lightning.counterfactuals.line import Line
from ice_lightning.explanation.search import search, start_of
from ice_lightning.population import geometry

PEOPLE, N, K = 5, 12, 3


@pytest.fixture
def counted():
    """A score that isn't linear and has no slope for the last person, and how many people were looked at."""
    W, looks = torch.randn(N, 4, generator=torch.Generator().manual_seed(1)), [0]

    def score(u: Tensor) -> Tensor:
        looks[0] += len(u)
        value = (u @ W).tanh().sum(1) + 0.3 * u[:, 0]
        return value + torch.where(u[:, 1] > 50, u[:, 1] - u[:, 1], 1.0).sqrt()  # the slope of a root at 0

    return score, looks


def draw(u: Tensor) -> Tensor:
    """A picture of a latent."""
    return u[:, :, None, None].expand(-1, -1, 2, 2)


def people() -> Tensor:
    """The last one's score has a slope that is no number."""
    U = torch.randn(PEOPLE, N, generator=torch.Generator().manual_seed(2))
    U[-1, 1] = 60
    return U


@pytest.mark.parametrize("method", [Gradient(bound=3.0), Line(bound=3.0)])
def test_a_shared_start_changes_nothing_but_the_number_of_looks(counted, method) -> None:  # type: ignore[no-untyped-def]
    score, looks = counted
    Q = torch.linalg.qr(torch.randn(N, K, generator=torch.Generator().manual_seed(3)))[0]
    U = people()
    start = start_of(score, U)
    assert start.slope.isnan().any(1).tolist() == [False] * (PEOPLE - 1) + [True]
    for basis in (Columns(Q, torch.eye(K)), EveryCoordinate(geometry([torch.eye(N)]))):
        if isinstance(method, Line) and isinstance(basis, EveryCoordinate):
            continue  # which has no named directions
        looks[0] = 0
        alone, change = search(method, score, draw, U, basis, draw(U))
        without, looks[0] = looks[0], 0
        shared, same = search(method, score, draw, U, basis, draw(U), start=start)
        assert looks[0] <= without - PEOPLE
        for one, other in zip(alone, shared, strict=True):
            assert torch.equal(one, other)
        assert torch.equal(change, same)


def test_nobody_has_a_start() -> None:
    start = start_of(lambda u: u.sum(1), torch.zeros(0, N))
    assert start.score.shape == (0,)
    assert start.slope.shape == (0, N)


def test_a_method_of_ones_own_may_differentiate_as_it_likes(counted) -> None:  # type: ignore[no-untyped-def]
    score, looks = counted

    def curved(score, u, basis):  # type: ignore[no-untyped-def]
        def along(t: Tensor) -> Tensor:
            return score(basis.displace(u, t)).sum()

        start = torch.zeros(len(u), basis.dim)
        bend = torch.func.grad(lambda t: torch.func.grad(along)(t).sum())(start)
        flipped = torch.zeros(len(u), dtype=torch.bool)
        return Counterfactuals(bend, score(u), score(u), flipped, flipped.long())

    Q = torch.linalg.qr(torch.randn(N, K, generator=torch.Generator().manual_seed(3)))[0]
    U = people()[:-1]
    alone, _ = search(curved, score, draw, U, Columns(Q, torch.eye(K)), draw(U))
    shared, _ = search(curved, score, draw, U, Columns(Q, torch.eye(K)), draw(U), start=start_of(score, U))
    assert alone.t.abs().min() > 0
    assert torch.equal(alone.t, shared.t)
    assert looks[0] > 0
