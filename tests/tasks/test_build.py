"""What a subspace's file may have built: the package's own parts, and what the caller names."""

import copy
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from ice_lightning import load_subspace
from ice_lightning.checkpoints import ASSETS
from ice_lightning.checks import IceError, problem
from ice_lightning.faces import embedded_faces
from ice_lightning.tasks.build import criterion_of, part_of
from ice_lightning.tasks.compare import own_generator

FOREIGN = {"activate": {"x": {"term": {"_target_": "subprocess.Popen", "args": ["touch", "made"]}}}}


LIVE = {"activate": {"x": {"term": {"_target_": "ice_lightning.criterions.RegionColor", "regions": ["skin"]}}}}
WRITE = "${oc.create:{_target_:pathlib.Path.touch,_args_:[{_target_:pathlib.Path,_args_:[made]}]}}"


@pytest.mark.parametrize("place", ["term", "argument", "suppress", "key", "faces"])
def test_interpolations_of_a_file_are_not_resolved(place, tmp_path, monkeypatch):
    """They could make settings that weren't there to be looked at."""
    monkeypatch.chdir(tmp_path)
    S = load_subspace(ASSETS / "subspaces" / "hair_color.safetensors")
    config = copy.deepcopy(dict(S.provenance["config"]))
    criterion, term = config["criterion"], copy.deepcopy(LIVE["activate"]["x"]["term"])
    if place == "term":
        criterion["activate"]["x"] = {"term": WRITE}
    elif place == "argument":
        criterion["activate"]["x"] = {"term": term | {"size": WRITE}}
    elif place == "suppress":
        criterion["suppress"] = WRITE
    elif place == "key":
        criterion["activate"]["x"] = {"term": term | {WRITE: 1}}
    else:
        config["faces"] = {"_target_": "ice_lightning.faces.embedded_faces", "x": WRITE}
    evil = replace(S, provenance=S.provenance | {"config": config})
    part = "faces" if place == "faces" else "criterion"
    with pytest.raises(IceError, match=f"{part} without interpolations in the subspace's file, got .*oc.create"):
        part_of(evil, part, "leave it")
    assert not (tmp_path / "made").exists()


def test_a_file_runs_nobody_elses_code_in_an_explanation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    S = load_subspace(ASSETS / "subspaces" / "hair_color.safetensors")
    assert criterion_of(S, embedded_faces(), 128).suppress
    config = S.provenance["config"]
    evil = replace(S, provenance=S.provenance | {"config": {**config, "criterion": config["criterion"] | FOREIGN}})
    with pytest.raises(IceError, match=r"own parts in the subspace's file, got subprocess\.Popen: name the criterion"):
        criterion_of(evil, embedded_faces(), 128)
    assert not (tmp_path / "made").exists()


def deep(levels):
    """A list in a list, so many times."""
    node = []
    for _ in range(levels):
        node = [node]
    return node


TERM = LIVE["activate"]["x"]["term"]
BROKEN = {
    "deep": {"activate": {"x": {"term": TERM | {"size": deep(150)}}}},
    "missing": {"activate": {"x": {"term": TERM | {"regions": "???"}}}},
    "another argument": {"activate": {"x": {"term": TERM | {"sizes": 3}}}},
    "no terms": {"activate": [TERM]},
    "a classifier": {"activate": {"x": {"term": {
        "_target_": "ice_lightning.criterions.ClassifierLogit",
        "classifier": {"_target_": "ice_lightning.classifiers.load_classifier", "path": "x.pt2", "trust": True},
    }}}},
}  # fmt: skip


@pytest.mark.parametrize("criterion", BROKEN.values(), ids=BROKEN)
def test_a_criterion_that_cannot_be_built_is_a_sentence(criterion):
    S = load_subspace(ASSETS / "subspaces" / "hair_color.safetensors")
    config = S.provenance["config"]
    broken = replace(S, provenance=S.provenance | {"config": {**config, "criterion": config["criterion"] | criterion}})
    with pytest.raises(IceError, match="in the subspace's file, got"):
        criterion_of(broken, embedded_faces(), 128)


def test_a_comparison_builds_the_generator_of_its_own_settings_alone():
    mine = {"_target_": "ice_lightning.load_generator", "checkpoint": "embedded"}
    config = OmegaConf.create({"generator": mine})
    assert own_generator(config, mine).resolution == 128
    with pytest.raises(IceError, match="the generator of these settings, got one of other settings"):
        own_generator(config, {"_target_": "pathlib.Path.touch", "_args_": ["made"]})


def test_a_sentence_steers_no_terminal():
    assert str(problem("a", "\x1b[2Kb\nc", "d")) == "expected a, got  [2Kb c: d"
