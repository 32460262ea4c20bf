"""Classifiers to explain: embedded ones, the user's own, those of timm; binary, multi-class or regression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ice_lightning.checkpoints import ASSETS, load_network, mismatch, read_weights
from ice_lightning.checks import NotFound, Unreadable, one_of, problem
from ice_lightning.modules.classifier import Classifier, Scored

EMBEDDED = ("smiling", "smiling_biased", "narrow_eyes", "glasses")
"""Names of those that ship with the package."""


def embedded_classifier(name: str) -> Classifier:
    """A classifier that ships with the package.

    Args:
        name: smiling, narrow_eyes, glasses, or smiling_biased: trained where 95 % of the smiling have dark hair.

    Raises:
        IceError: for another name.

    Example:
        >>> embedded_classifier("glasses")(torch.zeros(2, 3, 128, 128)).shape
        torch.Size([2])
    """
    one_of("classifier", name, EMBEDDED)
    network = load_network(ASSETS / f"{name}.safetensors", name, Classifier)
    assert isinstance(network, Classifier)
    return network


def load_classifier(
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
        size: the resolution that it works at, in pixels; None for that of the image.
        mean: of the normalisation, per channel, of values in 0..1.
        std: of the normalisation, per channel, of values in 0..1.
        kind: binary (one logit), multiclass (the target's logit less the largest other) or regression (the number less
            the target).
        target: the class, from 0, or the number from which on the decision is positive; None for binary.
        name: what reports call it; the configuration carries it.
        trust: that a program may be executed.

    Returns:
        Images (N, 3, H, W) in 0..1 -> scores (N,).

    Raises:
        IceError: for no file, weights that don't fit, a program that isn't trusted, or one that can't be read.
    """
    if path is None or not Path(path).is_file():
        raise problem(
            "a classifier's file (weights, TorchScript or .pt2)", path or "none", "set classifier.path", NotFound
        )
    if network is not None:
        module = load_weights(Path(path), network)
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
        raise problem(f"{what} at {path}", type(error).__name__, fix, Unreadable) from error


def load_weights(path: Path, network: nn.Module) -> nn.Module:
    """Load a file into a network; returns it in eval mode.

    Args:
        path: a state dict.
        network: of any class, with its own rules for loading.

    Returns:
        The network.

    Raises:
        IceError: for weights that the network refuses.
    """
    what = f"weights for {type(network).__name__}"
    state = read_weights(path, what)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        got = mismatch(network.state_dict(), state) or " ".join(str(error).split())
        raise problem(f"{what} at {path}", got, "pass the file that it was saved to", Unreadable) from error
    return network.eval()


def timm_classifier(model_name: str, num_classes: int = 1) -> nn.Module:
    """A network of the timm library by its name, without weights.

    Args:
        model_name: as in timm.list_models().
        num_classes: outputs.

    Returns:
        The network.

    Raises:
        IceError: when timm isn't installed, or doesn't know the name.
    """
    try:
        from timm import create_model
    except ImportError as error:
        raise problem("the package timm", str(error), "pip install timm", NotFound) from error
    try:
        module: nn.Module = create_model(model_name, num_classes=num_classes)
    except RuntimeError as error:
        raise problem("a network that timm knows", f"'{model_name}'", "see timm.list_models()") from error
    return module
