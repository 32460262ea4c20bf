"""Classifiers: an image in, one signed score out, whose sign is the decision."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ice_lightning.checkpoints import ASSETS, load_network, read_weights
from ice_lightning.checks import one_of, problem
from ice_lightning.modules.fingerprint import fingerprint
from ice_lightning.modules.layers import Trunk, resize

EMBEDDED = ("smiling", "smiling_biased", "narrow_eyes", "glasses")
KINDS = ("binary", "multiclass", "regression")


class Classifier(nn.Module):
    """Image to a binary logit.

    Args:
        size: the side that the network works at.
        widths: channels of the encoder's stages.
    """

    def __init__(self, size: int = 64, widths: tuple[int, ...] = (16, 32, 48, 64)) -> None:
        super().__init__()
        self.size = size
        self.trunk = Trunk(tuple(widths))
        self.head = nn.Linear(widths[-1] * (size >> len(widths)) ** 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N,) logits; positive means that the attribute is there."""
        return self.head(self.trunk(resize(image, self.size))[-1].flatten(1))[:, 0]


def embedded(name: str) -> Classifier:
    """A classifier that ships with the package.

    Args:
        name: smiling, narrow_eyes, glasses, or smiling_biased: trained where 95 % of the smiling have dark hair.
    """
    one_of("classifier", name, EMBEDDED)
    network = load_network(ASSETS / f"{name}.safetensors", name, Classifier)
    assert isinstance(network, Classifier)
    return network


class Scored(nn.Module):
    """Anybody's classifier behind its own preprocessing, as one signed score.

    Args:
        network: (N, 3, size, size), normalised -> (N,) or (N, 1) logits, (N, C) logits or (N,) numbers, by `kind`.
        size: side at which it works; None for that of the image.
        mean: of the normalisation, per channel, of values in 0..1.
        std: of the normalisation.
        kind: binary (the logit), multiclass (the target's logit less the largest other), regression (less the target).
        target: the class, from 0, or the number from which on the decision is positive.
    """

    def __init__(
        self,
        network: nn.Module,
        size: int | None = None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        kind: str = "binary",
        target: float | None = None,
    ) -> None:
        super().__init__()
        one_of("classifier.kind", kind, KINDS)
        if (kind == "binary") != (target is None):
            fix = "set classifier.target to a class or a number with multiclass and regression, and leave it out else"
            raise problem(f"a target that suits classifier.kind={kind}", target, fix)
        self.network, self.size, self.kind, self.target = network, size, kind, target
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Scored:
        """Nothing: the network stays in the mode in which it was read, and an exported one knows no other."""
        return self

    def outputs(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N, C), what the network returns.

        Raises:
            IceError: when C doesn't suit the kind and the target.
        """
        seen = (resize(image, self.size or image.shape[-1]) - self.mean) / self.std
        out = self.network(seen).reshape(len(image), -1)
        columns = out.shape[1]
        if self.kind == "multiclass" and not (columns > 1 and 0 <= int(self.target or 0) < columns):
            raise problem(f"a class from 0 to {columns - 1}", self.target, "set classifier.target to one of them")
        if self.kind != "multiclass" and columns != 1:
            fix = "set classifier.kind=multiclass and classifier.target to a class"
            raise problem(f"one number per image of a {self.kind} classifier", columns, fix)
        return out

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) in 0..1 -> (N,)."""
        out = self.outputs(image)
        if self.kind != "multiclass":
            return out[:, 0] - (self.target or 0.0)
        index = int(self.target or 0)
        return out[:, index] - torch.cat([out[:, :index], out[:, index + 1 :]], 1).amax(1)


def index_of(classifier: nn.Module) -> int | None:
    """The column of `probabilities` that the decision is about; None for a regression, which has none."""
    if isinstance(classifier, Scored) and classifier.kind != "binary":
        return int(classifier.target or 0) if classifier.kind == "multiclass" else None
    return 1


def probabilities(classifier: nn.Module, image: Tensor) -> Tensor:
    """(N, 3, H, W) in 0..1 -> (N, C), rows that add up to 1.

    The softmax of a multiclass network's logits; of any other score its sigmoid, column 1, and what is left, column 0.
    """
    if isinstance(classifier, Scored) and classifier.kind == "multiclass":
        return classifier.outputs(image).double().softmax(1)
    score = classifier(image).double()
    return torch.stack([-score, score], 1).sigmoid()


def identical(one: nn.Module, other: nn.Module) -> bool:
    """Whether two classifiers decide the same by the same weights, whatever their preprocessing and their names."""

    def core(classifier: nn.Module) -> tuple[str, str, float | None]:
        if isinstance(classifier, Scored):
            return fingerprint(classifier.network), classifier.kind, classifier.target
        return fingerprint(classifier), "binary", None

    return core(one) == core(other)


def own(
    path: str | None,
    network: nn.Module | None = None,
    size: int | None = None,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    kind: str = "binary",
    target: float | None = None,
    name: str = "own",
    trust: bool = False,
) -> Scored:
    """A classifier of one's own, frozen, in eval mode: weights for a network, or a whole program.

    Weights are read without executing anything. A program is code: TorchScript runs what it says, and
    torch.export.load unpickles with `weights_only=False` what its archive declares as pickled.

    Args:
        path: weights (.safetensors, .pt, .pth) for `network`; without one, TorchScript or an exported program (.pt2).
        network: an instance; in a config, its `_target_` and arguments.
        size: see Scored.
        mean: see Scored.
        std: see Scored.
        kind: see Scored.
        target: see Scored.
        name: what reports call it; the configuration carries it.
        trust: that a program may be executed.

    Raises:
        IceError: for no file, weights that don't fit, a program that isn't trusted, or one that can't be read.
    """
    if path is None or not Path(path).is_file():
        raise problem("a classifier's file (weights, TorchScript or .pt2)", path or "none", "set classifier.path")
    if network is not None:
        module = filled_with(Path(path), network)
    elif Path(path).suffix == ".safetensors":
        raise problem("a network for these weights", "none", "set +classifier.network._target_=MODULE.CLASS")
    elif not trust:
        instead = "pass weights and +classifier.network._target_=MODULE.CLASS"
        fix = f"set classifier.trust=true if you trust its author, or {instead}"
        raise problem("weights, or a program whose code you trust", f"a program at {path}", fix)
    else:
        module = program(Path(path))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return Scored(module, size, tuple(mean), tuple(std), kind, target)


def program(path: Path) -> nn.Module:
    """A file by torch.export.save (.pt2) or torch.jit.save; both can execute code.

    Raises:
        IceError: when neither reader understands it.
    """
    try:
        if path.suffix == ".pt2":
            return torch.export.load(str(path)).module()
        return torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # whatever these readers stumble on
        fix = "write it by torch.jit.script(network).save or, with a dynamic first dimension, by torch.export.save"
        what = "an exported program" if path.suffix == ".pt2" else "a TorchScript file"
        raise problem(f"{what} at {path}", type(error).__name__, fix) from error


def filled_with(path: Path, network: nn.Module) -> nn.Module:
    """The network with the weights of a file, in eval mode."""
    what = f"weights for {type(network).__name__}"
    try:
        network.load_state_dict(read_weights(path, what))
    except RuntimeError as error:
        got = " ".join(str(error).split())
        raise problem(f"{what} at {path}", got, "pass the file that it was saved to") from error
    return network.eval()


def timm(model_name: str, num_classes: int = 1) -> nn.Module:
    """A network of the timm library by its name, without weights.

    Raises:
        IceError: when timm isn't installed, or doesn't know the name.
    """
    try:
        from timm import create_model
    except ImportError as error:
        raise problem("the package timm", str(error), "pip install timm") from error
    try:
        module: nn.Module = create_model(model_name, num_classes=num_classes)
    except RuntimeError as error:
        raise problem("a network that timm knows", f"'{model_name}'", "see timm.list_models()") from error
    return module


def reinitialised(classifier: nn.Module, seed: int) -> nn.Module | None:
    """A copy in which nothing trained is left; None for a program, whose code may hold weights, or without weights.

    Layers are drawn by their own initialisation. What this leaves as it was (a transformer's tokens and positions, the
    gains of LayerScale, batch statistics of a layer that keeps them frozen) has its values shuffled, which keeps their
    scale and their sign; a single number is multiplied by one from e^-1 to e.

    Args:
        classifier: any module; state that it doesn't save with its weights counts as part of its code.
        seed: of everything that is drawn.
    """
    if any(isinstance(part, torch.jit.ScriptModule | torch.fx.GraphModule) for part in classifier.modules()):
        return None
    twin = copy.deepcopy(classifier)
    saved = twin.state_dict(keep_vars=True).values()  # the twin's own tensors; non-persistent buffers aren't among them
    trained = {id(t): t for t in saved if isinstance(t, Tensor) and t.is_floating_point()}.values()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        before = [t.clone() for t in trained]
        for layer in twin.modules():
            if callable(getattr(layer, "reset_parameters", None)):
                layer.reset_parameters()  # type: ignore[operator]
        for t, old in zip(trained, before, strict=True):
            if torch.equal(t, old):
                t.copy_(shuffled(t))
    return twin.requires_grad_(False).eval() if trained else None


def shuffled(t: Tensor) -> Tensor:
    """The values of a tensor at other places; of one value, another of its sign and size."""
    if t.numel() == 1:
        return t * math.exp(2 * torch.rand(()) - 1)
    values = t.flatten()
    other = values[torch.randperm(len(values)).to(t.device)]
    return (values.roll(1) if torch.equal(other, values) else other).view_as(t)


def probe(classifier: nn.Module, image: Tensor) -> None:
    """Refuse a classifier that can't be explained, seen on images (N, 3, H, W) of several people.

    Raises:
        IceError: unless it gives one score per image, the same each time, alone or in a batch, finite for someone,
            and with a gradient.
    """
    try:
        with torch.enable_grad():
            seen = image.detach().clone().requires_grad_()
            score = classifier(seen)
    except RuntimeError as error:
        fix = "set classifier.size to the side that it takes, and export it with a dynamic first dimension"
        raise problem(
            f"a classifier that takes images of shape {tuple(image.shape)}", str(error).splitlines()[0], fix
        ) from error
    if score.shape != (len(image),):
        raise problem(f"one score per image, ({len(image)},)", tuple(score.shape), "return a single logit")
    with torch.no_grad():
        again, alone = classifier(image), classifier(image[:1])
    known = score.detach().isfinite()
    if not known.any():
        raise problem("a finite score for someone", "none", "check the classifier's size, mean and std")
    if not torch.equal(score.detach()[known], again[known]):
        fix = "put it into eval mode and switch its randomness off"
        raise problem("a classifier that says the same twice", "another score for the same image", fix)
    if known[0] and (alone - score[:1]).abs() > 1e-3 * (1 + score[:1].abs()):
        fix = "put its batch normalisation into eval mode"
        raise problem("a classifier that sees each image by itself", "another score beside other images", fix)
    with torch.enable_grad():
        g = torch.autograd.grad(score[known].sum(), seen)[0] if score.requires_grad else torch.zeros(1)
    if not g[g.isfinite()].any():
        same = len(score) > 1 and bool((score[known] == score[known][0]).all())
        got = "a constant" if same else "one without a gradient"
        raise problem("a classifier whose score changes with the image", got, "pass its logits, before any threshold")
