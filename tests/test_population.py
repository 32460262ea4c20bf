"""The population metric: its lengths against those of the same move in another space, and values worked out by hand."""

import math

import pytest
import torch

from ice_lightning.checks import IceError
from ice_lightning.population import (
    FLOOR,
    covariances,
    floored,
    geometry,
    layer_covariances,
    moving_layers,
    radius,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_ball_holds_997_of_a_thousand_of_the_population():
    assert (radius(1), radius(8)) == (pytest.approx(2.97, abs=0.01), pytest.approx(4.83, abs=0.01))
    for k in (1, 3, 8):
        inside = (normal(200_000, k, seed=k).norm(dim=1) <= radius(k)).double().mean()
        assert float(inside) == pytest.approx(0.997, abs=0.0005)


def test_a_length_by_hand():
    """Two layers of variances (4, 1) and (9,): C_1 and C_2, and M = blockdiag(C_1^-1, C_2^-1) / 2."""
    G = geometry([torch.diag(torch.tensor([4.0, 1.0])).double(), torch.tensor([[9.0]]).double()])
    d = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [2.0, 1.0, 3.0]]).double()
    expected = [math.sqrt(1 / 2), math.sqrt(4 / 2), math.sqrt(1 / 2), math.sqrt((1 + 1 + 1) / 2)]
    assert G.length(d).tolist() == pytest.approx(expected)
    torch.testing.assert_close(G.displacement(G.coordinates(d)), d)


def test_one_deviation_of_w_in_every_layer_has_length_one_in_w_and_wplus_and_s():
    """s = A w + b of every layer, wide enough for the map to lose nothing."""
    mix = normal(5, 5)
    W = normal(4000, 5, seed=1) @ mix
    affine = [normal(7, 5, seed=2), normal(6, 5, seed=3), normal(9, 5, seed=4)]
    S = torch.cat([W @ A.T + 1 for A in affine], 1)
    d = torch.linalg.cholesky(covariances(W, [5])[0])[:, :1].T  # some move of length 1 in w
    in_w = geometry(covariances(W, [5])).length(d)
    in_wplus = geometry(covariances(torch.cat([W, W], 1), [5, 5])).length(torch.cat([d, d], 1))
    # Without a floor: a layer of seven coordinates has no more than five directions in which anyone differs.
    blocks = covariances(S, [7, 6, 9])
    in_s = geometry(blocks, floor=1e-9).length(torch.cat([d @ A.T for A in affine], 1))
    assert [float(each) for each in (in_w, in_wplus, in_s)] == pytest.approx([1, 1, 1], rel=1e-4)


def test_layers_that_do_not_move_cost_nothing_and_are_left_out_of_the_mean():
    C = torch.eye(2).double()
    G = geometry([C, C, C], torch.tensor([True, False, False]))
    assert float(G.length(torch.tensor([[0.0, 1, 5, 5, 5, 5]]).double())) == pytest.approx(1)
    assert G.moving.tolist() == [True, True, False, False, False, False]
    assert not G.displacement(torch.ones(1, 6).double())[:, 2:].any()
    directions = torch.zeros(6, 2)
    directions[1, 0] = directions[5, 1] = 1
    assert moving_layers(directions, [2, 2, 2]).tolist() == [True, False, True]


def test_where_nobody_differs_the_floor_is_the_price():
    root, inverse = floored(torch.diag(torch.tensor([2.0, 0.0])).double())
    assert root.diagonal().tolist() == pytest.approx([math.sqrt(2), math.sqrt(FLOOR)])
    torch.testing.assert_close(root @ inverse, torch.eye(2).double())
    with pytest.raises(IceError, match="people who differ in every layer that moves"):
        floored(torch.zeros(2, 2).double())


def test_z_has_the_identity_and_s_of_the_generator_is_whitened(generator):
    assert torch.equal(layer_covariances(generator, "z")[0], torch.eye(48).double())
    widths = generator.widths("s")
    blocks = layer_covariances(generator, "s", 600)
    people = generator.people(600, 4_000_000, "s")
    G = geometry(blocks)
    x = G.coordinates((people - people.mean(0)).double())
    for part, C in zip(x.split(widths, 1), blocks, strict=True):
        strong = torch.linalg.eigh(C).eigenvectors[:, -8:]
        # Other people have the variance 1 / L in each of the coordinates in which people differ.
        assert ((part @ strong).var(0) * len(widths)).mean() == pytest.approx(1, abs=0.15)
