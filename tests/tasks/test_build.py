"""What a subspace's file may have built: the package's own parts, and what the caller names."""

import copy
from dataclasses import replace

import pytest

from ice_lightning import load_subspace
from ice_lightning.checkpoints import ASSETS
from ice_lightning.checks import IceError
from ice_lightning.faces import embedded_faces
from ice_lightning.tasks.build import criterion_of, part_of

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
    assert "x" in part_of(evil, "criterion", "", {"subprocess.Popen"}).activate, "what the caller names"
