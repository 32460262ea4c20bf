from typing import NamedTuple

import pytest
import torch

from ice_lightning.metrics.subspace import outliers
from ice_lightning.solvers.stability import FIRST, halvings, stability


class Some(NamedTuple):
    people: int
    basis: torch.Tensor


EYE = torch.eye(6, dtype=torch.float64)


def first(half):
    return half[0].basis


def test_four_groups_make_three_pairs_of_disjoint_halves():
    pairs = halvings(["a", "b", "c", "d"])
    assert [sorted(one + other) for one, other in pairs] == [["a", "b", "c", "d"]] * 3
    assert len({tuple(sorted(map(tuple, map(sorted, pair)))) for pair in pairs}) == 3


def test_the_same_subspace_everywhere_is_steady():
    figure = stability([Some(i + 1, EYE[:, :2]) for i in range(4)], first)
    assert figure.angles == pytest.approx([0, 0], abs=1e-6)
    assert figure.people_per_half == 3


def test_angles_are_those_between_the_halves():
    turned = EYE[:, :2].clone()
    turned[:, 1] = EYE[:, 1] * 0.5 + EYE[:, 2] * 0.75**0.5  # by 60 degrees
    groups = [Some(2, EYE[:, :2]), *(Some(2, turned) for _ in range(3))]
    assert stability(groups, first).angles == pytest.approx([0, 60], abs=1e-6)


def test_angles_are_means_over_the_halvings():
    groups = [Some(2, EYE[:, :1]), Some(2, EYE[:, :1]), Some(2, EYE[:, 1:2]), Some(2, EYE[:, 1:2])]
    # A half is its last group here: at right angles in the first way to halve, alike in the two others.
    assert stability(groups, lambda half: half[-1].basis).angles == pytest.approx([30], abs=1e-6)


def test_only_the_first_angles_are_reported():
    assert len(stability([Some(1, EYE) for _ in range(4)], first).angles) == FIRST


def test_fewer_groups_give_none():
    assert stability([Some(4, EYE)] * 3, first) is None


def test_an_odd_person_is_named():
    energies = {i: 1 + 0.01 * (i % 5) for i in range(20)}
    assert outliers(energies) == []
    assert outliers(energies | {7: 3.0, 11: 0.2}) == [7, 11]
    assert outliers({}) == []
