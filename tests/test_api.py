"""A plain Python call for every task: no run folder, no file."""

import json

import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from matplotlib.figure import Figure

import ice_lightning
from ice_lightning import discover, explain, invert, judge, traverse
from ice_lightning.checks import IceError
from ice_lightning.criterions import Activate, Criterion, RegionColor
from ice_lightning.explanation import ControlSettings
from ice_lightning.run import run
from ice_lightning.subspace import Subspace

CONTROLS = ControlSettings(subspaces=10, people=3, weights=False, unrestricted=False)


@pytest.fixture(scope="module")
def subspace(generator):
    return discover(generator, "hair_color", 1)


@pytest.fixture(scope="module")
def explained(generator, subspace):
    return explain(generator, "smiling_biased", subspace, 3, controls=CONTROLS)


def test_a_discovery_is_that_of_the_command_line(generator, subspace, compose):
    given = ("criterion=hair_color", "latents.count=1", "geometry=population")
    theirs = run(compose(*given)).subspace
    torch.testing.assert_close(subspace.directions, theirs.directions)
    ours, other = (dict(each.provenance["config"]) for each in (subspace, theirs))
    for name in ("run_dir", "trainer"):
        ours.pop(name), other.pop(name)
    assert ours == other


def test_an_explanation_is_that_of_the_command_line(generator, subspace, explained, compose, tmp_path):
    subspace.save(tmp_path / "subspace.safetensors")
    some = "explain.controls={subspaces: 10, people: 3, weights: false, unrestricted: false}"
    given = ("task=explain", "classifier=smiling_biased", f"subspace={tmp_path}", "explain.people=3", some)
    metrics = run(compose(*given, "explain.oracles=[]", f"explain.kept_controls={tmp_path}/kept")).metrics
    assert metrics["flip_rate"] == explained.summary.flips.rate
    assert metrics["effort"] == pytest.approx(explained.summary.effort)
    assert metrics["random"] == json.loads(json.dumps(explained.summary.to_json()["random"]))
    before, after = explained.counterfactuals(2)
    assert before.shape == after.shape
    assert len(before) == min(2, round(3 * metrics["flip_rate"]))


def test_a_verdict_has_a_sentence_a_table_and_a_figure(generator, explained):
    found = judge([explained, explained])
    assert found.sentence.startswith("smiling_biased")
    assert found.table().count("\n") == 3
    assert isinstance(found.figure(), Figure)
    assert "<img" in found._repr_html_()
    assert explained.sentence in explained._repr_html_()


def test_outcomes_in_random_subspaces_are_taken_from_another(generator, subspace, explained):
    again = explain(generator, "smiling_biased", subspace, 3, controls=CONTROLS, alike=explained)
    torch.testing.assert_close(
        again.explained.rows["random_change"], explained.explained.rows["random_change"], equal_nan=True
    )
    with pytest.raises(IceError, match="expected an explanation of the same classifier"):
        explain(generator, "smiling", subspace, 3, controls=CONTROLS, alike=explained)


def test_terms_and_functions_of_ones_own(generator, faces):
    own = Criterion("nose", "", {"color": Activate(RegionColor(["nose"]))}, activate_ratio=0.1)
    S = discover(generator, own, 1, solver="exact", space="w", geometry="euclidean")
    assert S.provenance["config"]["criterion"] == {"name": "nose"}
    nothing = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    E = explain(generator, lambda x: x[:, 0].mean((1, 2)) - 0.5, S, 2, name="red", controls=nothing, criterion=own)
    assert E.explained.classifier == "red"
    with pytest.raises(IceError, match="the criterion of the subspace, got none: pass criterion="):
        explain(generator, "smiling", S, 2)


def test_people_are_moved_and_pictures_found(generator, subspace):
    assert isinstance(traverse(generator, subspace, 1), Figure)
    image = generator(generator.people(1, 7, "s"), "s").clamp(0, 1)
    assert invert(generator, image, steps=2).u.shape == (1, 1408)


def test_wrong_input_is_a_sentence(generator, explained, subspace):
    with pytest.raises(IceError, match=r"criterion out of .*did you mean 'skin_color'"):
        discover(generator, "skin_colour")
    with pytest.raises(IceError, match="a subspace of this generator"):
        traverse(generator, Subspace(subspace.directions, subspace.eigenvalues, "s", {"generator_sha256": "0" * 64}))
    with pytest.raises(IceError, match="explanations to judge of at least 1"):
        judge([])


class Changing(torch.nn.Module):
    """Whether the light is above a threshold."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, image):
        return 9 * (image.mean((1, 2, 3)) - self.level)


def test_a_classifier_that_has_changed_is_told_apart(generator, subspace):
    network = Changing()
    before = explain(generator, network, subspace, 2, controls=CONTROLS)
    with torch.no_grad():
        network.level += 0.1
    with pytest.raises(IceError, match="got other scores of the same people: drop alike"):
        explain(generator, network, subspace, 2, controls=CONTROLS, alike=before)


def test_functions_of_one_name_are_two_classifiers(generator, subspace):
    few = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    found = [
        explain(generator, each, subspace, 2, controls=few)
        for each in (lambda x: x[:, 0].mean((1, 2)) - 0.5, lambda x: x[:, 2].mean((1, 2)) - 0.5)
    ]
    with pytest.raises(IceError, match="explanations of one classifier"):
        judge(found)


def test_a_classifier_keeps_its_mode_and_a_caller_its_hydra(generator, subspace, tmp_path):
    hard = torch.nn.Sequential(Changing(), torch.nn.Threshold(0.0, 0.0))
    hard.train()
    hard[1].forward = lambda x: (x > 0).float()
    with pytest.raises(IceError, match="a classifier whose score changes with the image"):
        explain(generator, hard, subspace, 2, controls=CONTROLS)
    assert all(each.training for each in hard.modules())
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        discover(generator, "hair_color", 1)
        assert GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize("wrong", [{"criterion": 3}, {"people": 1.5}, {"people": "2"}, {"people": 0}])
def test_arguments_of_another_type_are_sentences(generator, wrong):
    with pytest.raises(IceError):
        discover(generator, **({"criterion": "hair_color"} | wrong))


def test_nothing_is_written(tmp_path, monkeypatch, generator):
    monkeypatch.chdir(tmp_path)
    discover(generator, "hair_color", 1)
    assert not list(tmp_path.iterdir())


def test_names_are_found():
    assert all(callable(getattr(ice_lightning, name)) for name in ice_lightning.__all__)
