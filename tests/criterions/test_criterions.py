import sys

import pytest
import reference
import torch
from cases import TERMS
from torch import nn

from ice_lightning.checks import IceError
from ice_lightning.criterions import (
    Activate,
    Analysis,
    ClassifierLogit,
    Criterion,
    GazeAndPose,
    HighFrequency,
    Landmarks,
    RegionColor,
    RegionColors,
    RelativeLandmarks,
    Suppress,
    Term,
    WarpedPixels,
)  # fmt: skip
from ice_lightning.criterions.frequency import high_pass, low_pass
from ice_lightning.criterions.landmarks import eye_masks, gaze_of, landmark_ids, pose_of, relative_positions
from ice_lightning.criterions.regions import region_color, region_ids, region_mask, region_pixels, region_residual
from ice_lightning.criterions.warp import carry, triangulate
from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.labels import REGIONS
from ice_lightning.ops.sampling import sample_bilinear
from ice_lightning.synthetic import factor_index, factors_from_z, neutral, render


@pytest.fixture(scope="module", params=TERMS)
def function(request, generator64, faces64):
    """(f, u): one term of the generated image of 64 px, in w and float64."""
    z = generator64.sample(1, seed=2).double()
    people = render(factors_from_z(z), 64)
    analysis = Analysis(people.parse, people.landmarks)
    term = TERMS[request.param](faces64)
    assert isinstance(term, Term)
    assert term.label
    u = generator64.convert(z, "z", "w")
    if term.features is not None:
        assert term(generator64(u, "w"), analysis).shape == (1, term.features)
    return (lambda v: term(generator64(v, "w"), analysis)), u


def test_jvp_equals_finite_differences(function):
    f, u = function
    draw = torch.Generator().manual_seed(0)
    v = torch.randn(u.shape, generator=draw, dtype=torch.float64)
    tangent, h = Jacobian(f, u).matmat(v.T)[:, 0], 1e-7  # small, lest a leaky ReLU turns in between
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
    V = torch.randn(J.shape[1], 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
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


@pytest.mark.parametrize("side", [1, 2, 3, 6, 9])
def test_square_kernels_are_max_and_min_over_a_window(side):
    few = (torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(side)) < 1 / side**2).long()
    for name, parse in (("dilate", few), ("erode", 1 - few)):
        found = region_mask(parse, ["skin"], kernel="square", **{name: (side + 0.5) / 20})
        assert torch.equal(found[0].long(), reference.square_morphology(parse[0], side, name == "dilate"))


@pytest.mark.parametrize(
    "shape,width", [({"dilate": 0.1}, 80 + 50), ({"erode": 0.05}, 80 - 24), ({"dilate": 0.2}, 181)]
)
def test_a_square_kernel_is_as_wide_as_it_says(shape, width):
    """Its side is int(512 ratio), as published: it reaches half as far as a disc of that radius."""
    parse = torch.zeros(1, 512, 512, dtype=torch.long)
    parse[:, 216:296, 216:296] = 1
    assert region_mask(parse, ["skin"], kernel="square", **shape)[0, 256].sum() == width


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
        with pytest.raises(IceError, match=r"the ratio of RegionColor skin in \(0, 1\], got"):
            Suppress(term, wrong)
    finer = {"activate": {"x": Activate(term)}, "suppress": {"y": Suppress(term, 1e-12)}}
    with pytest.raises(IceError, match="ratios from 1e-07 on with a soft projection, got 1e-12 of y: set it to 1e-07"):
        Criterion("x", "", **finer, projection="soft")
    assert Criterion("x", "", **finer).projection == "early"
    with pytest.raises(IceError, match="a weight above 0 for RegionColor skin, got 0"):
        Activate(term, 0)
    wanted, unwanted = {"color": Activate(term)}, {"shape": Suppress(term, 0.1)}
    with pytest.raises(IceError, match="activated terms of at least 1"):
        Criterion("x", "", {})
    with pytest.raises(IceError, match="a projection out of early, late, soft, mixed, got 'lat': did you mean 'late'"):
        Criterion("x", "", wanted, unwanted, projection="lat")
    with pytest.raises(
        IceError, match="a suppressed term to project late out of shape, got 'shap': did you mean 'shape'"
    ):
        Criterion("x", "", wanted, unwanted, projection="mixed", late=("shap",))
    with pytest.raises(IceError, match=r"names of late terms with mixed and only with mixed \(mixed\), got none"):
        Criterion("x", "", wanted, unwanted, projection="mixed")
    with pytest.raises(IceError, match="rank of at least 1, got 0"):
        Criterion("x", "", wanted, unwanted, rank=0)
    with pytest.raises(IceError, match="a classifier for ClassifierLogit, got none: add classifier="):
        ClassifierLogit(None)
    with pytest.raises(IceError, match="a class from 0 to 1, got 2"):
        ClassifierLogit(lambda image: torch.zeros(1, 2), index=2)(torch.zeros(1, 3, 8, 8), None)
    with pytest.raises(IceError, match=r"a part of gaze and pose out of .* got 'jaw': did you mean 'yaw'"):
        GazeAndPose(nn.Identity(), ["jaw"])
    with pytest.raises(IceError, match="a kernel out of disc, square, got 'squared': did you mean 'square'"):
        RegionColor(["skin"], kernel="squared")
    with pytest.raises(IceError, match="a cutoff below the size 32, got 32"):
        HighFrequency(["skin"], cutoff=32, size=32)


def test_several_regions_each_have_their_colour_and_a_missing_one_is_still(faces):
    people = render(neutral(1), 64)
    analysis = Analysis(people.parse, people.landmarks)
    colors = RegionColors(["skin", "hat", "hair"])(people.image, analysis)
    assert torch.equal(colors[:, 3:6], torch.zeros(1, 3))
    for name, part in (("skin", colors[:, :3]), ("hair", colors[:, 6:])):
        torch.testing.assert_close(part, RegionColor([name])(people.image, analysis))


def test_relative_landmarks_ignore_a_shift_and_nothing_else():
    points = torch.rand(1, 68, 2, dtype=torch.float64)
    here = relative_positions(points, [1, 2, 3], 10)
    torch.testing.assert_close(relative_positions(points + torch.tensor([3.0, -2.0]), [1, 2, 3], 10), here)
    assert not torch.allclose(relative_positions(points * 1.1, [1, 2, 3], 10), here)


def people_along(factor):
    f = neutral(3)
    f[:, factor_index(factor)] = torch.tensor([-1.0, 0.0, 1.0])
    return render(f, 128)


@pytest.mark.parametrize("factor", ["yaw", "pitch", "roll"])
def test_pose_grows_with_what_moves_it_and_hardly_with_the_rest(factor):
    def spread(name):
        values = pose_of(people_along(name).landmarks)[factor]
        return (values[2] - values[0]).item(), (values[1] - values[0]).item()

    whole, half = spread(factor)
    assert whole * half > 0
    others = ("yaw", "pitch", "roll", "nose_length", "face_length", "jaw", "smile", "mouth_openness", "brow_height")
    assert max(abs(spread(name)[0]) for name in others if name != factor) < 0.3 * abs(whole)


@pytest.mark.parametrize("part", ["gaze_x", "gaze_y"])
def test_gaze_follows_the_irises(part):
    people = people_along(part)
    eyes = torch.stack([region_mask(people.parse, [name]) for name in ("l_eye", "r_eye")], 1)
    values = gaze_of(people.image, eyes)[part]
    assert (values.diff() > 0.005).all()


def test_eye_masks_cover_the_eyes_that_are_drawn():
    people = people_along("gaze_x")
    true = torch.stack([people.parse == REGIONS.index(name) for name in ("l_eye", "r_eye")], 1).float()
    masks = eye_masks(people.landmarks, 128, 128)
    assert (torch.minimum(masks, true).sum() / torch.maximum(masks, true).sum()).item() > 0.6


def test_gaze_stays_when_the_eyes_move_as_a_whole():
    """A term over fixed masks would call a nod a downward look: the irises leave them."""
    people = people_along("gaze_y")
    moved = torch.roll(people.image, 3, 2), people.landmarks + torch.tensor([0.0, 3.0])
    before, after = (
        gaze_of(image, eye_masks(points, 128, 128))["gaze_y"]
        for image, points in ((people.image, people.landmarks), moved)
    )
    assert (before.diff() > 0.005).all()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_relative_detail_is_that_of_the_paint():
    """Half the light on the same surface: detail halves, detail relative to brightness stays."""
    image = 0.4 + 0.4 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(high_pass(image / 2, 8), high_pass(image, 8) / 2)
    torch.testing.assert_close(high_pass(image / 2, 8, relative=True), high_pass(image, 8, relative=True))


def test_low_pass_keeps_what_is_flat_and_removes_what_is_fine():
    checks = (torch.arange(32) % 2).float().expand(1, 3, 32, 32)
    assert (low_pass(checks, 8)[..., 4:-4] - 0.5).abs().max() < 0.05
    torch.testing.assert_close(low_pass(torch.full((1, 3, 32, 32), 0.3), 8), torch.full((1, 3, 32, 32), 0.3))


def test_bilinear_sampling_equals_grid_sample():
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 9, 7, generator=draw, dtype=torch.float64)
    at = torch.rand(2, 50, 2, generator=draw, dtype=torch.float64) * 1.4 - 0.2
    expected = nn.functional.grid_sample(image, at[:, None] * 2 - 1, padding_mode="border", align_corners=False)[
        :, :, 0
    ]
    torch.testing.assert_close(sample_bilinear(image, at), expected)


def test_landmarks_that_stay_carry_every_pixel_to_itself():
    landmarks = (people_along("yaw").landmarks[:2].double() + 0.5) / 128
    axis = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    expected = torch.cartesian_prod(axis, axis).flip(1).expand(2, -1, -1)
    torch.testing.assert_close(carry(triangulate(landmarks, 16), landmarks), expected)


def test_warped_pixels_stay_where_plain_pixels_move():
    # The whole picture shifts, landmarks with it: what is carried along sees the same pixels.
    people = render(neutral(1), 128)
    analysis = Analysis(people.parse, people.landmarks)
    shifted = people.image.roll(4, 3)

    def change(points):
        here = WarpedPixels(["skin", "mouth", "u_lip", "l_lip"], lambda image: people.landmarks, erode=0.02)
        there = WarpedPixels(["skin", "mouth", "u_lip", "l_lip"], lambda image: points, erode=0.02)
        return (there(shifted, analysis) - here(people.image, analysis)).norm()

    assert change(people.landmarks + torch.tensor([4.0, 0.0])) < 0.15 * change(people.landmarks)


def test_a_person_keeps_their_own_triangulation_while_others_are_read():
    """People are on threads: another one's mesh is built at every line of this one's, the worst that can happen."""
    draw = torch.Generator().manual_seed(0)
    one, other = (Analysis(torch.ones(1, 128, 128), torch.rand(1, 68, 2, generator=draw) * 100 + 10) for _ in "12")
    term = WarpedPixels(["skin"], nn.Identity(), size=8)
    between = []

    def at_every_line(frame, event, arg):
        if frame.f_code is not WarpedPixels.mesh.__code__:
            return None
        between.append(term.mesh(other))  # not traced itself
        return at_every_line

    before = sys.gettrace()
    sys.settrace(at_every_line)
    try:
        found = term.mesh(one)
    finally:
        sys.settrace(before)
    assert len(between) > 3
    assert torch.equal(found.corners, triangulate((one.landmarks + 0.5) / 128, 8).corners)
    assert not torch.equal(found.corners, between[0].corners)


def test_relative_landmarks_say_their_name():
    assert RelativeLandmarks("48-67", nn.Identity()).label == "RelativeLandmarks 48-67"
