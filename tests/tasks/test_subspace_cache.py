"""Subspaces that ship with the package are what the default settings find, and are taken under these alone."""

import pytest
import torch
from omegaconf import OmegaConf

from ice_lightning import load_subspace
from ice_lightning.checkpoints import ASSETS
from ice_lightning.explanation.rows import load_explained
from ice_lightning.run import run
from ice_lightning.tasks.settings import settings
from ice_lightning.tasks.subspace_cache import shipped

FILES = sorted((ASSETS / "subspaces").glob("*.safetensors"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_belongs_to_its_preset_as_it_stands(compose, generator, file):
    S, cfg = load_subspace(file), compose("task=explain", f"criterion={file.stem}")
    theirs, ours = settings(OmegaConf.create(S.provenance["config"])), settings(cfg)
    differ = {name for name in theirs | ours if theirs.get(name) != ours.get(name)}
    assert differ <= {"criterion.rank"}, "find it anew by experiments/zoo/ship.py"
    assert S.provenance["generator_sha256"] == generator.fingerprint
    assert S.space == "s"
    assert len(S.directions) == 1408
    assert 1 <= S.directions.shape[1] <= 8
    assert shipped(cfg, generator.fingerprint) == file


@pytest.mark.parametrize(
    "change",
    [
        "criterion.rank=3",
        "latents.seed=1",
        "space=w",
        "explain.directions=9",
        "explain.directions=null",
        "geometry=euclidean",
    ],
)
def test_none_is_taken_for_another(compose, generator, change):
    assert shipped(compose("task=explain", "criterion=mouth_shape", change), generator.fingerprint) is None


@pytest.mark.parametrize(
    "settings",
    [["criterion.rank=null"], ["criterion.rank=20"], ["criterion.rank=3", "explain.directions=3"]],
    ids=lambda settings: " ".join(settings),
)
def test_a_cap_that_leaves_its_directions_takes_it(compose, generator, settings):
    assert shipped(compose("task=explain", "criterion=mouth_shape", *settings), generator.fingerprint) is not None


def test_none_is_taken_for_another_generator_or_a_published_preset_of_the_name(compose, generator):
    assert shipped(compose("task=explain", "criterion=hair_color"), "0" * 64) is None
    assert shipped(compose("task=explain", "criterion=paper/mouth_shape"), generator.fingerprint) is None


def test_an_explanation_begins_with_it_at_once(compose, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = (
        "task=explain",
        "classifier=smiling_biased",
        "criterion=hair_color",
        "explain.people=1",
        "counterfactual=line",
    )
    S = run(compose(*given, "explain.controls={subspaces: 0, weights: false, unrestricted: false}")).subspace
    assert torch.equal(S.directions, load_subspace(ASSETS / "subspaces" / "hair_color.safetensors").directions)
    assert len(load_explained(tmp_path / "run").rows.number) == 1
    assert not (tmp_path / "outputs").exists(), "nothing had to be found"
