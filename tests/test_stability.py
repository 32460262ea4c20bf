from typing import NamedTuple

import pytest
import torch

from ice_lightning.stability import halvings, odd_people, stability


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
    assert figure["largest"] == pytest.approx(0, abs=1e-6)
    assert figure["people_per_half"] == 3


def test_angles_are_those_between_the_halves():
    turned = EYE[:, :2].clone()
    turned[:, 1] = EYE[:, 1] * 0.5 + EYE[:, 2] * 0.75**0.5  # by 60 degrees
    groups = [Some(2, EYE[:, :2]), *(Some(2, turned) for _ in range(3))]
    figure = stability(groups, first)
    assert figure["angles"] == pytest.approx([0, 60], abs=1e-6)
    assert figure["interval"] == pytest.approx([60, 60])
    # Where only two of the three halvings differ, the interval says so.
    groups[2] = Some(2, EYE[:, :2])
    assert stability(groups, lambda half: half[0].basis if len(half) else None)["interval"][1] == pytest.approx(60)


def test_fewer_groups_give_none():
    assert stability([Some(4, EYE)] * 3, first) is None


def test_an_odd_person_is_named():
    energies = {i: 1 + 0.01 * (i % 5) for i in range(20)}
    assert odd_people(energies) == []
    assert odd_people(energies | {7: 3.0, 11: 0.2}) == [7, 11]
    assert odd_people({}) == []
