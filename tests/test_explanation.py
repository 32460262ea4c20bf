"""Explanations from end to end, on a small subspace of w."""

import json
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from ice_lightning.checks import IceError
from ice_lightning.modules.explanation import Explanation
from ice_lightning.run import run
from ice_lightning.subspace import Subspace
from ice_lightning.verdict import load_explained

SETTINGS = ("task=explain", "classifier=smiling", "explain.people=5", "explain.batch=2", "explain.controls=[random]")


@pytest.fixture
def subspace(compose, generator, tmp_path):
    """Four directions of w, as a discovery would leave them."""
    basis = torch.linalg.qr(torch.randn(96, 4, generator=torch.Generator().manual_seed(0))).Q.double()
    config = OmegaConf.to_container(compose("criterion=lip_color"), resolve=True)
    provenance = {"criterion": "lip_color", "generator": "embedded", "config": config}
    provenance["generator_sha256"] = generator.fingerprint
    return Subspace(basis, torch.ones(4), "w", provenance).save(tmp_path / "lips" / "subspace.safetensors").parent


def test_an_explanation_leaves_what_it_promises(compose, subspace, tmp_path):
    result = run(compose(*SETTINGS[:-1], f"subspace={subspace}"))
    folder, metrics = tmp_path / "run", result.metrics
    assert sorted(p.name for p in folder.iterdir()) == [
        "counterfactuals.png", "counterfactuals.safetensors", "metrics.json", "report.html",
    ]  # fmt: skip
    rows = load_explained(folder).rows
    flipped = rows["flipped"]
    assert metrics["of"] == 5
    assert metrics["flip_rate"] == pytest.approx(float(flipped.double().mean()))
    assert flipped.any()
    assert metrics["measured"]["effort"]["value"] == pytest.approx(float(rows["effort"][flipped].double().mean()))
    assert metrics["measured"]["effort"]["of"] == int(flipped.sum())
    assert set(metrics["controls"]) == {"random", "weights", "unrestricted"}
    assert metrics["controls"]["unrestricted"]["rate"] >= metrics["flip_rate"]
    measured = "flip_rate effort image_l1 image_l2 image_linf locality mnac cd cout identity_cosine fva fid sfid"
    assert set(metrics["measured"]) == set(measured.split())
    assert "Within 4 directions of lip color" in result.said


def test_counterfactuals_change_the_decision(compose, subspace, generator, tmp_path):
    from ice_lightning.counterfactual import moved
    from ice_lightning.modules.classifier import embedded
    from ice_lightning.spreads import named

    result = run(compose(*SETTINGS[:-1], f"subspace={subspace}", "explain.controls=[]"))
    rows = load_explained(tmp_path / "run").rows
    population = generator.convert(generator.sample(512, 1_000_000), "z", "w")
    spread = named(result.subspace.directions, population)
    torch.testing.assert_close(rows["u"], population[:5])
    classifier = embedded("smiling")
    for column, u in (("before", rows["u"]), ("after", moved(rows["u"], spread, rows["t"]))):
        score = classifier(generator(u, "w").clamp(0, 1))
        torch.testing.assert_close(score, rows[column], atol=1e-3, rtol=1e-3)
    signs = (rows["before"] >= 0) != (rows["after"] >= 0)
    assert torch.equal(signs, rows["flipped"])
    assert (rows["t"].abs() <= 3 + 1e-5).all()


def test_two_processes_find_and_measure_the_same(compose, subspace, tmp_path):
    one = run(compose(*SETTINGS, f"subspace={subspace}")).metrics
    command = [sys.executable, "-m", "ice_lightning.run", *SETTINGS, f"subspace={subspace}", "logger=none"]
    more = ["trainer=ddp_cpu", f"hydra.run.dir={tmp_path}/two"]
    done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert two["flip_rate"] == one["flip_rate"]
    for name, each in one["measured"].items():
        assert two["measured"][name]["of"] == each["of"]
        assert two["measured"][name]["value"] == pytest.approx(each["value"], rel=1e-6, abs=1e-6, nan_ok=True)


def test_people_who_are_done_are_not_searched_again(compose, subspace, tmp_path, monkeypatch):
    few = ("explain.people=3", "explain.batch=1", "explain.controls=[]")
    settings = (*SETTINGS[:2], *few, f"subspace={subspace}")
    once = run(compose(*settings, f"run_dir={tmp_path}/once"))
    explain, asked = Explanation.explain, []

    def dies(module, numbers, U):
        asked.append(list(numbers))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return explain(module, numbers, U)

    monkeypatch.setattr(Explanation, "explain", dies)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(compose(*settings, f"run_dir={tmp_path}/twice"))
    with pytest.raises(IceError, match=r"the same settings \(method.bound: 2.0\), got people found with 3.0"):
        run(compose(*settings, "method.bound=2.0", f"run_dir={tmp_path}/twice"))
    again = run(compose(*settings, f"run_dir={tmp_path}/twice"))
    assert asked == [[0], [1], [2], [2]]
    assert not (tmp_path / "twice" / "people").exists()
    assert again.metrics["measured"] == once.metrics["measured"]
    run(compose(*settings, f"run_dir={tmp_path}/twice"))
    assert len(asked) == 4, "a finished run is read"


def test_a_subspace_of_another_generator_is_refused(compose, subspace):
    from ice_lightning.subspace import load_subspace

    S = load_subspace(subspace)
    Subspace(S.directions, S.eigenvalues, "w", S.provenance | {"generator_sha256": "0" * 64}).save(
        subspace / "subspace.safetensors"
    )
    with pytest.raises(IceError, match=r"a subspace of this generator \(.*\), got one of embedded \(000000000000\)"):
        run(compose(*SETTINGS, f"subspace={subspace}"))


class Sometimes(nn.Module):
    """Sees nothing on a bright background."""

    def forward(self, image):
        return torch.where(image[:, :, :4].mean((1, 2, 3)) > 0.65, torch.nan, image[:, 0, 64:].mean((1, 2)) - 0.5)


class Constant(nn.Module):
    def forward(self, image):
        return 0 * image.sum((1, 2, 3)) + 1


def test_people_without_a_score_are_left_out_and_named(compose, subspace):
    mine = ("~classifier.name", f"classifier._target_={__name__}.Sometimes")
    metrics = run(compose(*SETTINGS, *mine, f"subspace={subspace}")).metrics
    unknown = metrics["without_a_finite_score"]
    assert unknown
    assert metrics["of"] == 5 - len(unknown)


@pytest.mark.parametrize(
    "more,told",
    [
        (["explain.people=0"], "explain.people as a whole number of at least 1, got 0"),
        (["explain.controls=[randon,weights]"], "explain.controls as a list, .*did you mean 'random'"),
        (["~classifier.name", f"classifier._target_={__name__}.Constant"], "changes with the image, got a constant"),
        (["method.bound=0"], "method.bound as a number above 0"),
    ],
)
def test_bad_settings_are_told(compose, subspace, more, told):
    from ice_lightning.run import sentence

    with pytest.raises(Exception) as raised:  # Hydra wraps what a constructor raises
        run(compose(*SETTINGS[:2], f"subspace={subspace}", "explain.people=2", *more))
    assert told.split(".*")[0] in sentence(raised.value)


@pytest.mark.parametrize("method", ["line", "paper"])
def test_other_methods_run_by_their_names(compose, subspace, method):
    settings = (*SETTINGS[:2], "explain.people=2", "explain.controls=[]")
    result = run(compose(*settings, f"subspace={subspace}", f"method={method}"))
    assert result.metrics["of"] == 2


def test_a_verdict_needs_explanations_and_they_a_classifier(compose):
    with pytest.raises(IceError, match="a classifier to explain, got none: add classifier=smiling"):
        run(compose("task=explain"))
    with pytest.raises(IceError, match="the folder of a sweep of explanations, got none: set runs=DIR"):
        run(compose("task=verdict"))
