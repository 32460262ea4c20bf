"""Anybody's classifier, from any file, or a sentence."""

import importlib.util

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ice_lightning.checks import IceError
from ice_lightning.classifiers import embedded_classifier, load_classifier, timm_classifier
from ice_lightning.explanation.controls import reinitialised
from ice_lightning.explanation.probe import check_explainable
from ice_lightning.modules.classifier import Classifier, Scored, identical, index_of, probabilities


class Mean(nn.Module):
    """Logits that grow with the mean of some channels; smooth, small."""

    def __init__(self, classes: int = 1):
        super().__init__()
        self.head = nn.Linear(3, classes)

    def forward(self, x):
        return self.head(x.mean((2, 3)))


def written(tmp_path, kind):
    torch.manual_seed(0)
    network = Mean().eval()
    path = tmp_path / f"c.{kind}"
    if kind == "pt":
        torch.jit.script(network).save(str(path))
    elif kind == "pt2":
        batch = torch.export.Dim("batch", min=1, max=1024)
        program = torch.export.export(network, (torch.zeros(2, 3, 8, 8),), dynamic_shapes={"x": {0: batch}})
        torch.export.save(program, str(path))
    elif kind == "pth":
        torch.save({"state_dict": network.state_dict()}, path)
    else:
        save_file(network.state_dict(), path)
    return network, path


@pytest.mark.parametrize("kind", ["pt", "pt2", "safetensors", "pth"])
def test_every_file_says_what_its_network_says(tmp_path, kind):
    network, path = written(tmp_path, kind)
    scored = load_classifier(
        str(path),
        Mean() if kind in ("safetensors", "pth") else None,
        size=8,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        trust=True,
    )
    image = torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(scored(image), network((image - 0.5) / 0.25)[:, 0])
    assert not any(p.requires_grad for p in scored.parameters())
    check_explainable(scored, image)


def test_a_class_is_its_logit_less_the_largest_other():
    image = torch.rand(4, 3, 8, 8)
    network = Mean(3)
    z = network(image)
    expected = z[:, 1] - torch.maximum(z[:, 0], z[:, 2])
    torch.testing.assert_close(Scored(network, kind="multiclass", target=1)(image), expected)
    assert torch.equal(expected > 0, z.argmax(1) == 1)


def test_a_regression_is_positive_beyond_its_target():
    image = torch.rand(4, 3, 8, 8)
    network = Mean()
    torch.testing.assert_close(Scored(network, kind="regression", target=0.3)(image), network(image)[:, 0] - 0.3)


def test_probabilities_are_those_of_the_decision():
    """Two of a binary score, a softmax of classes; none of a regression, whose number has no scale of certainty."""
    image, network = torch.rand(4, 3, 8, 8), Mean(3)
    several = Scored(network, kind="multiclass", target=2)
    torch.testing.assert_close(probabilities(several, image), network(image).double().softmax(1))
    two = Scored(Mean())
    torch.testing.assert_close(probabilities(two, image)[:, 1], two(image).double().sigmoid())
    torch.testing.assert_close(probabilities(embedded_classifier("smiling"), image).sum(1), torch.ones(4).double())
    number = Scored(Mean(), kind="regression", target=3.0)
    assert [index_of(each) for each in (several, two, embedded_classifier("smiling"), number)] == [2, 1, 1, None]


def test_a_classifier_is_known_by_its_weights(tmp_path):
    path = written(tmp_path, "safetensors")[1]
    one, again = (load_classifier(str(path), Mean(), size=size) for size in (8, 16))
    assert identical(one, again)
    assert not identical(one, Scored(Mean()))
    assert identical(Scored(embedded_classifier("smiling")), embedded_classifier("smiling"))
    assert not identical(embedded_classifier("smiling"), embedded_classifier("smiling_biased"))
    several = Mean(3)
    left, right = (Scored(several, kind="multiclass", target=target) for target in (0, 1))
    assert not identical(left, right), "another class is another attribute"


@pytest.mark.parametrize(
    "make,told",
    [
        (lambda: load_classifier(None), r"a classifier's file .*, got none: set classifier.path"),
        (lambda: Scored(Mean(), kind="multiclass"), "a target that suits classifier.kind=multiclass, got None"),
        (lambda: Scored(Mean(), target=1.0), "a target that suits classifier.kind=binary, got 1.0"),
        (lambda: Scored(Mean(3))(torch.rand(2, 3, 8, 8)), "one number per image of a binary classifier, got 3"),
        (lambda: Scored(Mean(3), kind="multiclass", target=3)(torch.rand(2, 3, 8, 8)), "a class from 0 to 2, got 3"),
        (lambda: Scored(Mean(), kind="ordinal"), "a classifier.kind out of binary, multiclass, regression"),
    ],
)
def test_settings_that_do_not_fit_are_told(make, told):
    with pytest.raises(IceError, match=told):
        make()


@pytest.mark.parametrize(
    "name,told",
    [
        ("c.pt", "a TorchScript file"),
        ("c.pt2", "an exported program"),
        ("c.safetensors", "a network for these weights"),
    ],
)
def test_broken_files_are_told(tmp_path, name, told):
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(IceError, match=told):
        load_classifier(str(tmp_path / name), trust=True)


@pytest.mark.parametrize("kind", ["pt", "pt2"])
def test_a_program_is_not_run_untrusted(tmp_path, kind):
    path = tmp_path / f"c.{kind}"
    path.write_bytes(b"nothing")  # not even opened
    with pytest.raises(IceError, match=r"code you trust, got a program at .*: set classifier.trust=true"):
        load_classifier(str(path))


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is here")
def test_timm_is_asked_for():
    with pytest.raises(IceError, match=r"the package timm, got No module named 'timm': pip install timm"):
        timm_classifier("resnet18")


def test_weights_that_do_not_fit_are_told(tmp_path):
    save_file(Mean(2).state_dict(), tmp_path / "c.safetensors")
    with pytest.raises(IceError, match=r"weights for Mean at .*, got .* of shape .* instead of"):
        load_classifier(str(tmp_path / "c.safetensors"), Mean())


class Says(nn.Module):
    def __init__(self, says):
        super().__init__()
        self.says = says

    def forward(self, image):
        return self.says(image)


@pytest.mark.parametrize(
    "says,told",
    [
        (lambda x: x.mean((1, 2, 3)).round(), "changes with the image, got one without a gradient"),
        (lambda x: (x.mean((1, 2, 3)) > 0.5).float(), "changes with the image, got one without a gradient"),
        (lambda x: 0 * x.sum((1, 2, 3)) + 1, "changes with the image, got a constant"),
        (lambda x: x.mean((1, 2, 3)) * torch.nan, "a finite score for someone"),
        (lambda x: x.mean((1, 2, 3)) + torch.rand(len(x)), "says the same twice"),
        (lambda x: x.mean((1, 2, 3)) - x.mean(), "sees each image by itself"),
        (lambda x: x.mean((2, 3)), r"one score per image from a classifier, \(4,\), got \(4, 3\)"),
        (
            lambda x: nn.functional.conv2d(x, torch.ones(1, 4, 1, 1))[:, 0, 0, 0],
            r"takes images of shape \(4, 3, 8, 8\)",
        ),
    ],
    ids="rounded threshold constant nan random batch shape channels".split(),
)
def test_the_probe_says_what_is_wrong(says, told):
    torch.manual_seed(0)
    with pytest.raises(IceError, match=told):
        check_explainable(Says(says), torch.rand(4, 3, 8, 8))


def test_the_probe_lets_someone_be_nan():
    def says(x):
        score = x.mean((1, 2, 3))
        return torch.where(torch.arange(len(x)) == 1, torch.nan, score)

    check_explainable(Says(says), torch.rand(4, 3, 8, 8))


def test_random_weights_are_another_network_and_the_same_each_time():
    classifier, image = embedded_classifier("smiling"), torch.rand(3, 3, 64, 64)
    one, same, other = (reinitialised(classifier, seed)(image) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, classifier(image))
    assert isinstance(reinitialised(classifier, 0), Classifier)
    assert reinitialised(Says(torch.sin), 0) is None


class Block(nn.Module):
    """A residual block of a transformer with LayerScale, as timm writes it."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.gamma_1, self.gamma_2 = (nn.Parameter(1e-1 * torch.ones(width)) for _ in "12")

    def forward(self, x):
        y = self.norm(x)
        x = x + self.gamma_1 * self.attention(y, y, y, need_weights=False)[0]
        return x + self.gamma_2 * self.mlp(x)


class ViT(nn.Module):
    """Tokens and positions of its own, a convolution by patches, batch statistics that a layer keeps frozen."""

    def __init__(self, width=8):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.cls_token, self.pos_embed = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, 5, width))
        self.temperature = nn.Parameter(torch.ones(()))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("grid", torch.linspace(0, 1, 4), persistent=False)
        self.register_buffer("order", torch.arange(4))
        self.norm, self.blocks = nn.BatchNorm2d(width), nn.ModuleList([Block(width), Block(width)])
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(width, 1))

    def forward(self, image):
        x = self.norm(self.patches(image)) / self.running_var.view(-1, 1, 1).sqrt()
        x = x.flatten(2).transpose(1, 2) + self.grid[:, None]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x[:, self.order]], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])[:, 0] * self.temperature


@pytest.fixture
def trained():
    """As if everything had been trained: no value is that of an initialisation."""
    torch.manual_seed(0)
    network = ViT()
    with torch.no_grad():
        for t in network.state_dict(keep_vars=True).values():
            if t.is_floating_point():
                t.copy_(torch.rand(t.shape) + 0.1)
    return network.eval()


def test_a_network_is_randomised_whole(trained):
    """Tokens, positions, gains, attention's bare weights, norms' statistics, parametrised ones: nothing stays."""
    twin, state = reinitialised(trained, 0), trained.state_dict()
    kept = [name for name, t in twin.state_dict().items() if t.is_floating_point() and torch.equal(t, state[name])]
    assert not kept
    share = [float((t == state[name]).float().mean()) for name, t in twin.state_dict().items() if t.numel() > 30]
    assert max(share) < 0.1
    assert torch.equal(twin.grid, trained.grid)
    assert torch.equal(twin.order, trained.order)
    assert torch.equal(twin.norm.running_mean, torch.zeros(8))
    image = torch.rand(3, 3, 8, 8)
    one, same, other = (reinitialised(trained, seed)(image) for seed in (0, 0, 1))
    assert one.isfinite().all()
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_what_is_shuffled_keeps_its_values(trained):
    twin = reinitialised(trained, 0)
    for name in ("cls_token", "running_var", "blocks.0.gamma_1"):
        mine, theirs = twin.state_dict()[name].flatten(), trained.state_dict()[name].flatten()
        assert torch.equal(mine.sort().values, theirs.sort().values)
    assert 0.3 < (twin.temperature / trained.temperature).item() < 3


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Parameter(torch.rand(9)), nn.Linear(3, 3)
            self.again = self.one

    twin = reinitialised(Tied(), 0)
    assert twin.one is twin.again


@pytest.mark.parametrize("kind", ["pt", "pt2"])
def test_a_program_says_that_it_cannot_be_randomised(tmp_path, kind):
    """Weights may be constants of its code."""
    _, path = written(tmp_path, kind)
    assert reinitialised(load_classifier(str(path), size=8, trust=True), 0) is None
