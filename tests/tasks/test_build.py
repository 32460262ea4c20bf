"""What a subspace's file may have built: the package's own parts, and what the caller names."""

from dataclasses import replace

import pytest

from ice_lightning import load_subspace
from ice_lightning.checkpoints import ASSETS
from ice_lightning.checks import IceError
from ice_lightning.faces import embedded_faces
from ice_lightning.tasks.build import criterion_of, part_of

FOREIGN = {"activate": {"x": {"term": {"_target_": "subprocess.Popen", "args": ["touch", "made"]}}}}


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
