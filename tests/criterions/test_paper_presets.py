"""The seven published presets against Li et al. 2022's notebook, written out: labels, kernels, ratios, people."""

import pytest
import reference
import torch
from omegaconf import OmegaConf

from ice_lightning.criterions import Analysis
from ice_lightning.labels import REGIONS
from ice_lightning.synthetic import Z_DIM, factors_from_z, render
from ice_lightning.tasks.build import build_criterion

ALL = range(1, 19)
EYE = ([4, 5, 6], "dilate", 0.1)
HAIR = ([17], "dilate", 0.2)
LIPS = ([12, 13], "dilate", 0.01)
SKIN = ([1, 7, 8, 10, 14], None, 0)
AROUND = ([1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 17], "erode", 0.05)
HEAD = (ALL, "erode", 0.05)
LOOKS = ([i for i in ALL if i != 11], "dilate", 0.05)
"""Regions: labels, morphology, side of its kernel as a fraction of the image's."""

# preset: people, projection, activate ratio, activated (kind, what), suppressed (kind, what, ratio), image side.
PUBLISHED = {
    "face_boundary": (1, "early", 1e-2, ("Landmarks", range(17)),
        [("Landmarks", range(17, 68), 1e-2), ("WarpedPixels", HEAD, 3e-3)], 64),
    "eye_shape": (1, "early", 1e-2, ("Landmarks", range(36, 48)),
        [("Landmarks", [*range(36), *range(48, 68)], 1e-2), ("RegionPixels", AROUND, 2e-3)], 64),
    "mouth_shape": (2, "late", 2e-2, ("RelativeLandmarks", range(48, 68)),
        [("RelativeLandmarks", range(48), 1e-2), ("WarpedPixels", LOOKS, 1e-2)], 48),
    "skin_color": (1, "early", 1e-2, ("RegionColor", SKIN), [("RegionResidual", SKIN, 1e-3)], 64),
    "lip_color": (2, "early", 1e-2, ("RegionPixels", LIPS),
        [("RegionPixels outside", LIPS, 1e-4), ("RelativeLandmarks", range(48, 68), 1e-3)], 128),
    "eye_photometry": (2, "early", 1e-2, ("RegionPixels", EYE), [("RegionPixels outside", EYE, 1e-3)], 48),
    "hair_photometry": (2, "early", 1e-2, ("RegionPixels", HAIR), [("RegionPixels outside", HAIR, 2e-3)], 48),
}  # fmt: skip


def what(term):
    """A built term in the words of the table."""
    if "Landmarks" in type(term).__name__:
        return type(term).__name__, term.ids
    shape = term.shape
    morphology = "dilate" if shape["dilate"] else "erode" if shape["erode"] else None
    assert morphology is None or shape["kernel"] == "square"
    assert not shape["ring"]
    outside = " outside" if shape["outside"] else ""
    labels = sorted(REGIONS.index(name) for name in term.regions)
    return type(term).__name__ + outside, (labels, morphology, shape["dilate"] + shape["erode"])


def lists(kind, each):
    return (kind, (list(each[0]), *each[1:])) if "Landmarks" not in kind else (kind, list(each))


@pytest.fixture(scope="module", params=PUBLISHED)
def preset(request):
    return request.param


@pytest.fixture
def criterion(preset, compose, faces):
    return build_criterion(compose(f"experiment=paper/{preset}").criterion, faces, 1024)


def test_settings_are_the_published_ones(preset, compose, criterion):
    people, projection, activate_ratio, activated, suppressed, side = PUBLISHED[preset]
    cfg = compose(f"experiment=paper/{preset}")
    assert (cfg.space, cfg.latents.count, criterion.projection) == ("s", people, projection)
    assert criterion.activate_ratio == activate_ratio
    assert (criterion.rank, cfg.layers, cfg.criterion.layers) == (None, None, None)
    (one,) = criterion.activate.values()
    assert what(one.term) == lists(*activated)
    found = [(*what(each.term), each.ratio) for each in criterion.suppress.values()]
    assert found == [(*lists(*each[:2]), each[2]) for each in suppressed]
    terms = [one.term, *(each.term for each in criterion.suppress.values())]
    assert {term.size for term in terms if term.size is not None} == {side}


def test_masks_are_morphology_by_its_definition(preset, criterion):
    """Max or min over a square window pixel by pixel, nothing beyond the border, int(side * ratio) pixels wide."""
    draw = torch.Generator().manual_seed(0)
    people = render(factors_from_z(torch.randn(2, Z_DIM, generator=draw)), 128)
    analysis = Analysis(people.parse, people.landmarks)
    terms = [each.term for group in (criterion.activate, criterion.suppress) for each in group.values()]
    regional = [term for term in terms if hasattr(term, "shape")]
    for term in regional:
        kind, (labels, morphology, ratio) = what(term)
        for parse, found in zip(people.parse, term.where(analysis), strict=True):
            expected = sum(parse == label for label in labels)
            if morphology is not None:
                expected = reference.square_morphology(expected, max(1, int(128 * ratio)), morphology == "dilate")
            assert torch.equal(found.long(), 1 - expected if "outside" in kind else expected)
    assert regional


def test_presets_with_landmarks_ask_fan_for_means_under_whole_maps(preset, compose):
    """As published; the presets of the same names that aren't read it near its peaks."""
    cfg = compose(f"criterion=paper/{preset}", "faces=pretrained")
    terms = OmegaConf.to_yaml(cfg.criterion)
    assert cfg.faces.whole_maps == ("Landmarks" in terms or "WarpedPixels" in terms)
    assert compose(f"criterion={preset}", "faces=pretrained").faces.whole_maps is False
