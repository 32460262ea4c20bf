"""Clean flips on images that were changed by hand, so that it is known what moved."""

import pytest
import torch

from ice_lightning.criterions import Activate, Criterion, GazeAndPose, RegionColor
from ice_lightning.explanation.clean import LEAST, CleanCheck, CleanRates
from ice_lightning.explanation.outcomes import Clean
from ice_lightning.explanation.readings import NAMES, read
from ice_lightning.labels import REGIONS

HAIR = Criterion("hair", "", {"color": Activate(RegionColor(["hair"], size=32))})


@pytest.fixture(scope="module")
def people(small_generator):
    with torch.no_grad():
        return small_generator(small_generator.people(8, 0, "w"), "w").clamp(0, 1)


def checked(faces, people, *others):
    """A check whose latents are places among people and others, and the flips of person 0 to each of the others."""
    images = torch.cat([people, *others])

    def draw(v):
        return images[v[:, 0].long()]

    check = CleanCheck.of(draw, faces, HAIR, torch.arange(len(people))[:, None].float())
    ends = torch.arange(len(people), len(images))[:, None].float()
    flipped = torch.ones(len(others), dtype=torch.bool)
    return check, check(people[:1].expand(len(others), -1, -1, -1), ends, flipped)


def region(faces, image, name):
    return (faces.parser(image).argmax(1) == REGIONS.index(name))[:, None]


def test_what_lies_within_the_named_region_is_clean_and_what_lies_beside_it_is_not(faces, people):
    x = people[:1]
    hair, background = (region(faces, x, name) for name in ("hair", "background"))
    own = torch.where(hair, (x + 0.2).clamp(0, 1), x)
    beside = torch.where(background, (own + 0.3).clamp(0, 1), own)
    check, (clean, moved, excess) = checked(faces, people, own, beside)
    assert clean.tolist() == [True, False]
    assert moved[0] > 0.1
    assert excess[0].max() < LEAST
    place = NAMES.index("background colour")
    change = (beside - x)[background.expand(-1, 3, -1, -1)].view(3, -1).mean(1)
    assert float(excess[1, place]) == pytest.approx(float(change.norm() / check.deviations["background colour"]), 1e-3)


def test_who_does_not_flip_is_not_looked_at(faces, people):
    check, _ = checked(faces, people, people[1:2])
    clean, own, excess = check(people[:2], torch.tensor([[8.0], [8.0]]), torch.tensor([False, False]))
    assert not clean.any()
    assert own.isnan().all()
    assert excess.isnan().all()


def test_readings_have_their_names_and_another_person_differs_by_deviations(faces, people):
    parse = faces.analyse(people)[0]
    found = read(faces, people, parse)
    assert tuple(found) == NAMES
    assert found["glasses"].shape == (8, 1)
    check, (clean, _, excess) = checked(faces, people, people[1:2])
    assert not clean.any()
    assert excess.max() > 1
    assert check.deviations.keys() == found.keys()


def test_a_criterion_that_looks_everywhere_has_no_clean_flips(faces, people):
    criterion = Criterion("pose", "", {"pose": Activate(GazeAndPose(faces.landmarks))})
    assert CleanCheck.of(lambda v: people, faces, criterion, torch.zeros(8, 1)) is None


def test_rates_are_shares_of_people():
    yes = torch.tensor([True, True, False, False])
    excess = torch.tensor([[0.0, 0.1], [0.3, 0.4], [torch.nan, torch.nan], [0.0, 0.2]])
    random = torch.tensor([[True, False], [False, False], [True, True], [False, False]])
    clean = Clean(yes, torch.tensor([1.0, 2.0, torch.nan, 3.0]), excess, None, ~yes, random)
    rates = CleanRates.of(clean, torch.tensor([True, True, False, True]), torch.tensor([True, True, False, False]))
    assert (rates.named.rate, rates.random, rates.controls["unrestricted"].rate) == (0.5, 0.25, 0.5)
    assert (rates.own, rates.excess, rates.reading) == (2.0, pytest.approx(0.2), NAMES[1])
    nobody = CleanRates.of(clean, torch.zeros(4, dtype=torch.bool), None)
    assert (nobody.random, nobody.own, nobody.reading) == (None, None, None)
