"""People's own directions on a small generator: who has them, who doesn't, and that nobody depends on the others."""

from dataclasses import replace

import pytest
import torch

from ice_lightning import discover
from ice_lightning.checks import IceError, Mismatch
from ice_lightning.criterions import Activate, Criterion, RegionColor, RegionPixels, Suppress
from ice_lightning.discovery.local import LocalProblem, average_of, find_local
from ice_lightning.subspace import Subspace, load_subspace

K = 2


def criterion():
    kept = {"rest": Suppress(RegionPixels(["skin"], size=16, outside=True), 1e-2)}
    return Criterion("skin", "skin", {"color": Activate(RegionColor(["skin"], size=16))}, kept, "soft")


@pytest.fixture(scope="module")
def G(small_generator):
    return small_generator


@pytest.fixture(scope="module")
def found(G, faces):
    return discover(G, criterion(), people=3, space="w", faces=faces)


@pytest.fixture(scope="module")
def local(G, faces, found):
    return LocalProblem.of(G, faces, criterion(), found, None)


@pytest.fixture(scope="module")
def people(G):
    return G.people(3, 50, "w")


@pytest.fixture(scope="module")
def everyone(local, people):
    return find_local(local, people, K)


def test_everyone_has_directions_of_their_own_of_length_one(local, everyone):
    assert everyone.own.all()
    assert everyone.why == ("", "", "")
    lengths = local.coordinates.geometry.length(everyone.directions.transpose(1, 2).reshape(-1, 96).double())
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4)
    assert not torch.allclose(everyone.directions[0], everyone.directions[1])


def test_own_directions_are_cleaner_than_the_average_ones_at_the_person(local, everyone, found, people):
    def charged(u, v):
        features = local.look_at(u)
        J = features.jacobian()
        a, s = J.split(J.matmat(v[:, None].float()))
        charge = local.average.charges[1]
        return float(a.square().sum()) / (1 + charge * float(s.square().sum()))

    for i, u in enumerate(people.split(1)):
        own, average = (
            charged(u, local.coordinates.coordinates_of(V[:, :1].double())[:, 0])
            for V in (everyone.directions[i], found.directions)
        )
        assert own >= 0.99 * average


def test_nobody_depends_on_who_else_is_searched(local, people, everyone):
    alone = find_local(local, people[1:2], K)
    assert torch.equal(alone.directions[0], everyone.directions[1])
    turned = find_local(local, people.flip(0), K)
    assert torch.equal(turned.directions.flip(0), everyone.directions)
    assert torch.equal(everyone.select([2, 0]).directions, everyone.directions[[2, 0]])


def test_someone_who_can_not_be_looked_at_has_the_average_directions_and_a_reason(local, people, found):
    people = people.clone()
    people[1] = torch.nan
    some = find_local(local, people, K)
    assert some.own.tolist() == [True, False, True]
    assert some.why == ("", "a finite image", "")
    assert torch.allclose(some.directions[1], found.directions[:, :K].float(), atol=1e-5)


def test_where_what_is_changed_is_kept_still_nobody_has_a_clean_direction(G, faces, people):
    color = RegionColor(["skin"], size=16)
    nothing = Criterion("none", "", {"color": Activate(color)}, {"same": Suppress(color, 1e-3)}, "soft")
    found = discover(G, nothing, people=2, space="w", faces=faces)
    some = find_local(LocalProblem.of(G, faces, nothing, found, None), people[:1], K)
    assert some.directions.isfinite().all()
    assert (some.clean < 1.5).all()


def test_relaxed_ratios_charge_a_single_person_less_and_the_average_search_the_same(G, faces, found, people, everyone):
    """By hand: a ratio a hundred times as large charges a hundredth, so that the pencil's values can only grow.

    What a person is charged for the average's sake stays.
    """
    relaxed = replace(criterion(), local_relaxation=100)
    local, strict = (LocalProblem.of(G, faces, each, found, None) for each in (relaxed, criterion()))
    assert local.average.charges[1] == pytest.approx(strict.average.charges[1] / 100)
    assert torch.equal(local.average.M, strict.average.M)
    assert (find_local(local, people, 1).values >= everyone.values[:, :1]).all()
    again = discover(G, relaxed, people=3, space="w", faces=faces)
    assert torch.equal(again.directions, found.directions)


def test_a_relaxation_of_nothing_is_refused_in_a_sentence():
    with pytest.raises(IceError, match="local_relaxation as a number from 1 to 1e6, got 0: set it to 1 to ch"):
        replace(criterion(), local_relaxation=0)


def test_a_file_keeps_what_local_searches_need(tmp_path, local, found, people, everyone, G, faces):
    loaded = load_subspace(found.save(tmp_path / "subspace.safetensors"))
    again = find_local(LocalProblem.of(G, faces, criterion(), loaded, None), people[:1], K)
    cosines = torch.nn.functional.cosine_similarity(again.directions[0], everyone.directions[0], dim=0)
    assert (cosines > 0.98).all(), "though the preconditioner is kept in half precision"


def test_a_subspace_from_elsewhere_is_refused_in_a_sentence(found, local):
    plain = Subspace(found.directions, found.eigenvalues, "w", found.provenance)
    with pytest.raises(Mismatch, match=r"what its search has left for single people, got one without: .* local=fa"):
        average_of(plain, criterion(), local.coordinates)
    other = Criterion("skin", "skin", criterion().activate, {}, "soft")
    with pytest.raises(Mismatch, match="these suppressed terms: none, got one of rest and 96 coordinates"):
        average_of(found, other, local.coordinates)
