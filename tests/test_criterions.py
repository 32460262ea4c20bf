import pytest
import torch
from cases import TERMS
from torch import nn

from ice_lightning.checks import IceError
from ice_lightning.criterions import (
    Analysis,
    Criterion,
    Landmarks,
    RegionColor,
    Suppress,
    landmark_ids,
    region_color,
    region_ids,
    region_mask,
    region_pixels,
    region_residual,
)  # fmt: skip
from ice_lightning.operators import Jacobian
from ice_lightning.synthetic import factors_from_z, render


@pytest.fixture(scope="module", params=TERMS)
def function(request, generator64, faces64):
    """(f, u): one term of the generated image, in w and float64."""
    z = generator64.sample(1, seed=2).double()
    people = render(factors_from_z(z), 128)
    analysis = Analysis(people.parse, people.landmarks)
    term = TERMS[request.param](faces64)
    return (lambda v: term(generator64(v, "w"), analysis)), generator64.convert(z, "z", "w")


def test_jvp_equals_finite_differences(function):
    f, u = function
    draw = torch.Generator().manual_seed(0)
    v = torch.randn(u.shape, generator=draw, dtype=torch.float64)
    tangent, h = Jacobian(f, u).matmat(v.T)[:, 0], 1e-6
    slope = ((f(u + h * v) - f(u - h * v)) / (2 * h))[0]
    torch.testing.assert_close(tangent, slope, rtol=1e-4, atol=1e-6 * float(tangent.abs().max()))
    assert tangent.abs().max() > 0


def test_adjoint_identity(function):
    J = Jacobian(*function)
    draw = torch.Generator().manual_seed(1)
    V = torch.randn(J.shape[1], 2, generator=draw, dtype=torch.float64)
    Y = torch.randn(J.shape[0], 2, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(J.matmat(V).T @ Y, V.T @ J.adjoint(Y), rtol=1e-9, atol=1e-9)


def test_chunks_do_not_matter(function):
    J = Jacobian(*function)
    V = torch.randn(J.shape[1], 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    one_by_one = torch.cat([J.matmat(v) for v in V.split(1, 1)], 1)
    torch.testing.assert_close(J.matmat(V), one_by_one, rtol=1e-10, atol=1e-12)


def test_region_colour_is_the_mean_of_its_pixels():
    image = torch.rand(2, 3, 8, 8)
    mask = torch.zeros(2, 8, 8)
    mask[:, 2:4, 3:7] = 1
    torch.testing.assert_close(region_color(image, mask), image[:, :, 2:4, 3:7].mean((2, 3)))


def test_residual_ignores_the_colour_of_the_region_and_nothing_else():
    image, mask = torch.rand(1, 3, 8, 8), torch.zeros(1, 8, 8)
    mask[:, 2:5, 2:5] = 1
    tinted = image + torch.tensor([0.1, -0.2, 0.3])[None, :, None, None] * mask[:, None]
    before = region_residual(image, mask)
    torch.testing.assert_close(region_residual(tinted, mask), before, rtol=0, atol=1e-6)
    outside = image.clone()
    outside[:, :, 0, 0] += 0.1
    assert not torch.allclose(region_residual(outside, mask), before)


def test_pixels_are_cropped_to_the_region_and_scaled_to_a_mean():
    image, mask = torch.rand(1, 3, 8, 8), torch.zeros(1, 8, 8)
    mask[:, 2:4, 3:7] = 1
    pixels = region_pixels(image, mask)
    assert pixels.shape == (1, 3 * 2 * 4)
    torch.testing.assert_close(pixels.square().sum(), image[:, :, 2:4, 3:7].square().sum() / 8)


def test_masks_grow_shrink_ring_and_turn_inside_out():
    parse = torch.zeros(1, 64, 64, dtype=torch.long)
    parse[:, 20:40, 20:40] = 1

    def area(**shape):
        return int(region_mask(parse, ["skin"], **shape).sum())

    assert area() == 400
    assert area(outside=True) == 64 * 64 - 400
    assert area(erode=1 / 64) == 18 * 18
    assert area(dilate=1 / 64) == 400 + 4 * 20
    assert area(ring=1 / 64) == 4 * 20


def test_landmark_lists():
    assert landmark_ids("0-2, 5") == [0, 1, 2, 5]
    assert landmark_ids("3-67", complement=True) == [0, 1, 2]


def test_an_empty_region_is_seen():
    parse = torch.ones(2, 64, 64, dtype=torch.long)
    parse[0, :, :32] = 17
    term = RegionColor(["hair"])
    assert term.empty(Analysis(parse, torch.zeros(2, 68, 2))).tolist() == [False, True]


def test_sentences():
    with pytest.raises(IceError, match=r"a region out of .*, got 'hairs': did you mean 'hair'\?"):
        region_ids(["hairs"])
    with pytest.raises(IceError, match="landmark indices from 0 to 67, got '60-68'"):
        landmark_ids("60-68")
    with pytest.raises(IceError, match="landmark indices such as"):
        landmark_ids("mouth")
    with pytest.raises(IceError, match="landmarks of at least 1, got 0"):
        Landmarks("0-67", nn.Identity(), complement=True)
    term = RegionColor(["skin"])
    for wrong in (0, -1, 1.5):
        with pytest.raises(IceError, match=r"the ratio of RegionColor in \(0, 1\], got"):
            Criterion("x", "", (term,), (Suppress(term, wrong),))
    with pytest.raises(IceError, match="activated terms of at least 1"):
        Criterion("x", "", (), ())
