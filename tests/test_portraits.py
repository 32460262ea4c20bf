"""The portraits are ground truth: image, parse map, landmarks and depth agree, and factors change what they may."""

import math

import pytest
import torch
from torch import Tensor

from ice_lightning.checks import IceError
from ice_lightning.labels import REGIONS
from ice_lightning.portraits import FACTORS, Z_DIM, factor_index, factors_from_z, neutral, render
from ice_lightning.portraits.head import PIVOT, Shell, at, dot
from ice_lightning.portraits.relief import relief_of

BARE = ("glasses", "hat", "earrings", "fringe", "beard")


def people(n: int, seed: int = 0) -> Tensor:
    return factors_from_z(torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(seed)))


def setting(f: Tensor, **values: float) -> Tensor:
    g = f.clone()
    for name, value in values.items():
        g[:, factor_index(name)] = value
    return g


def grow(mask: Tensor, by: int = 1) -> Tensor:
    side = 2 * by + 1
    return torch.nn.functional.max_pool2d(mask[:, None].float(), side, 1, by)[:, 0] > 0


def test_there_are_enough_factors_and_all_latents_have_them() -> None:
    assert 45 <= len(FACTORS) <= Z_DIM
    f = people(256)
    assert f.abs().max() < 1
    assert f.std(0).sub(3**-0.5).abs().max() < 0.08  # uniform on (-1, 1)


def test_the_length_of_z_does_not_change_the_person() -> None:
    z = torch.randn(4, Z_DIM)
    torch.testing.assert_close(factors_from_z(z), factors_from_z(3 * z), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_changes_its_regions_and_nothing_else(name: str) -> None:
    low = people(8, seed=1)
    for each in ("glasses", "hat", "earrings"):
        if each not in (name, name.removesuffix("_thickness"), name.removesuffix("_hue")):
            low[:, factor_index(each)] = -1  # near their thresholds they are translucent
    if name.startswith(("glasses_", "hat_")):
        low[:, factor_index(name.split("_")[0])] = 1
    high = low.clone()
    low[:, factor_index(name)], high[:, factor_index(name)] = -0.9, 0.9
    a, b = render(low, 160), render(high, 160)
    ids = torch.tensor([REGIONS.index(r) for r in FACTORS[name]])
    allowed = grow(torch.isin(a.parse, ids) | torch.isin(b.parse, ids), 2)
    moved = (a.image - b.image).abs().amax(1) > 0.03
    assert moved.float().mean() > 1e-3, "the factor must do something"
    assert (moved & ~allowed).float().mean() < 2e-4


def test_landmarks_lie_on_the_borders_of_their_regions() -> None:
    """Within half a pixel of 128, on renders four times as fine."""
    f = people(24, seed=2)
    f = setting(f, glasses=-1, hat=-1, earrings=-1, fringe=-1, brow_height=-0.5, hair_length=-1, hair_volume=-1)
    size = 512
    p = render(f, size)
    owners = {"l_brow": range(17, 22), "r_brow": range(22, 27), "nose": range(31, 36), "skin": range(3, 14)}
    owners |= {"l_eye": range(36, 42), "r_eye": range(42, 48), "u_lip": range(48, 55), "l_lip": range(55, 60)}
    owners |= {"mouth": range(60, 68)}
    for region, indices in owners.items():
        inside = p.parse == REGIONS.index(region)
        near = size // 128 // 2 + 1
        border = grow(inside, near) & grow(~inside, near)
        xy = p.landmarks[:, list(indices)].round().long().clamp(0, size - 1)
        hit = border[torch.arange(len(f))[:, None], xy[..., 1], xy[..., 0]]
        assert hit.float().mean() > 0.97, region


def test_landmarks_turn_with_the_head_as_a_rigid_body() -> None:
    """All but the jaw's, which are where the outline is."""
    f = setting(people(6, seed=3), yaw=0, pitch=0, roll=0)
    straight, turned = render(f, 64), render(setting(f, yaw=0.8, pitch=-0.6, roll=0.5), 64)
    pixel = 2 * 0.87 / 64
    centre = torch.tensor([PIVOT[0], PIVOT[1] - 0.06, PIVOT[2]]) / pixel + torch.tensor([31.5, 31.5, 0.0])

    def points(p) -> Tensor:  # type: ignore[no-untyped-def]
        return torch.cat([p.landmarks, p.depth[..., None]], 2)[:, 17:] - centre

    def about(axis: int, angle: float) -> Tensor:
        c, s = math.cos(angle), math.sin(angle)
        i, j = ((2, 0), (2, 1), (0, 1))[axis]
        R = torch.eye(3)
        R[i, i] = R[j, j] = c
        R[j, i], R[i, j] = s, -s
        return R

    R = about(2, 0.09 * 0.5) @ about(1, 0.17 * -0.6) @ about(0, 0.34 * 0.8)
    torch.testing.assert_close(points(turned), points(straight) @ R.T, atol=2e-3, rtol=0)


def test_a_ray_meets_the_shell_where_its_norm_is_one_and_passes_it_where_none_is() -> None:
    one = torch.ones(3, 1, 1, dtype=torch.float64)
    shell = Shell(
        0.47 * one, 0.5 * one, 0.66 * one, 0.62 * one, 2.1 * one, torch.tensor([1.9, 2.3, 2.6])[:, None, None]
    )
    X, Y = torch.meshgrid(*[torch.linspace(-0.8, 0.8, 41, dtype=torch.float64)] * 2, indexing="xy")
    v = (0.3 * one, -0.15 * one, (1 - 0.09 - 0.0225) ** 0.5 * one)
    o = (X[None] * one, Y[None] * one, 0 * X[None] * one)
    t, outline = shell.hit(o, v)
    inside = outline < -0.02
    assert (shell.norm(at(o, v, t))[0][inside] - 1).abs().max() < 2e-3
    fine = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    for person, (i, j) in ((0, (20, 33)), (1, (5, 20)), (2, (36, 12)), (2, (20, 20))):
        ray = tuple((part[person, i, j] + fine * w[person, 0, 0])[None, None] for part, w in zip(o, v, strict=True))
        alone = Shell(*(part[person : person + 1] for part in shell))
        least = alone.norm(ray)[0].min().sqrt()  # type: ignore[arg-type]
        assert abs((least - 1) * 0.47 - outline[person, i, j]) < 2e-3


def test_the_silhouette_is_the_farthest_point() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    shell = Shell(0.47 * one, 0.5 * one, 0.66 * one, 0.62 * one, 2.1 * one, 2.5 * one)
    m = (0.6 * one, 0.7 * one, 0.4 * one)
    points = torch.randn(3, 1, 1, 200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind(0)
    scale = shell.norm(points)[0].rsqrt()  # type: ignore[arg-type]
    farthest = (dot(points, m) * scale).max()  # type: ignore[arg-type]
    found = dot(shell.silhouette(m), m)
    assert farthest <= found + 1e-12
    assert farthest > 0.999 * found


def test_the_reliefs_slopes_are_those_of_differences() -> None:
    f = dict(zip(FACTORS, people(4).double()[:, :, None, None].unbind(1), strict=True))
    relief = relief_of(f, torch.ones(4, 1, 1, dtype=torch.float64))
    x, y = (torch.rand(4, 1, 500, dtype=torch.float64) - 0.5 for _ in range(2))
    h, across, down = relief.with_slopes(x, y)
    e = 1e-6
    torch.testing.assert_close(h, relief(x, y))
    torch.testing.assert_close(across, (relief(x + e, y) - relief(x - e, y)) / (2 * e), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(down, (relief(x, y + e) - relief(x, y - e)) / (2 * e), atol=1e-5, rtol=1e-5)
    assert across.abs().max() < 2.6, "a steeper nose would hide what is behind it"


def test_every_drawn_region_exists_and_ids_are_celebamask() -> None:
    parse = render(people(48, seed=3), 96).parse
    assert {REGIONS[i] for i in parse.unique()} == set(REGIONS) - {"neck_l"}


def test_light_from_the_left_brightens_the_left() -> None:
    f = neutral(2)
    f[:, factor_index("light_side")] = torch.tensor([-1.0, 1.0])
    p = render(f, 96)
    skin = p.parse == REGIONS.index("skin")
    left = torch.arange(96)[None, None] < 48
    mean = [
        [float((p.image.mean(1)[i] * (skin & side)[i]).sum() / (skin & side)[i].sum()) for side in (left, ~left)]
        for i in (0, 1)
    ]
    assert mean[0][0] > mean[0][1] + 0.08
    assert mean[1][1] > mean[1][0] + 0.08
    assert (p.image[0] - p.image[1].flip(2)).abs().mean() < 0.02, "the head is its own mirror image, the wall isn't"


def test_a_batch_equals_its_singles() -> None:
    f = people(5)
    whole = render(f, 64)
    for i in range(5):
        one = render(f[i : i + 1], 64)
        torch.testing.assert_close(one.image[0], whole.image[i], atol=1e-6, rtol=0)
        assert torch.equal(one.parse[0], whole.parse[i])


def test_resolutions_agree() -> None:
    f = people(4)
    fine, coarse = render(f, 256), render(f, 64)
    shrunk = torch.nn.functional.avg_pool2d(fine.image, 4)
    assert (shrunk - coarse.image).abs().mean() < 0.02
    torch.testing.assert_close((fine.landmarks + 0.5) / 4 - 0.5, coarse.landmarks, atol=1e-3, rtol=0)


def test_factors_of_a_wrong_shape_or_name_end_in_a_sentence() -> None:
    with pytest.raises(IceError, match=rf"expected factors of shape \(N, {len(FACTORS)}\), got \(1, 3\)"):
        render(torch.zeros(1, 3))
    with pytest.raises(IceError, match="did you mean 'hair_colour'"):
        factor_index("hair_color")
    with pytest.raises(IceError, match="size of at least 16"):
        render(neutral(), 8)
