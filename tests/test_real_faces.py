"""The study of other people's networks: its DCGAN's spaces, and what it fetches. Needs none of their files."""

import signal
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ice_lightning import load_generator

FOLDER = Path(__file__).parents[1] / "experiments" / "real_faces"


@pytest.fixture
def scripts(monkeypatch):
    """The study's scripts can be imported by their names meanwhile."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.fixture
def dcgan(scripts, tmp_path):
    """One with random weights, small, read from a file of the true format; one of its channels is dead."""
    import dcgan

    torch.manual_seed(0)
    random = dcgan.DCGAN([10, 24, 16, 12, 8, 3])
    state = {name: tensor for name, tensor in random.state_dict().items() if not name.endswith("num_batches_tracked")}
    for name in state:
        if name.endswith(("1.bias", "4.bias", "7.bias", "10.bias", "running_mean")):
            state[name] = 0.3 * torch.randn_like(state[name])
    state["main.4.weight"][2] = 0
    state["main.4.bias"][2] = -1
    save_file(state, tmp_path / "dcgan.safetensors")
    return dcgan.load(tmp_path / "dcgan.safetensors")


def test_layers_and_sides(dcgan):
    assert (dcgan.spaces, dcgan.widths("z"), dcgan.resolutions("z")) == (("z", "s"), [10], [1])
    assert (dcgan.widths("s"), dcgan.resolutions("s")) == ([10, 24, 16, 12, 8], [1, 4, 8, 16, 32])
    assert dcgan.dim("s") == 70
    assert not dcgan.training
    assert not any(p.requires_grad for p in dcgan.parameters())


def test_people_depend_on_their_own_seed(dcgan):
    assert torch.equal(dcgan.sample(4, seed=5)[2:], dcgan.sample(2, seed=7))


def test_scales_that_nobody_moved_give_the_picture_of_z(dcgan):
    z = dcgan.sample(4)
    image = dcgan(z, "z")
    assert image.shape == (4, 3, 64, 64)
    assert 0 <= image.min() < image.max() <= 1
    torch.testing.assert_close(dcgan(dcgan.convert(z, "z", "s"), "s"), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("layer", range(1, 5))
def test_a_moved_scale_is_the_one_that_is_drawn(dcgan, layer):
    layers = list(dcgan.convert(dcgan.sample(3), "z", "s").split(dcgan.widths("s"), 1))
    before, channel = dcgan.draw(layers, "s"), int(layers[layer].mean(0).argmax())
    layers[layer] = layers[layer].clone()
    layers[layer][:, channel] *= 2
    assert (dcgan.draw(layers, "s") - before).abs().amax((1, 2, 3)).min() > 1e-3


def test_a_dead_channel_stays_dead(dcgan):
    layers = list(dcgan.convert(dcgan.sample(3), "z", "s").split(dcgan.widths("s"), 1))
    before = dcgan.draw(layers, "s")
    assert layers[2][:, 2].max() < 1e-3
    layers[2] = layers[2].index_fill(1, torch.tensor([2]), 5.0)
    assert torch.equal(dcgan.draw(layers, "s"), before)


@pytest.mark.parametrize("space", ["z", "s"])
def test_jvp_is_the_finite_difference_and_vjp_its_adjoint(dcgan, space):
    dcgan = dcgan.double()
    u = dcgan.convert(dcgan.sample(2, seed=3), "z", space)
    t = torch.randn(u.shape, dtype=u.dtype, generator=torch.Generator().manual_seed(0))
    t = t * u.std()
    image, along = torch.func.jvp(lambda v: dcgan(v, space), (u,), (t,))
    h = 1e-6
    difference = (dcgan(u + h * t, space) - dcgan(u - h * t, space)) / (2 * h)
    torch.testing.assert_close(along, difference, atol=1e-6, rtol=1e-4)
    y = torch.randn(image.shape, dtype=u.dtype, generator=torch.Generator().manual_seed(1))
    (back,) = torch.func.vjp(lambda v: dcgan(v, space), u)[1](y)
    torch.testing.assert_close((along * y).sum(), (t * back).sum())


def test_many_tangents_at_once(dcgan):
    u = dcgan.convert(dcgan.sample(1), "z", "s")
    tangents = torch.eye(u.shape[1])[::20, None]

    def along(t):
        return torch.func.jvp(lambda v: dcgan(v, "s"), (u,), (t,))[1]

    one_by_one = torch.stack([along(t) for t in tangents])
    torch.testing.assert_close(torch.func.vmap(along)(tangents), one_by_one, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("latent", "src", "dst", "sentence"),
    [
        ((2, 70), "s", "z", "down the chain z -> s, got s -> z"),
        ((2, 9), "z", "s", r"shape \(N, 10\) in z, got \(2, 9\)"),
        ((2, 10), "z", "w", "a space out of z, s, got 'w'"),
    ],
)
def test_refuses_what_cannot_be_converted(dcgan, latent, src, dst, sentence):
    with pytest.raises(ValueError, match=sentence):
        dcgan.convert(torch.zeros(latent), src, dst)


def test_refuses_another_network(scripts, tmp_path):
    import dcgan

    save_file({"main.0.weight": torch.zeros(4, 4, 4, 4)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"expected a DCGAN .* in .*other\.safetensors, got"):
        dcgan.load(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="run `make real-faces`"):
        dcgan.load(tmp_path / "none.safetensors")


def test_refuses_another_package(scripts, tmp_path, monkeypatch, capsys):
    import get

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "other.whl").write_bytes(b"PK\x03\x04 something else")
    assert get.main(["--wheel", str(tmp_path / "other.whl"), "--tgz", str(tmp_path / "other.whl")]) == 2
    said = capsys.readouterr().err
    assert "expected gan_face_generate-1.1.1-py3-none-any.whl with SHA-256 24102f4b" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("cache/**/*.safetensors"))


def test_a_machine_without_a_registry_hears_a_sentence(scripts, tmp_path, monkeypatch, capsys):
    import get

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(get.sys, "executable", str(tmp_path / "no-python"))
    assert get.main([]) == 2
    said = capsys.readouterr().err
    assert "pass --wheel FILE" in said
    assert said.count("\n") == 1


@pytest.fixture
def small(dcgan, monkeypatch):
    """A student that fits the small teacher."""
    from student import CONFIG

    monkeypatch.setitem(CONFIG, "z_dim", 10)
    monkeypatch.setitem(CONFIG, "w_dim", 8)
    monkeypatch.setitem(CONFIG, "channels", [8] * 5)


def test_the_student_learns_goes_on_and_loads(small, dcgan, tmp_path, monkeypatch):
    from distillation import Distillation
    from record import read_curve
    from train import main

    given = ["--teacher", dcgan.name, "--work", str(tmp_path / "work"), "--device", "cpu"]
    given += ["--batch", "4", "--epoch", "2"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # without a network that says how far it is
    monkeypatch.setenv("ICE_LIGHTNING_OPS", "python")  # which would be built anew in an empty cache
    monkeypatch.setattr(Distillation, "progress", property(lambda self: self.steps / 8))
    assert main(given) == 0
    first = read_curve(tmp_path / "work" / "curve.csv")
    assert {"paired", "matched", "deceive", "discern"} <= {name for name, value in first[-1].items() if value}
    assert [row["steps"] for row in first] == ["2", "4", "6", "8"]
    monkeypatch.setattr(Distillation, "progress", property(lambda self: self.steps / 12))
    assert main(given) == 0
    assert [int(row["steps"]) for row in read_curve(tmp_path / "work" / "curve.csv")] == [2, 4, 6, 8, 10, 12]
    assert list((tmp_path / "work" / "sheets").glob("*.png"))
    student = load_generator(tmp_path / "work" / "student.safetensors")
    assert (student.z_dim, student.resolution) == (10, 64)
    assert student.mapping.w_avg.abs().max() > 0


def test_a_signal_saves_the_student(small, dcgan, tmp_path, monkeypatch, capsys):
    from distillation import Distillation
    from train import main

    people = Distillation.people

    def interrupted(self, count):
        if self.steps == 2:
            signal.raise_signal(signal.SIGTERM)
        return people(self, count)

    monkeypatch.setattr(Distillation, "people", interrupted)
    given = ["--teacher", dcgan.name, "--work", str(tmp_path / "work"), "--device", "cpu"]
    assert main([*given, "--batch", "4", "--minutes", "5"]) == 128 + signal.SIGTERM
    assert "the same command goes on" in capsys.readouterr().out
    state = torch.load(tmp_path / "work" / "last.ckpt", weights_only=True)
    assert state["course"]["steps"] == 3
    assert not any("teacher" in name for name in state["state_dict"])


def test_phases_follow_each_other_without_a_jump(scripts):
    from plan import Plan

    plan = Plan()
    course = [plan.at(i / 1000) for i in range(1001)]
    assert [phase.side for phase in course] == [32] * 150 + [64] * 851
    assert [phase.adversarial > 0 for phase in course] == [False] * 400 + [True] * 601
    rates = [phase.rate for phase in course]
    assert rates == sorted(rates, reverse=True)
    assert max(a / b for a, b in pairwise(rates)) < 1.2
    assert (course[400].paired, course[-1].paired) == pytest.approx((10, 1))


class Painter:
    """Portraits whose outlined skin is multiplied by the latent's second number, and whose rest by its third."""

    def __init__(self, images, skin):
        self.images, self.skin = images, skin

    def people(self, count, seed, space):
        return torch.stack([torch.arange(count) % len(self.images), torch.ones(count), torch.ones(count)], 1)

    def __call__(self, u, space):
        who, gain, rest = u[:, 0].long(), u[:, 1, None, None, None], u[:, 2, None, None, None]
        skin = self.skin[who]
        return self.images[who] * (skin * gain + ~skin * rest)


def test_what_an_ideal_edit_of_colour_moves_is_no_leak(scripts, monkeypatch):
    """Other readings follow the skin's colour; beyond that an edit of its pixels moves nothing, one of all does."""
    import sitters
    from subspaces import PRESETS, painted, verdict

    from ice_lightning.faces.landmarks import landmark_faces
    from ice_lightning.labels import REGIONS

    monkeypatch.setattr(sitters, "POPULATION", 8)
    faces, G = landmark_faces("embedded", "embedded"), load_generator("embedded")
    images = 0.2 + 0.6 * G(G.sample(8, 0), "z").clamp(0, 1)
    parse = faces.parser(images).argmax(1, keepdim=True)
    skin = (parse == REGIONS.index("skin")) | (parse == REGIONS.index("nose"))
    people = sitters.Sitters(Painter(images, skin), faces, "s", 8)
    meaning = PRESETS["skin_color"]
    for v, leaks in ((torch.tensor([0, 1.0, 0]), False), (torch.tensor([0, 1.0, 1.0]), True)):
        moved = people.along(v, 0.2)
        ideal = people.repainted(v, 0.2, painted(meaning))
        assert verdict(moved, meaning)["ratio"] < 10
        assert (verdict(moved, meaning, ideal)["ratio"] < 10) == leaks
