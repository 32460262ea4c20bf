"""Bases of moves are orthonormal in the population metric, and reach what they are named for."""

import pytest
import torch

from ice_lightning.checks import IceError
from ice_lightning.counterfactuals.bases import EveryCoordinate, named_basis, random_bases
from ice_lightning.population import geometry


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def metric():
    """Two layers whose variances span six orders."""
    blocks = []
    for seed in (0, 1):
        Q = torch.linalg.qr(normal(6, 6, seed=seed)).Q
        blocks.append(Q @ torch.diag(torch.logspace(1, -5, 6, dtype=torch.float64)) @ Q.T)
    return geometry(blocks, floor=1e-9)


def test_a_named_basis_spans_its_directions_and_measures_moves(metric):
    V = torch.nn.functional.normalize(normal(12, 4, seed=2), dim=0)
    V[:, 3] = V[:, 0] + 0.1 * V[:, 3]  # soft directions aren't orthogonal
    basis = named_basis(V, metric)
    torch.testing.assert_close(basis.columns @ basis.directions, torch.nn.functional.normalize(V, dim=0))
    t = normal(20, 4, seed=3)
    moved = basis.displace(torch.zeros(20, 12).double(), t)
    torch.testing.assert_close(metric.length(moved), t.norm(dim=1))
    assert torch.linalg.matrix_rank(torch.cat([V[:, :1], basis.columns[:, :1]], 1)) == 1


def test_the_ball_does_not_depend_on_how_the_basis_was_chosen(metric):
    """Other directions of the same span: the same moves have the same lengths."""
    V, mix = normal(12, 3, seed=4), normal(3, 3, seed=5)
    one, other = named_basis(V, metric), named_basis(V @ mix, metric)
    t = normal(10, 3, seed=6)
    same = torch.linalg.lstsq(other.columns, (t @ one.columns.T).T).solution.T
    torch.testing.assert_close(same.norm(dim=1), t.norm(dim=1))


def test_every_coordinate_holds_every_named_move(metric):
    """Directions of one layer: in all of them their moves are no longer."""
    V = torch.zeros(12, 2).double()
    V[:6] = normal(6, 2, seed=7)
    inner = geometry([normal(6, 6).T @ normal(6, 6), normal(6, 6).T @ normal(6, 6)], torch.tensor([True, False]))
    outer = geometry([normal(6, 6).T @ normal(6, 6), normal(6, 6).T @ normal(6, 6)])
    basis, every = named_basis(V, inner), EveryCoordinate(outer)
    t = normal(5, 2, seed=8)
    moved = basis.displace(torch.zeros(5, 12).double(), t)
    x = outer.coordinates(moved)
    torch.testing.assert_close(every.displace(torch.zeros(5, 12).double(), x), moved)
    assert (x.norm(dim=1) <= t.norm(dim=1) + 1e-9).all()


def test_random_subspaces_are_evenly_spread_and_their_own(metric):
    bases = random_bases(metric, 3, 400, seed=0)
    X = torch.stack([metric.coordinates(basis.columns.T) for basis in bases])  # (400, 3, 12), orthonormal rows
    torch.testing.assert_close(X @ X.transpose(1, 2), torch.eye(3).double().expand(400, 3, 3))
    mean = (X.transpose(1, 2) @ X).mean(0)  # of projectors, which is (k / n) I
    assert (mean - torch.eye(12) * 3 / 12).abs().max() < 0.05
    again, other = random_bases(metric, 3, 2, seed=0), random_bases(metric, 3, 2, seed=1)
    assert torch.equal(again[1].columns, bases[1].columns)
    assert not torch.allclose(other[0].columns, bases[0].columns)


def test_no_random_subspace_begins_with_anybodys_latent(metric):
    """People are drawn from small seeds; a random subspace whose seed is one would hold that person."""
    bases = random_bases(metric, 1, 5, seed=0)
    X = [metric.coordinates(basis.columns.T)[0] for basis in bases]
    for seed in (*range(50), *range(1_000_000, 1_000_050)):
        z = torch.nn.functional.normalize(normal(12, seed=seed), dim=0)
        assert all(float((x @ z).abs()) < 0.999 for x in X)


def test_directions_that_depend_on_each_other_are_refused(metric):
    V = normal(12, 2)
    with pytest.raises(IceError, match="directions that don't depend on each other"):
        named_basis(torch.cat([V, V.sum(1, keepdim=True)], 1), metric)
