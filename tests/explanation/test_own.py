"""Explanations in which everyone moves along directions of their own, straight or held."""

import json
import logging
from dataclasses import replace

import pytest
import torch
from omegaconf import DictConfig
from safetensors import safe_open

from ice_lightning import discover, explain
from ice_lightning.checks import IceError
from ice_lightning.classifiers import embedded_classifier
from ice_lightning.counterfactuals.bases import named_basis
from ice_lightning.discovery.local import LocalDirections, find_local
from ice_lightning.explanation import ControlSettings, load_explained
from ice_lightning.explanation.module import Explainer
from ice_lightning.explanation.outcomes import Own
from ice_lightning.explanation.own import OwnDirections, bases_of
from ice_lightning.explanation.rows import FILE, Header, finished, write
from ice_lightning.latents import SavedLatents
from ice_lightning.population import geometry, layer_covariances, moving_layers, radius
from ice_lightning.run import run
from ice_lightning.subspace import Subspace
from ice_lightning.tasks.build import build_criterion, local_problem_of

NOTHING = ControlSettings(subspaces=0, weights=False, unrestricted=False)
NONE = "explain.controls={subspaces: 0, weights: false, unrestricted: false}"
TERM = "ice_lightning.criterions.RegionColor"


def colour(*regions):
    return {"term": {"_target_": TERM, "regions": list(regions), "size": 32}}


HAIR = {
    "name": "hair", "description": "The colour of the hair", "projection": "soft", "late": [], "activate_ratio": 1e-2,
    "rank": None, "layers": None, "activate": {"color": colour("hair")},
    "suppress": {name: {"ratio": 1e-2, **colour(*regions)} for name, regions in
                 {"skin": ("skin", "nose"), "background": ("background",), "cloth": ("cloth",)}.items()},
}  # fmt: skip
"""A preset in small: five people of `smiling_biased`, four of whom flip."""


@pytest.fixture(autouse=True)
def in_small(few_pairs):
    """See there."""


@pytest.fixture(scope="module")
def criterion(faces):
    return build_criterion(DictConfig(HAIR), faces, 64)


@pytest.fixture(scope="module")
def found(small_generator, faces, criterion):
    """The subspace of two people in w, as a file has it."""
    S = discover(small_generator, criterion, 2, space="w", faces=faces)
    config = S.provenance["config"] | {"criterion": HAIR}
    return Subspace(S.directions, S.eigenvalues, "w", S.provenance | {"config": config}, S.charges)


@pytest.fixture
def settings(compose, small, found, tmp_path):
    """Of five people on the command line, before overrides."""
    place = found.save(tmp_path / "hair" / "subspace.safetensors").parent
    return "task=explain", "classifier=smiling_biased", small(64), f"subspace={place}", "explain.people=5", NONE


@pytest.fixture(scope="module")
def explained(small_generator, faces, found, few_read):
    """Held from Python."""
    with few_read():
        return explain(small_generator, "smiling_biased", found, 5, controls=NOTHING, faces=faces, held=True)


@pytest.fixture(scope="module")
def local(small_generator, faces, criterion, found):
    return local_problem_of(found, small_generator, faces, criterion)


@pytest.fixture(scope="module")
def metric(small_generator, found):
    moving = moving_layers(found.directions, small_generator.widths("w"))
    return geometry(layer_covariances(small_generator, "w"), moving)


def test_bases_are_orthonormal_for_each_person_and_who_has_none_has_the_averages(
    small_generator, found, local, metric, explained
):
    u = small_generator.people(3, 1_000_000, "w")
    own = find_local(local, u, 2)
    V = own.directions.clone()
    V[1, :, 1] = 0  # has one direction less
    columns = vars(own) | {"directions": V, "own": torch.tensor([True, True, False])}
    average = named_basis(found.directions, metric)
    basis = bases_of(LocalDirections(**columns), average, metric).to(u)
    t = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    steps = basis.displace(torch.zeros_like(u), t)
    lengths = metric.length(steps.double()).float()
    torch.testing.assert_close(lengths[[0, 2]], t.norm(dim=1)[[0, 2]])
    torch.testing.assert_close(lengths[1], t[1, 0].abs())
    assert torch.equal(steps[2:], average.to(u).displace(torch.zeros_like(u[2:]), t[2:]))
    both = torch.cat([V[0], basis.people[0].columns], 1).double()
    assert torch.linalg.matrix_rank(both, rtol=1e-4) == 2


def test_own_directions_flip_more_and_are_told(explained, small_generator, found, faces):
    average = explain(small_generator, "smiling_biased", found, 5, controls=NOTHING, faces=faces, local=False)
    own = explained.explained.rows
    assert (own.named.flipped >= average.explained.rows.named.flipped).all()
    assert own.named.flipped.sum() > average.explained.rows.named.flipped.sum()
    told = explained.summary.to_json()["own_directions"]
    assert (told["people"], told["without"]) == (5, [])
    assert told["agreement"] > 0.9
    assert "Everyone moves along directions of their own." in explained.sentence
    assert average.explained.rows.own is None
    assert "own_directions" not in average.summary.to_json()


def test_held_flips_still_flip_within_the_ball_and_move_less_of_what_is_suppressed(
    explained, small_generator, local, metric
):
    rows = explained.explained.rows
    flipped, moves = rows.named.flipped, rows.moves
    replaced = (rows.named.effort - rows.holding.straight).abs() > 1e-4
    assert replaced.any()
    assert rows.holding.found[replaced].all()
    score = embedded_classifier("smiling_biased")(small_generator(moves.end, "w").clamp(0, 1))
    assert torch.equal((score >= 0) != (rows.before >= 0), flipped)
    torch.testing.assert_close(score[flipped], moves.after[flipped], atol=1e-3, rtol=1e-3)
    far = metric.length((moves.end - moves.u).double()).float()
    torch.testing.assert_close(far, rows.named.effort, atol=1e-4, rtol=1e-3)
    assert (far <= radius(2) + 1e-4).all()
    own = find_local(local, moves.u, 2)
    for i in replaced.nonzero()[:, 0].tolist():
        u = moves.u[i : i + 1]
        features = local.look_at(u)
        straight = u + own.directions[i] @ torch.linalg.lstsq(own.directions[i], step_of(own, metric, i, moves.t[i]))[0]
        base, one, other = (
            features(local.coordinates.start(u) + local.coordinates.coordinates_of((v - u).T)[:, 0])
            for v in (u, straight, moves.end[i : i + 1])
        )
        charged = [
            sum(local.average.charges[k] * float((part[k] - base[k]).square().sum()) for k in local.problem.suppressed)
            for part in (one, other)
        ]
        assert charged[1] < charged[0]
    assert explained.summary.held.of == int(flipped.sum())


def step_of(own, metric, i, t):
    """The straight move of person i, (n,)."""
    return named_basis(own.directions[i], metric).columns.float() @ t


def test_batches_do_not_matter_nor_does_it_who_asks(compose, settings, explained):
    """Two at a time on the command line, all at once from Python."""
    more = ("held=true", "explain.oracles=[]", "explain.keep_directions=true", "explain.batch=2")
    rows = load_explained(run(compose(*settings, *more)).folder).rows
    columns = rows.to_tensors()
    kept = columns.pop("own_directions")
    assert (kept.shape, kept.dtype) == ((5, 96, 2), torch.float16)
    assert kept.any(1).all()
    python = explained.explained.rows.to_tensors()
    assert python.keys() == columns.keys()
    for name, column in python.items():
        assert torch.equal(column.nan_to_num(9.0), columns[name].nan_to_num(9.0)), name


def test_a_run_goes_on_where_it_stopped_with_the_same_settings_alone(compose, settings, tmp_path, monkeypatch):
    once = run(compose(*settings, "explain.batch=2", f"run_dir={tmp_path}/once"))
    search, asked = Explainer.explain, []

    def dies(module, numbers, U):
        asked.append(list(numbers))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return search(module, numbers, U)

    monkeypatch.setattr(Explainer, "explain", dies)
    given = (*settings, "explain.batch=2", f"run_dir={tmp_path}/twice")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(compose(*given))
    for other, told in (("local=false", "local: False"), ("held=true", "held: True")):
        with pytest.raises(IceError, match=rf"the same settings \({told}\)"):
            run(compose(*given, other))
    again = run(compose(*given))
    assert asked == [[0, 1], [2, 3], [2, 3], [4]]
    assert again.metrics["measured"] == once.metrics["measured"]
    assert again.metrics["own_directions"] == once.metrics["own_directions"]
    one, two = (load_explained(tmp_path / name).rows.to_tensors() for name in ("once", "twice"))
    assert all(torch.equal(one[name].nan_to_num(9.0), two[name].nan_to_num(9.0)) for name in one)


def test_one_broken_person_is_named_and_nobody_else_differs(compose, settings, small_generator, tmp_path, explained):
    u = small_generator.people(5, 1_000_000, "w")[:3]
    u[1] = torch.nan
    SavedLatents(u, "w", small_generator.fingerprint, ("a", "b", "c")).save(tmp_path / "latents.safetensors")
    found = run(compose(*settings, f"explain.latents={tmp_path}/latents.safetensors", "explain.batch=1"))
    assert found.metrics["without_a_finite_score"] == [1]
    assert (found.metrics["own_directions"]["people"], found.metrics["own_directions"]["without"]) == (2, [])
    rows = load_explained(found.folder).rows
    assert torch.equal(rows.moves.t[[0, 2]], explained.explained.rows.moves.t[[0, 2]])
    assert rows.moves.t[1].isnan().all()


def test_who_lacks_what_is_looked_at_moves_along_the_average(small_generator, found, faces, monkeypatch, caplog):
    """A term that finds nothing in people with odd seeds."""
    criterion = build_criterion(DictConfig(HAIR), faces, 64)
    term, u = criterion.activate["color"].term, small_generator.people(2, 1_000_000, "w")
    lacking = faces.analyse(small_generator(u[1:], "w"))[0]
    empty = term.empty

    def sometimes(analysis):
        return empty(analysis) | (analysis.parse == lacking).all((1, 2))

    monkeypatch.setattr(term, "empty", sometimes)
    given = {"controls": NOTHING, "faces": faces, "criterion": criterion, "held": True}
    E = explain(small_generator, "smiling_biased", found, 2, **given)
    assert f"having none of their own: 1 for want of {term.label}" in caplog.text
    average = explain(small_generator, "smiling_biased", found, 2, **(given | {"local": False, "held": False}))
    one, other = E.explained.rows, average.explained.rows
    assert one.own.found.tolist() == [True, False]
    assert E.summary.own.without == (1,)
    assert "1 of 2 people move along directions of their own, the others (1) the average's." in E.sentence
    assert torch.equal(one.moves.t[1], other.moves.t[1])
    assert torch.equal(one.moves.end[1], other.moves.end[1])


def test_a_subspace_of_other_means_moves_everyone_along_it_and_says_so(
    compose, settings, small_generator, found, faces, tmp_path, caplog
):
    bare = replace(found, charges=None)
    place = bare.save(tmp_path / "bare" / "subspace.safetensors").parent
    few = (*settings, f"subspace={place}", "explain.people=2")
    told = "everyone moves along the average's directions: expected a subspace with what its search has left"
    rows = load_explained(run(compose(*few)).folder).rows
    assert [told in message for message in caplog.messages].count(True) == 1
    assert rows.own is None
    caplog.clear()
    again = load_explained(run(compose(*few, "local=false", f"run_dir={tmp_path}/average")).folder).rows
    assert torch.equal(rows.moves.t, again.moves.t)
    assert not any("average" in message for message in caplog.messages)
    given = {"controls": NOTHING, "faces": faces, "people": 1}
    for more in ({"local": True}, {"held": True}):
        with pytest.raises(IceError, match="expected a subspace with what its search has left for single people"):
            explain(small_generator, "smiling_biased", bare, **given, **more)
    with pytest.raises(IceError, match="own directions, which moves are held along, got local=false with held=true"):
        explain(small_generator, "smiling_biased", found, **given, local=False, held=True)
    with pytest.raises(IceError, match="local as true or false"):
        explain(small_generator, "smiling_biased", found, **given, local="yes")


def test_its_time_is_told_before(small_generator, found, faces, caplog):
    with caplog.at_level(logging.INFO, "ice_lightning"):
        explain(small_generator, "smiling_biased", found, 2, controls=NOTHING, faces=faces)
    assert [m for m in caplog.messages if m.startswith("people's own directions take about ")] == caplog.messages
    assert caplog.messages[0].endswith(" s for 2 people")


def test_controls_have_as_many_dimensions_as_people_can_have(explained, local, found):
    """Two directions on average, and three features: nobody can have four."""
    assert local.most(8) == found.directions.shape[1] == 2
    assert explained.explained.directions == explained.settings.dimension == 2
    assert local.problem.sizes[0] == 3
    wide = replace(local.average, X=torch.eye(96)[:, :7])
    assert replace(local, average=wide).most(8) == 3


def test_many_without_directions_are_named_in_part():
    own = Own(torch.zeros(12, dtype=torch.bool), torch.full((12,), torch.nan), torch.full((12, 2), torch.nan))
    told = OwnDirections.of(own, torch.arange(12))
    assert told.sentence.startswith("0 of 12 people move along directions of their own, the others (0, 1, 2,")
    assert "9, ...)" in told.sentence
    assert json.loads(json.dumps(told.to_json()))["residual"] is None


def test_earlier_rows_are_judged_but_no_search_goes_on_from_them(explained, tmp_path):
    """Version 2 lacks where counterfactuals are."""
    rows = explained.explained.rows
    header = Header("c", "hair", 2, (), {})
    write(tmp_path / FILE, rows, header)
    assert sorted(finished(tmp_path, {})) == [0, 1, 2, 3, 4]
    columns = rows.to_tensors()
    del columns["end"]
    from safetensors.torch import save_file

    save_file(columns, tmp_path / FILE, {"explanation": json.dumps(header.to_json() | {"rows": 2})})
    assert load_explained(tmp_path).rows.moves is None
    assert torch.equal(load_explained(tmp_path).rows.named.flipped, rows.named.flipped)
    with pytest.raises(IceError, match="rows of version 3, got version 2, which lacks where counterfactuals are, at"):
        finished(tmp_path, {})
    with safe_open(tmp_path / FILE, "pt") as file:
        assert "end" not in file.keys()  # noqa: SIM118 (not a dict)
