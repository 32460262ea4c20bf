"""The portraits are ground truth, so their image, parse map and landmarks must agree."""

import pytest
import torch

from ice_lightning.checks import IceError
from ice_lightning.labels import REGIONS
from ice_lightning.synthetic import FACTORS, Z_DIM, factor_index, factors_from_z, neutral, render
from ice_lightning.synthetic.__main__ import main


def people(n: int, seed: int = 0) -> torch.Tensor:
    return factors_from_z(torch.randn(n, Z_DIM, generator=torch.Generator().manual_seed(seed)))


def grow(mask: torch.Tensor, by: int = 1) -> torch.Tensor:
    side = 2 * by + 1
    return torch.nn.functional.max_pool2d(mask[:, None].float(), side, 1, by)[:, 0] > 0


def test_there_are_enough_factors_and_all_latents_have_them() -> None:
    assert 28 <= len(FACTORS) <= Z_DIM
    f = people(256)
    assert f.abs().max() < 1
    assert f.std(0).sub(3**-0.5).abs().max() < 0.08  # uniform on (-1, 1)


def test_the_length_of_z_does_not_change_the_person() -> None:
    z = torch.randn(4, Z_DIM)
    torch.testing.assert_close(factors_from_z(z), factors_from_z(3 * z), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_changes_its_regions_and_nothing_else(name: str) -> None:
    low = people(8, seed=1)
    if name not in ("glasses",):
        low[:, factor_index("glasses")] = -1  # worn by half, they are translucent
    high = low.clone()
    low[:, factor_index(name)], high[:, factor_index(name)] = -0.9, 0.9
    a, b = render(low, 160), render(high, 160)
    ids = torch.tensor([REGIONS.index(r) for r in FACTORS[name]])
    allowed = grow(torch.isin(a.parse, ids) | torch.isin(b.parse, ids), 3)
    moved = (a.image - b.image).abs().amax(1) > 0.04
    assert moved.any(), "the factor must do something"
    assert (moved & ~allowed).float().mean() < 2e-4  # slivers of an ear that cover less than half a pixel


def test_landmarks_lie_on_the_borders_of_their_regions() -> None:
    f = people(16, seed=2)
    f[:, factor_index("glasses")] = -1
    f[:, factor_index("fringe")] = -1
    f[:, factor_index("brow_height")] = -0.5
    size = 256
    p = render(f, size)
    owners = {"skin": range(0, 17), "l_brow": range(17, 22), "r_brow": range(22, 27), "nose": range(31, 36)}
    owners |= {"l_eye": range(36, 42), "r_eye": range(42, 48), "u_lip": range(48, 55), "l_lip": range(55, 60)}
    owners |= {"mouth": range(60, 68)}
    for region, indices in owners.items():
        inside = p.parse == REGIONS.index(region)
        border = grow(inside, 4) & grow(~inside, 4)
        xy = p.landmarks[:, list(indices)].round().long().clamp(0, size - 1)
        hit = border[torch.arange(len(f))[:, None], xy[..., 1], xy[..., 0]]
        assert hit.float().mean() > 0.98, region


def test_every_drawn_region_exists_and_ids_are_celebamask() -> None:
    parse = render(people(32, seed=3), 96).parse
    absent = {"ear_r", "neck_l", "hat"}
    assert {REGIONS[i] for i in parse.unique()} == set(REGIONS) - absent
    assert REGIONS.index("hair") == 17 and REGIONS.index("eye_g") == 6 and len(REGIONS) == 19


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
    with pytest.raises(IceError, match=r"expected factors of shape \(N, 36\), got \(1, 3\)"):
        render(torch.zeros(1, 3))
    with pytest.raises(IceError, match="did you mean 'hair_colour'"):
        factor_index("hair_color")
    with pytest.raises(IceError, match="size of at least 16"):
        render(neutral(), 8)


def test_the_sheet_is_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert main(["--grid", str(tmp_path / "a.png"), "--size", "32", "--factor", "smile"]) == 0
    assert (tmp_path / "a.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["none/a.png", "a.what"])
def test_a_place_that_cannot_be_written_to_ends_in_a_sentence(name, tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["--grid", str(tmp_path / name), "--size", "16", "--factor", "smile"]) == 2
    assert "ice_lightning: expected a picture that can be written" in capsys.readouterr().err
