"""What a run finds on a GPU is what it finds on the CPU. Needs a CUDA device."""

import json

import pytest
import torch
from torch import nn

from ice_lightning import load_generator
from ice_lightning.discovery.module import Discovery
from ice_lightning.explanation.rows import load_explained
from ice_lightning.files import LAST
from ice_lightning.run import run
from ice_lightning.subspace import Subspace

pytestmark = pytest.mark.gpu
QUICK = ("layers=64px-", "latents.count=2", "criterion.rank=3")


def both(compose, tmp_path, *settings):
    """What a run finds on the CPU and on a GPU."""
    return [run(compose(*settings, f"trainer={each}", f"run_dir={tmp_path}/{each}")) for each in ("cpu", "gpu")]


@pytest.mark.parametrize(
    ("preset", "solver"), [("skin_color", "krylov"), ("skin_color", "exact"), ("mouth_shape", "krylov")]
)
def test_a_search_finds_the_same_directions(compose, tmp_path, preset, solver):
    slow, fast = both(compose, tmp_path, f"criterion={preset}", f"solver={solver}", *QUICK)
    assert slow.metrics["people_used"] == fast.metrics["people_used"]
    torch.testing.assert_close(fast.subspace.eigenvalues, slow.subspace.eigenvalues, rtol=0.02, atol=0)
    assert fast.subspace.angles(slow.subspace).max() < 0.02


@pytest.mark.parametrize(("precision", "radians"), [("tf32", 0.1), ("bfloat16", 0.3)])
def test_coarser_numbers_keep_one_direction(compose, tmp_path, precision, radians):
    settings = ("criterion=skin_color", *QUICK, "trainer=gpu", "solver=exact")
    true = run(compose(*settings, f"run_dir={tmp_path}/true")).subspace
    rough = run(compose(*settings, f"precision={precision}", f"run_dir={tmp_path}/rough")).subspace
    assert true.angles(rough).min() < radians


def test_an_interrupted_search_goes_on_from_gpu_to_cpu(compose, tmp_path, monkeypatch):
    settings = ("criterion=lip_color", "space=w+", "layers=fine", "latents.count=1", "criterion.rank=2")
    once = run(compose(*settings, f"run_dir={tmp_path}/once"))
    answer, calls = Discovery.replies, []

    def dies(module):
        calls.append(module)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answer(module)

    monkeypatch.setattr(Discovery, "replies", dies)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(compose(*settings, "trainer=gpu", f"run_dir={tmp_path}/twice"))
    monkeypatch.undo()
    last = (tmp_path / "twice" / LAST).read_bytes()
    for trainer in ("gpu", "cpu"):
        (tmp_path / "twice" / LAST).write_bytes(last)
        again = run(compose(*settings, f"trainer={trainer}", f"run_dir={tmp_path}/twice", "ckpt_path=last"))
        assert again.subspace.angles(once.subspace).max() < 0.02


@pytest.fixture
def lips(compose, generator, tmp_path):
    """Four directions of w, as a search would leave them."""
    from omegaconf import OmegaConf

    basis = torch.linalg.qr(torch.randn(96, 4, generator=torch.Generator().manual_seed(0))).Q.double()
    config = OmegaConf.to_container(compose("criterion=lip_color"), resolve=True)
    provenance = {"criterion": "lip_color", "generator": "embedded", "config": config}
    provenance["generator_sha256"] = generator.fingerprint
    return Subspace(basis, torch.ones(4), "w", provenance).save(tmp_path / "lips" / "subspace.safetensors").parent


def test_an_explanation_finds_the_same_people(compose, lips, tmp_path):
    settings = ("task=explain", "classifier=smiling", "explain.people=24", f"subspace={lips}")
    slow, fast = both(compose, tmp_path, *settings, "explain.controls={subspaces: 3, weights: false}")
    one, other = (load_explained(tmp_path / each).rows for each in ("cpu", "gpu"))
    agree = one.named.flipped == other.named.flipped
    assert agree.float().mean() > 0.9
    flipped = one.named.flipped & other.named.flipped
    assert flipped.sum() > 8
    closest = torch.stack([one.named.effort, other.named.effort])[:, flipped]
    assert (closest[0] / closest[1]).log().abs().median() < 0.02
    assert set(slow.metrics["measured"]) == set(fast.metrics["measured"])
    assert {"counterfactuals.png", "report.html"} <= {p.name for p in (tmp_path / "gpu").iterdir()}


class Waves(nn.Module):
    """A user's own generator: one space, sines over the embedded generator's picture."""

    spaces = ("w",)

    def __init__(self):
        super().__init__()
        self.inner = load_generator("embedded")

    def sample(self, n, seed=0):
        return self.inner.convert(self.inner.sample(n, seed), "z", "w")

    def forward(self, u, space):
        return self.inner(u, "w")


def test_a_generator_of_ones_own_runs_on_a_gpu(compose, tmp_path):
    own = ("generator=own", "generator._target_=test_cuda.Waves", "space=w", "latents.count=2")
    slow, fast = both(compose, tmp_path, *own, "criterion=skin_color", "criterion.layers=null", "criterion.rank=2")
    assert fast.subspace.angles(slow.subspace).max() < 0.02
    metrics = json.loads((tmp_path / "gpu" / "metrics.json").read_text())
    assert metrics["people_used"] == 2
