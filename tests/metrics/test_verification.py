"""verification.py: the equal error rate, by hand and on drawn people."""

import math

import pytest
import torch

from ice_lightning.metrics import verification
from ice_lightning.metrics.verification import equal_error, retaken
from ice_lightning.synthetic import FACTORS, Z_DIM, factor_index


def cosines(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_kinds_that_lie_apart_are_divided_halfway():
    assert equal_error(cosines(0.9, 0.8, 0.95), cosines(0.1, 0.6, -0.2)) == (pytest.approx(0.7), 0.0)


def test_as_many_of_the_same_are_refused_as_of_the_different_accepted():
    """One of four either way between 0.5 and 0.6."""
    threshold, error = equal_error(cosines(0.5, 0.7, 0.8, 0.9), cosines(0.1, 0.2, 0.3, 0.6))
    assert (threshold, error) == (pytest.approx(0.55), pytest.approx(0.25))


def test_normal_cosines_have_the_equal_error_of_their_distance():
    """Deviations 1, means 2 d apart: Phi(-d) halfway."""
    draw = torch.Generator().manual_seed(0)
    impostor = torch.randn(20_000, dtype=torch.float64, generator=draw)
    threshold, error = equal_error(torch.randn(5_000, dtype=torch.float64, generator=draw) + 3, impostor)
    assert threshold == pytest.approx(1.5, abs=0.05)
    assert error == pytest.approx(0.5 * math.erfc(1.5 / math.sqrt(2)), abs=0.005)


def test_nobody_has_no_threshold():
    assert all(map(math.isnan, equal_error(cosines(0.5), cosines())))


@pytest.fixture(scope="module")
def people(generator):
    with torch.no_grad():
        return generator(generator.sample(64, 5_000), "z").clamp(0, 1)


def test_the_embedded_network_tells_the_embedded_people_apart(people, faces):
    """At 0.5, which isn't its threshold, it takes 8 % of different people for the same one."""
    found = verification.verification(faces.identity, people.split(16))
    assert 0.75 < found.threshold < 0.9
    assert found.error < 0.02
    with torch.no_grad():
        e = faces.identity(people)
    different = (e @ e.T)[torch.ones(64, 64, dtype=torch.bool).triu(1)]
    assert (different > 0.5).float().mean() > 0.05
    assert (different > found.threshold).float().mean() < 0.02


PASSING = "yaw pitch roll light_direction smile mouth_openness eye_openness gaze_x gaze_y brow_height brow_angle"


def test_who_comes_again_with_another_pose_and_light_is_the_same(people, faces, generator):
    """Harder pairs than those of which the threshold is made: factors of the portraits that leave the person."""
    z = generator.sample(64, 5_000)
    passing = [*map(factor_index, PASSING.split()), *range(len(FACTORS), Z_DIM)]
    z[:, passing] = torch.randn(64, len(passing), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        again = faces.identity(generator(z, "z").clamp(0, 1))
        cosine = (faces.identity(people) * again).sum(1)
    assert (cosine > verification.verification(faces.identity, [people]).threshold).float().mean() >= 0.95


def test_a_picture_without_an_embedding_counts_for_nothing(people, faces):
    def blind(x):
        e = faces.identity(x)
        return torch.where((x.mean((1, 2, 3)) == people[7].mean())[:, None], torch.nan, e)

    others = torch.cat([people[:7], people[8:]])
    assert verification.verification(blind, [people]) == verification.verification(faces.identity, [others])


def test_it_depends_on_no_division_into_parts(people, faces):
    one, other = (verification.verification(faces.identity, people.split(size)) for size in (16, 5))
    assert one == pytest.approx(other, abs=1.01e-4)


def test_a_network_that_compares_light_has_no_threshold(people):
    """Which it would say are the same depends on the light of the picture."""

    def brightness(image):
        angle = 3 * image.mean((1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], 1)

    assert verification.verification(brightness, [people]).error > verification.WORST


def test_pictures_taken_again_are_pictures(people):
    for again in retaken(people[:4]):
        assert again.shape == people[:4].shape
        assert torch.equal(again, again.clamp(0, 1))
        assert (again - people[:4]).abs().mean() > 0.01
