"""Explanations from end to end, on a small subspace of w."""

import json
from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf
from processes import command
from torch import nn

from ice_lightning.checkpoints import ASSETS
from ice_lightning.checks import IceError
from ice_lightning.classifiers import embedded_classifier
from ice_lightning.counterfactuals.bases import named_basis, random_bases
from ice_lightning.explanation import module as explanation
from ice_lightning.explanation.module import Explainer
from ice_lightning.explanation.rows import load_explained
from ice_lightning.modules.classifier import Classifier, Scored
from ice_lightning.modules.generator import GeneratorAdapter
from ice_lightning.population import geometry, layer_covariances, radius
from ice_lightning.run import run
from ice_lightning.subspace import Subspace, load_subspace
from ice_lightning.tasks.build import oracles_from
from ice_lightning.tasks.settings import people_of

RANDOM = "explain.controls={subspaces: 3, people: 4, weights: false, unrestricted: false}"
TWO = "explain.controls={subspaces: 2, people: 3, weights: false, unrestricted: false}"
NONE = "explain.controls={subspaces: 0, weights: false, unrestricted: false}"
SMILING = f"{{_target_: ice_lightning.classifiers.load_classifier, name: mine, path: {ASSETS / 'smiling.safetensors'}"
NET = "network: {_target_: ice_lightning.modules.classifier.Classifier}}"
EMBEDDED = ("task=explain", "classifier=smiling")
FIVE = ("explain.people=5", "explain.batch=2", RANDOM)
FEW = ("explain.people=3", NONE)


def lips(G, compose, folder):
    """Four directions of w along which people differ, as a discovery would leave them: its folder."""
    basis = random_bases(geometry(layer_covariances(G, "w")), 4, 1, seed=7)[0].columns
    config = OmegaConf.to_container(compose("criterion=lip_color"), resolve=True)
    provenance = {"criterion": "lip_color", "generator": "embedded", "config": config}
    provenance["generator_sha256"] = G.fingerprint
    return Subspace(basis, torch.ones(4), "w", provenance).save(folder / "lips" / "subspace.safetensors").parent


@pytest.fixture
def embedded_subspace(compose, generator, tmp_path):
    """Of the embedded generator, on whose portraits alone there are oracles."""
    return lips(generator, compose, tmp_path)


@pytest.fixture
def subspace(compose, small_generator, tmp_path):
    """Of the small one."""
    return lips(small_generator, compose, tmp_path)


@pytest.fixture(autouse=True)
def in_small(request):
    """But where another process is compared with, which can't be told."""
    if "two_processes" not in request.node.name:
        request.getfixturevalue("few_pairs")


@pytest.fixture(scope="module")
def biased(small):
    """Of the first five people two flip."""
    return "task=explain", "classifier=smiling_biased", small(64)


def test_an_explanation_leaves_what_it_promises(compose, embedded_subspace, tmp_path):
    few = ("explain.people=4", "explain.batch=2", "explain.controls.subspaces=10")
    result = run(compose(*EMBEDDED, *few, f"subspace={embedded_subspace}"))
    folder, metrics = tmp_path / "run", result.metrics
    assert sorted(p.name for p in folder.iterdir()) == [
        "counterfactuals.png", "counterfactuals.safetensors", "metrics.json", "report.html",
    ]  # fmt: skip
    rows = load_explained(folder).rows
    flipped = rows.named.flipped
    assert metrics["of"] == 4
    assert metrics["flip_rate"] == pytest.approx(float(flipped.double().mean()))
    assert flipped.any()
    assert metrics["effort"] == pytest.approx(float(rows.named.effort[flipped].double().quantile(0.5)))
    assert set(metrics["controls"]) == {"weights", "unrestricted"}
    rows = load_explained(folder).rows
    assert (rows.unrestricted.flipped >= rows.named.flipped).all(), "an upper bound"
    both = rows.named.flipped
    assert (rows.unrestricted.effort[both] <= rows.named.effort[both] * (1 + 1e-4)).all()
    assert rows.random.flipped.shape == (4, 10)
    assert rows.random.change.isfinite().equal(rows.random.flipped), "every raw flip has its change"
    assert metrics["random"]["people"] == 4
    measured = "flip_rate image_l1 image_l2 image_linf locality mnac cd cout identity_cosine fva fid sfid"
    assert set(metrics["measured"]) == set(measured.split())
    assert {"threshold", "equal_error_rate"} <= set(metrics["measured"]["fva"])
    assert load_explained(folder).slices == ("narrow_eyes", "glasses"), "without the explained one"
    assert "Within 4 directions of lip color" in result.message


def test_counterfactuals_change_the_decision(compose, biased, subspace, small_generator, tmp_path):
    result, generator = run(compose(*biased, *FIVE[:-1], f"subspace={subspace}", NONE)), small_generator
    rows = load_explained(tmp_path / "run").rows
    metric = geometry(layer_covariances(generator, "w"))
    basis = named_basis(result.subspace.directions, metric).to(rows.moves.u)
    torch.testing.assert_close(rows.moves.u, generator.people(5, 1_000_000, "w"))
    assert rows.named.flipped.sum() == 2
    classifier = embedded_classifier("smiling_biased")
    moved = basis.displace(rows.moves.u, rows.moves.t)
    for expected, u in ((rows.before, rows.moves.u), (rows.moves.after, moved)):
        score = classifier(generator(u, "w").clamp(0, 1))
        torch.testing.assert_close(score, expected, atol=1e-3, rtol=1e-3)
    signs = (rows.before >= 0) != (rows.moves.after >= 0)
    assert torch.equal(signs, rows.named.flipped)
    effort = metric.length((moved - rows.moves.u).double())
    torch.testing.assert_close(effort.float(), rows.named.effort, atol=1e-4, rtol=1e-3)
    assert (effort <= radius(4) + 1e-4).all()


def test_two_processes_find_and_measure_the_same(compose, biased, subspace, tmp_path):
    oracle = f"explain.oracles=[{SMILING.replace('smiling', 'glasses')},{NET}]"
    some = (*biased, "explain.people=3", "explain.batch=1", TWO, oracle, f"subspace={subspace}")
    one = run(compose(*some)).metrics
    assert {"cd", "cout"} <= set(one["measured"])
    done = command(*some, "logger=none", "trainer=ddp_cpu", f"hydra.run.dir={tmp_path}/two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert two["flip_rate"] == one["flip_rate"]
    for name, each in one["measured"].items():
        assert two["measured"][name]["of"] == each["of"]
        assert two["measured"][name]["value"] == pytest.approx(each["value"], rel=1e-6, abs=1e-6, nan_ok=True)


def test_people_who_are_done_are_not_searched_again(compose, biased, subspace, tmp_path, monkeypatch):
    settings = (*biased, "explain.people=3", "explain.batch=1", NONE, f"subspace={subspace}")
    once = run(compose(*settings, f"run_dir={tmp_path}/once"))
    explain, asked = Explainer.explain, []

    def dies(module, numbers, U):
        asked.append(list(numbers))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return explain(module, numbers, U)

    monkeypatch.setattr(Explainer, "explain", dies)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(compose(*settings, f"run_dir={tmp_path}/twice"))
    with pytest.raises(IceError, match=r"the same settings \(counterfactual.bound: 2.0\), got people found with None"):
        run(compose(*settings, "counterfactual.bound=2.0", f"run_dir={tmp_path}/twice"))
    again = run(compose(*settings, f"run_dir={tmp_path}/twice"))
    assert asked == [[0], [1], [2], [2]]
    assert not (tmp_path / "twice" / "people").exists()
    assert again.metrics["measured"] == once.metrics["measured"]
    run(compose(*settings, f"run_dir={tmp_path}/twice"))
    assert len(asked) == 4, "a finished run is read"


def test_a_subspace_of_another_generator_is_refused(compose, biased, subspace):
    from ice_lightning.subspace import load_subspace

    S = load_subspace(subspace)
    Subspace(S.directions, S.eigenvalues, "w", S.provenance | {"generator_sha256": "0" * 64}).save(
        subspace / "subspace.safetensors"
    )
    with pytest.raises(IceError, match=r"a subspace of this generator \(.*\), got one of embedded \(000000000000\)"):
        run(compose(*biased, *FIVE, f"subspace={subspace}"))


class Sometimes(nn.Module):
    """Sees nothing on a bright background."""

    def forward(self, image):
        top, lower = image[:, :, :2].mean((1, 2, 3)), image[:, 0, image.shape[2] // 2 :].mean((1, 2))
        return torch.where(top > 0.65, torch.nan, lower - 0.5)


class Constant(nn.Module):
    def forward(self, image):
        return 0 * image.sum((1, 2, 3)) + 1


def test_people_without_a_score_are_left_out_and_named(compose, biased, subspace):
    mine = ("~classifier.name", f"classifier._target_={__name__}.Sometimes")
    metrics = run(compose(*biased, *FIVE, *mine, f"subspace={subspace}")).metrics
    unknown = metrics["without_a_finite_score"]
    assert unknown
    assert metrics["of"] == 5 - len(unknown)


@pytest.mark.parametrize(
    "more,told",
    [
        (["explain.people=0"], "explain.people as a whole number of at least 1, got 0"),
        (["explain.controls.subspaces=-1"], "explain.controls.subspaces as a whole number of at least 0, got -1"),
        (["~classifier.name", f"classifier._target_={__name__}.Constant"], "changes with the image, got a constant"),
        (["counterfactual.bound=0"], "counterfactual.bound as a number above 0, or null"),
    ],
)
def test_bad_settings_are_told(compose, biased, subspace, more, told):
    from ice_lightning.tasks.errors import sentence

    with pytest.raises(Exception) as raised:  # Hydra wraps what a constructor raises
        run(compose(*biased, f"subspace={subspace}", "explain.people=2", *more))
    assert told.split(".*")[0] in sentence(raised.value)


@pytest.mark.parametrize(
    "classifier,name,oracles,kept",
    [
        ("smiling", "smiling", "[smiling,narrow_eyes,glasses]", ["narrow_eyes", "glasses"]),
        ("smiling_biased", "smiling_biased", "[smiling,glasses]", ["smiling", "glasses"]),
        ("smiling", "renamed", f"[smiling,{SMILING},{NET},glasses]", ["glasses"]),  # by its weights
        ("glasses", "glasses", f"[{SMILING},{NET}]", ["mine"]),
        ("glasses", "mine", f"[{SMILING},{NET},smiling]", ["smiling"]),  # by its name
        ("smiling", "smiling", "[]", []),
    ],
)
def test_the_explained_classifier_is_no_oracle(compose, generator, classifier, name, oracles, kept):
    settings = f"classifier={classifier}", f"classifier.name={name}", f"explain.oracles={oracles}"
    assert list(oracles_from(compose("task=explain", *settings), generator, embedded_classifier(classifier))) == kept


def test_other_generators_have_no_oracles_but_those_that_are_set(compose, caplog):
    """The embedded ones have never seen such pictures."""
    from toys import Toy

    settings = f"explain.oracles=[narrow_eyes,{SMILING},{NET},glasses]"
    cfg = compose("task=explain", "classifier=smiling_biased", settings)
    found = oracles_from(cfg, GeneratorAdapter(Toy(), "toy"), embedded_classifier("smiling_biased"))
    assert list(found) == ["mine"]
    assert isinstance(found["mine"], Scored)
    assert isinstance(found["mine"].network, Classifier)
    told = (
        "narrow_eyes, glasses left out of explain.oracles: they have only seen the portraits of the embedded generator"
    )
    assert caplog.messages == [told]


@pytest.mark.parametrize(
    "oracles,told",
    [
        ("[3]", "classifiers as explain.oracles, got 3"),
        ("null", "classifiers as explain.oracles, got None"),
        (f"[{SMILING},{NET},{SMILING},{NET}]", "an oracle of each name once, got 'mine' twice"),
    ],
)
def test_oracles_that_are_none_are_told(compose, generator, oracles, told):
    cfg = compose("task=explain", "classifier=glasses", f"explain.oracles={oracles}")
    with pytest.raises(IceError, match=told):
        oracles_from(cfg, generator, embedded_classifier("glasses"))


def test_the_convention_of_ace_is_said_and_counted(compose, embedded_subspace):
    settings = ("classifier=smiling_biased", "metrics.convention=ace", "metrics.query=smiling")
    some = (*EMBEDDED, *FEW, f"subspace={embedded_subspace}")
    metrics = run(compose(*some, *settings)).metrics
    measured = metrics["measured"]
    two = {name for name, each in measured.items() if each.get("convention") == "ace"}
    assert two == {"mnac", "cd", "cout", "fva", "fid", "sfid"}
    assert measured["fva"]["threshold"] == 0.5
    assert measured["cout"]["of"] == 3 >= measured["mnac"]["of"]
    with pytest.raises(IceError, match=r"metrics\.convention as one of own, ace, got 'acme'"):
        run(compose(*some, "metrics.convention=acme", "run_dir=acme"))
    with pytest.raises(IceError, match=r"a metrics.query out of narrow_eyes, glasses, got 'smilin'"):
        run(compose(*some, "metrics.query=smilin", "run_dir=smilin"))


class Light(nn.Module):
    """Takes a number for a face's identity that its light decides."""

    def forward(self, image):
        angle = 3 * image.mean((1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], 1)


def test_what_has_no_meaning_is_left_out(compose, biased, subspace, monkeypatch, caplog):
    """No threshold where people can't be told apart, no probability of a regression, no other attribute."""
    import ice_lightning.faces as module

    faces = module.embedded_faces()
    faces.identity = Light()
    monkeypatch.setattr(module, "embedded_faces", lambda: faces)
    whole = f"classifier._target_={__name__}.Number"
    some = ("explain.people=5", "explain.oracles=[]", f"subspace={subspace}")
    metrics = run(compose(*biased, NONE, "~classifier.name", whole, *some)).metrics
    assert not {"fva", "cout", "mnac", "cd"} & set(metrics["measured"])
    assert {"identity_cosine", "locality", "flip_rate"} <= set(metrics["measured"])
    assert "fva is left out: the identity network can't tell these people apart" in caplog.text


def Number():
    """A classifier of one's own that returns a number."""
    return Scored(embedded_classifier("smiling"), kind="regression", target=0.5)


@pytest.mark.parametrize("method", ["line", "paper"])
def test_other_methods_run_by_their_names(compose, biased, subspace, method):
    settings = (*biased, "explain.people=2", NONE)
    result = run(compose(*settings, f"subspace={subspace}", f"counterfactual={method}"))
    assert result.metrics["of"] == 2


def test_a_verdict_needs_explanations_and_they_a_classifier(compose):
    with pytest.raises(IceError, match="a classifier to explain, got none: add classifier=smiling"):
        run(compose("task=explain"))
    with pytest.raises(IceError, match="the folder of a sweep of explanations, got none: set runs=DIR"):
        run(compose("task=verdict"))


def test_random_subspaces_are_searched_once_for_all_named_ones(compose, biased, subspace, tmp_path, monkeypatch):
    """A subspace of the same size, space and classifier reads their outcomes; other seeds and sizes search anew."""
    asked, search = [], explanation.search

    def counting(method, score, draw, U, basis, *rest, **more):
        asked.append((basis.dim, len(U)))
        return search(method, score, draw, U, basis, *rest, **more)

    monkeypatch.setattr(explanation, "search", counting)
    S = load_subspace(subspace)
    other = replace(S, directions=S.directions.roll(1, 0)).save(tmp_path / "other" / "subspace.safetensors").parent
    some = ("explain.people=2", "explain.batch=2", f"explain.kept_controls={tmp_path}/controls", TWO)
    run(compose(*biased, *some, f"subspace={subspace}", f"run_dir={tmp_path}/a"))
    assert len(asked) == 1 + 2
    run(compose(*biased, *some, f"subspace={other}", f"run_dir={tmp_path}/b"))
    assert len(asked) == 1 + 2 + 1, "only the named one"
    one, two = (load_explained(tmp_path / name).rows for name in "ab")
    assert torch.equal(one.random.flipped, two.random.flipped)
    assert torch.equal(one.random.t, two.random.t)
    more = "explain.people=3"
    run(compose(*biased, *some, more, f"subspace={other}", f"run_dir={tmp_path}/c"))
    assert asked[-2:] == [(4, 1)] * 2, "the third person alone"
    seed = "explain.controls.seed=1"
    run(compose(*biased, *some, seed, f"subspace={other}", f"run_dir={tmp_path}/d"))
    assert asked[-2:] == [(4, 2)] * 2
    assert not torch.equal(load_explained(tmp_path / "d").rows.random.t, two.random.t)
    run(compose(*biased, *some, "explain.directions=2", f"subspace={other}", f"run_dir={tmp_path}/e"))
    assert asked[-2:] == [(2, 2)] * 2


def test_random_subspaces_are_applied_to_the_first_people_alone(compose, biased, subspace, tmp_path):
    run(compose(*biased, *FIVE, f"subspace={subspace}"))
    rows = load_explained(tmp_path / "run").rows
    assert rows.random.applied.tolist() == [True] * 4 + [False]
    assert rows.random.flipped.shape == (5, 3)
    assert not rows.random.flipped[4].any()
    assert rows.random.change[4].isnan().all()


def test_another_file_under_the_same_path_is_other_people_and_another_classifier(compose, tmp_path):
    """Weights alone don't tell: a program with the same ones may turn its answer round."""
    latents, program = tmp_path / "latents.safetensors", tmp_path / "mine.pt2"
    cfg = compose("task=explain", "classifier=own", f"classifier.path={program}", f"explain.latents={latents}")
    seen = []
    for content in (b"one", b"other"):
        for file in (latents, program):
            before = people_of(cfg) if seen else None
            file.write_bytes(content)
            if latents.exists() and program.exists():
                seen.append(people_of(cfg))
                assert seen[-1] != before
    assert len({tuple(sorted(each.items(), key=str)) for each in seen}) == 3
