"""metrics.py against values worked out by hand, and against those of ACE's evaluation scripts."""

import json
import math
from itertools import pairwise
from pathlib import Path

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
    assert value(metrics.Locality(), x, other, mask, mask, YES) == (pytest.approx((0.2 + 1) / 2), 2)


def test_locality_is_where_the_thing_was_and_where_it_is_now():
    """What is looked at moves from the first row to the second, and the image changes in both."""
    x, other, flipped = images(0), images(0.1), torch.tensor([True])
    other[0, :, :, 1] = 0  # the change is in the first column
    was, now = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    was[:, 0], now[:, 1] = 1, 1
    assert value(metrics.Locality(), x, other, was, was, flipped) == (pytest.approx(0.5), 1)
    assert value(metrics.Locality(), x, other, was, now, flipped) == (pytest.approx(1.0), 1)


def test_identity_and_fva_are_similarities():
    e = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    other = torch.tensor([[0.6, 0.8], [0.28, 0.96], [-1.0, 0.0]])
    assert value(metrics.IdentityCosine(), e, other, YES) == (pytest.approx(0.44), 2)
    assert value(metrics.FVA(0.5), e, other, YES) == (0.5, 2)
    assert value(metrics.FVA(0.6 + 1e-6), e, other, YES) == (0.0, 2)


def test_mnac_counts_attributes_that_change_sides():
    before = torch.tensor([[1.0, -1.0, 2.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    after = torch.tensor([[-1.0, 1.0, 3.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    assert value(metrics.MNAC(), before, after, YES) == (1.0, 2)
    assert value(metrics.MNAC("ace"), before, after, YES) == (1.5, 2)


def test_nothing_but_the_target_changes_no_other_attribute():
    before = torch.tensor([[1.0, 1.0], [-1.0, 2.0], [1.0, 1.0]])
    after = torch.tensor([[-1.0, 1.0], [1.0, 2.0], [1.0, 1.0]])
    assert value(metrics.MNAC(), before, after, YES) == (0.0, 2)
    assert value(metrics.MNAC("ace"), before, after, YES) == (1.0, 2)


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


@pytest.mark.parametrize("flips,known", [(2, False), (3, True)])
def test_two_changes_always_correlate_and_say_nothing(flips, known):
    draw = torch.Generator().manual_seed(0)
    before, after = (torch.randn(9, 3, generator=draw) for _ in "ab")
    found, count = value(metrics.CD(3), before, after, torch.arange(9) < flips)
    assert (math.isfinite(found), count) == (known, flips)


def test_an_attribute_that_never_changes_correlates_with_nothing():
    """Then what is left is its correlation in the data, here 1."""
    q = torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=torch.float64)
    before, after = torch.stack([q, q], 1), torch.stack([-q, q], 1)
    for convention in metrics.CONVENTIONS:
        found, _ = value(metrics.CD(2, convention), before, after, torch.ones(4, dtype=torch.bool))
        assert found == pytest.approx(1.0)


def transition(score, x, other, **settings):
    """Of a binary score."""

    def probabilities(image):
        return torch.stack([-score(image), score(image)], 1).sigmoid()

    at = metrics.source_and_target(probabilities(x), probabilities(other), 1)
    return metrics.transition(probabilities, x, other, *at, **settings)


def test_cout_of_a_score_that_counts_pixels():
    """Four pixels turn from 0 to 1, the score rises with their number: trapezoids over tanh(score / 2)."""
    x, other = images(0), images(1)
    found = transition(lambda image: 8 * image.mean((1, 2, 3)) - 4, x, other, parts=4)
    heights = [math.tanh(s / 2) for s in (-4, -2, 0, 2, 4)]
    expected = sum((a + b) / 2 / 4 for a, b in pairwise(heights))
    assert float(found) == pytest.approx(expected, abs=1e-12)
    at_once = transition(lambda image: 100 * (image[:, 0, 0, 0] - 0.5), x, other, parts=4)
    assert -1 <= float(at_once) <= 1


def test_cout_replaces_the_most_changed_pixels_first():
    x, other = images(0), images(0.1)
    other[:, :, 1, 0] = 1
    found = transition(lambda image: 1e4 * (image[:, 0, 1, 0] - 0.5), x, other, parts=4)
    assert float(found) == pytest.approx((0 + 1 + 1 + 1) / 4)  # -1 only at the start, where the first trapezoid is 0


def test_the_classes_that_a_decision_leaves_and_enters():
    """Asked for class 1: who is of it leaves it for what x' is, or would be; who isn't leaves what x is for it."""
    before = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.5, 0.2, 0.3], [0.3, 0.2, 0.5]])
    after = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3]])
    source, target = metrics.source_and_target(before, after, 1)
    assert source.tolist() == [1, 1, 0, 2]
    assert target.tolist() == [0, 2, 1, 1]


def test_cout_takes_probabilities_and_not_margins():
    """A third class takes over early, and the target isn't reached: only the first trapezoid counts, not the margin."""
    x, other = images(0), images(1)

    def probabilities(image):
        level = image.mean((1, 2, 3))
        return torch.stack([200 * (0.2 - level), torch.zeros_like(level), 200 * (level - 1.1)], 1).softmax(1)

    at = torch.tensor([0]), torch.tensor([2])
    assert float(metrics.transition(probabilities, x, other, *at, parts=4)) == pytest.approx(-1 / 8, abs=0.01)


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


def test_sufficiency_adds_up_over_subspaces():
    metric = metrics.Sufficiency(3)
    metric.update(torch.tensor([[True, False, False], [False, True, True], [False, False, False], [True, True, True]]))
    assert metric.compute().tolist() == [0.5, 0.75, 0.75]
    assert int(metric.count) == 4


def test_nobody_in_the_denominator_is_nan():
    found, count = value(metrics.ImageDistance(1), images(0, 0), images(0, 0), torch.zeros(2, dtype=torch.bool))
    assert math.isnan(found)
    assert count == 0


ACE = json.loads((Path(__file__).parents[1] / "ace_parity.json").read_text())


def drawn_arrays(seed):
    """Logits (60, 40), who flipped, embeddings (60, 6), images and the weights of two networks, in the file's order."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    before = draw(60, 40) + draw(60, 1)
    after = before + 1.5 * draw(60, 40)
    after[:, 7] = before[:, 7]  # undefined correlations
    flipped, e = draw(60) > -0.5, draw(60, 6)
    other = e + draw(60, 6)
    x, y = draw(4, 3, 16, 16).sigmoid(), draw(4, 3, 16, 16).sigmoid()
    return before, after, flipped, e, other, x, y, draw(3, 16, 16), draw(3, 3, 16, 16)


def test_the_convention_of_ace_gives_the_numbers_of_its_scripts():
    before, after, flipped, e, other, x, y, w, W = drawn_arrays(ACE["seed"])
    first = [ACE["query"], *(a for a in range(40) if a != ACE["query"])]
    before, after = before[:, first], after[:, first]

    def is_ace_s(found, name):
        assert found == pytest.approx(ACE[name], abs=1e-6), name

    cd, mnac = metrics.CD(40, "ace"), metrics.MNAC("ace")
    is_ace_s(value(cd, before, after, flipped)[0], "cd")
    is_ace_s(value(mnac, before, after, flipped)[0], "mnac")
    is_ace_s(value(metrics.FVA(metrics.ACE_THRESHOLD), e, other, flipped)[0], "fva")
    is_ace_s(value(metrics.IdentityCosine(), e, other, flipped)[0], "fs")
    frechet = metrics.Frechet(6, "ace")
    for some in (slice(0, 7), slice(7, 60)):
        frechet.update(e[some], other[some], torch.arange(60)[some], flipped[some])
    is_ace_s(float(frechet.compute()["fid"]), "fid")
    assert float(frechet.compute()["sfid"]) == pytest.approx(sum(ACE["sfid"]) / 2, abs=1e-6)
    assert int(frechet.count) == int(flipped.sum())

    along = transition(lambda image: (image * w).mean((1, 2, 3)) * 300 + 2.5, x, y, convention="ace")
    is_ace_s(float(along.mean()), "cout_binary")
    at = torch.full((4,), 2), torch.full((4,), 0)
    along = metrics.transition(
        lambda image: (torch.einsum("nchw,kchw->nk", image, W) / 3).softmax(1), x, y, *at, convention="ace"
    )
    is_ace_s(float(along.mean()), "cout_softmax")


def test_the_two_conventions_differ():
    before, after, flipped, e, other, x, y, w, _ = drawn_arrays(ACE["seed"])
    assert value(metrics.CD(40), before, after, flipped)[0] < 1 < ACE["cd"]
    assert value(metrics.MNAC(), before, after, flipped)[0] < ACE["mnac"]
    frechet = metrics.Frechet(6)
    frechet.update(e, other, torch.arange(60), flipped)
    assert float(frechet.compute()["fid"]) != pytest.approx(ACE["fid"], abs=1e-2)
    own = transition(lambda image: (image * w).mean((1, 2, 3)) * 300 + 2.5, x, y)
    assert float(own.mean()) != pytest.approx(ACE["cout_binary"], abs=1e-4)
