"""metrics.py against values worked out by hand."""

import math
from itertools import pairwise

import pytest
import torch

from ice_lightning import metrics

YES = torch.tensor([True, True, False])


def value(metric, *given):
    metric.update(*given)
    return float(metric.compute()), int(metric.count)


def images(*levels):
    """Grey images of 2 x 2 pixels."""
    return torch.tensor(levels, dtype=torch.float64)[:, None, None, None].expand(-1, 3, 2, 2).clone()


def test_flip_rate_is_over_everyone():
    assert value(metrics.FlipRate(), YES) == (pytest.approx(2 / 3), 3)


def test_effort_is_over_those_who_flipped():
    t = torch.tensor([[3.0, 4.0], [0.0, 1.0], [100.0, 0.0]])
    assert value(metrics.Effort(), t, YES) == (3.0, 2)


@pytest.mark.parametrize("order,expected", [(1, 0.125), (2, 0.25), (math.inf, 0.5)])
def test_image_distances(order, expected):
    """One person, a quarter of whose values moves by 0.5."""
    x, other = images(0.2, 0, 0), images(0.2, 0, 0)
    other[0, :, 0, 0] += 0.5
    assert value(metrics.ImageDistance(order), x, other, torch.tensor([True, False, False])) == (
        pytest.approx(expected), 1,
    )  # fmt: skip


def test_locality_is_the_share_of_squared_change_inside():
    x, other = images(0, 0, 0), images(0, 0, 0)
    other[0, :, 0, 0], other[0, :, 1, 1] = 0.1, 0.2  # 1 part inside, 4 outside
    other[1, :, 0, 0] = 0.3  # all inside
    mask = torch.zeros(3, 2, 2)
    mask[:, 0] = 1
    assert value(metrics.Locality(), x, other, mask, YES) == (pytest.approx((0.2 + 1) / 2), 2)


def test_identity_and_fva_are_similarities():
    e = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    other = torch.tensor([[0.6, 0.8], [0.28, 0.96], [-1.0, 0.0]])
    assert value(metrics.IdentityCosine(), e, other, YES) == (pytest.approx(0.44), 2)
    assert value(metrics.FVA(), e, other, YES) == (0.5, 2)


def test_mnac_counts_attributes_that_change_sides():
    before = torch.tensor([[1.0, -1.0, 2.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    after = torch.tensor([[-1.0, 1.0, 3.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    assert value(metrics.MNAC(), before, after, YES) == (1.5, 2)


def logit(p):
    return torch.as_tensor(p, dtype=torch.float64).logit()


def test_cd_is_the_difference_of_correlations():
    """In the data q and a are uncorrelated; of those who flip, a changes exactly as q does: |1 - 0|."""
    before = logit([[0.2, 0.2], [0.2, 0.8], [0.8, 0.2], [0.8, 0.8]])
    after = logit([[0.7, 0.7], [0.7, 0.9], [0.3, 0.1], [0.8, 0.8]])
    after[:, 1] = logit(logit_p(before[:, 1]) + 0.2 * (logit_p(after[:, 0]) - logit_p(before[:, 0])))
    flipped = torch.tensor([True, True, True, False])
    assert value(metrics.CD(2), before, after, flipped) == (pytest.approx(1.0), 3)


def logit_p(x):
    return x.sigmoid()


def test_cout_of_a_score_that_counts_pixels():
    """Four pixels turn from 0 to 1, the score rises with their number: trapezoids over tanh(score / 2)."""
    x, other = images(0), images(1)
    found = metrics.transition(lambda image: 8 * image.mean((1, 2, 3)) - 4, x, other, steps=4)
    heights = [math.tanh(s / 2) for s in (-4, -2, 0, 2, 4)]
    expected = sum((a + b) / 2 / 4 for a, b in pairwise(heights))
    assert float(found) == pytest.approx(expected, abs=1e-12)
    at_once = metrics.transition(lambda image: 100 * (image[:, 0, 0, 0] - 0.5), x, other, steps=4)
    assert -1 <= float(at_once) <= 1


def test_cout_replaces_the_most_changed_pixels_first():
    x, other = images(0), images(0.1)
    other[:, :, 1, 0] = 1
    found = metrics.transition(lambda image: 1e4 * (image[:, 0, 1, 0] - 0.5), x, other, steps=4)
    assert float(found) == pytest.approx((0 + 1 + 1 + 1) / 4)  # -1 only at the start, where the first trapezoid is 0


def test_fid_of_gaussians_on_a_line():
    """(difference of means)^2 + (difference of deviations)^2."""
    a = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]], dtype=torch.float64)
    b = 3 * a + 5
    metric = metrics.Frechet(1)
    metric.update(a, b, torch.arange(4), torch.ones(4, dtype=torch.bool))
    deviation = math.sqrt(4 / 3)
    assert float(metric.compute()["fid"]) == pytest.approx(25 + (2 * deviation) ** 2)
    assert int(metric.count) == 4


def test_sfid_crosses_the_halves():
    """Even numbers at 0 and 2, odd ones at 10 and 12; nobody moved: each half's originals against the other half."""
    a = torch.tensor([[0.0], [10.0], [2.0], [12.0]], dtype=torch.float64)
    metric = metrics.Frechet(1)
    metric.update(a, a, torch.arange(4), torch.ones(4, dtype=torch.bool))
    assert float(metric.compute()["sfid"]) == pytest.approx(100)
    assert float(metric.compute()["fid"]) == pytest.approx(0, abs=1e-9)


def test_fid_of_several_features_is_scipy_s():
    from scipy.linalg import sqrtm

    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 5, dtype=torch.float64, generator=draw) for _ in "ab")
    b = b @ torch.randn(5, 5, dtype=torch.float64, generator=draw) + 1
    A, B = a.T.cov(), b.T.cov()
    expected = (a.mean(0) - b.mean(0)).square().sum() + (A + B).trace() - 2 * sqrtm((A @ B).numpy()).real.trace()
    found = metrics.frechet(*(metrics.gaussian(metrics.moments(x)) for x in (a, b)))
    assert float(found) == pytest.approx(float(expected))


def test_diversity_is_over_people_with_two_counterfactuals():
    features = torch.tensor(
        [[[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]], [[0.0, 0.0], [1.0, 0.0], [9.0, 9.0]], [[0.0] * 2] * 3]
    )
    valid = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    assert value(metrics.Diversity(), features, valid) == (pytest.approx(((5 + 8 + 5) / 3 + 1) / 2), 2)


def test_sufficiency_adds_up_over_subspaces():
    metric = metrics.Sufficiency(3)
    metric.update(torch.tensor([[True, False, False], [False, True, True], [False, False, False], [True, True, True]]))
    assert metric.compute().tolist() == [0.5, 0.75, 0.75]
    assert int(metric.count) == 4


def test_nobody_in_the_denominator_is_nan():
    found, count = value(metrics.Effort(), torch.zeros(2, 1), torch.zeros(2, dtype=torch.bool))
    assert math.isnan(found)
    assert count == 0
