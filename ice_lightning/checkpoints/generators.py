"""Any StyleGAN2 checkpoint in, our Generator out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ice_lightning.checkpoints.dialects.detect import detect
from ice_lightning.checkpoints.errors import Refused
from ice_lightning.checkpoints.hyperparameters import Hyperparameters, settings
from ice_lightning.checkpoints.networks import ASSETS, sha256
from ice_lightning.checkpoints.weights import mismatch, read_untrusted
from ice_lightning.checks import finite, problem
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.ops import setup_filter
from ice_lightning.subspace import Subspace

CHECKPOINT = "ice_lightning.checkpoints.load_generator"
"""What conf/generator/default.yaml names, and provenance of subspaces of checkpoints."""
WHAT = "a StyleGAN2 generator"
"""What is expected in a file, for sentences."""
AVERAGE = 10_000
"""People behind a mean of w that a file doesn't hold; as many as rosinality's own scripts take."""


def load_generator(
    checkpoint: str | Path = "embedded", device: str | torch.device = "cpu", label: int | None = None
) -> Generator:
    """A generator in eval mode, frozen.

    What the file is, is found out from its content; resolution, channels, depth and learning rate of the mapping,
    classes, architecture, filter and clamp from its weights. Nothing in it is executed.

    Args:
        checkpoint: "embedded", or a path: NVIDIA's PyTorch (ADA, StyleGAN3's repository) or TensorFlow pickles,
            rosinality's .pt, e4e and pSp, genforce's .pth, a state dict (torch or safetensors), or our safetensors.
        device: where to put it.
        label: the class that a conditional generator draws where no labels are passed.

    Returns:
        The generator; its `fingerprint` is the SHA-256 of the file, its `name` is `checkpoint`, its `dialect` says
        what the file was.

    Raises:
        IceError: for a missing, truncated, hostile or foreign file, NaN weights, or a class that it does not have.

    Example:
        >>> G = load_generator("embedded")
        >>> G.resolution, tuple(G(G.people(2, seed=0, space="w"), space="w").shape)
        (128, (2, 3, 128, 128))
    """
    if not isinstance(checkpoint, str | Path):
        raise problem("embedded or the path of a checkpoint", repr(checkpoint), "pass a string or a Path")
    path = ASSETS / "generator.safetensors" if str(checkpoint) == "embedded" else Path(checkpoint)
    generator = read_untrusted(path, WHAT, lambda content, budget: build(*detect(content, budget)))
    for name, tensor in generator.state_dict().items():
        finite(f"{name} of {path}", tensor)
    if label is not None and not 0 <= label < generator.c_dim:
        got = f"{label} for a generator of {generator.c_dim or 'no'} classes"
        raise problem("generator.label to be one of its classes, counted from 0", got, "choose another, or drop it")
    generator.label = label
    generator.fingerprint, generator.name = sha256(path), str(checkpoint)
    # Channels last is a sixth faster; torch's stubs don't know the argument.
    return generator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def build(state: dict[str, Tensor], facts: Hyperparameters) -> Generator:
    """The generator with these weights, in eval mode, frozen.

    Args:
        state: under the names of stylegan2-ada-pytorch; what a file may leave out is added to it.
        facts: what the weights can't say.

    Returns:
        The generator.

    Raises:
        Refused: when weights are missing, left over or of another shape.
    """
    config = settings(state, facts)
    with torch.device("meta"):
        generator = Generator(**config)
    wanted = generator.state_dict()
    filters, unused = setup_filter(config["resample_filter"]), setup_filter((1, 3, 3, 1))
    for name, place in wanted.items():
        if name.endswith("resample_filter"):
            # Files agree on the filter itself, but not on its scale.
            state[name] = (unused if ".conv1." in name else filters).clone()
        elif name.endswith(("noise_const", "noise_strength")):
            state.setdefault(name, torch.zeros(place.shape))  # a generator without noise
    averaged = "mapping.w_avg" in state
    state.setdefault("mapping.w_avg", torch.zeros(config["w_dim"]))
    if got := mismatch(wanted, state):
        raise Refused(got, "pass a StyleGAN2 generator")
    generator.load_state_dict({name: t.float() for name, t in state.items()}, assign=True)
    generator = generator.eval().requires_grad_(False)
    generator.settings, generator.dialect = config, facts.dialect
    if not averaged:
        generator.mapping.w_avg = average(generator)
    return generator


def average(generator: Generator, count: int = AVERAGE) -> Tensor:
    """The mean of w over people, over all classes alike for a conditional generator.

    Args:
        generator: whose mapping is asked.
        count: people.

    Returns:
        (w_dim,).
    """
    z = torch.randn(count, generator.z_dim, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(generator.c_dim)[torch.arange(count) % generator.c_dim] if generator.c_dim else None
    with torch.no_grad():
        mean: Tensor = generator.mapping(z, labels).mean(0)
    return mean


def generator_of(subspace: Subspace, make: Callable[[Any], AnyGenerator] | None = None) -> AnyGenerator:
    """The generator that a subspace was found on: the checkpoint that its provenance names.

    Args:
        subspace: says what it was found on.
        make: makes a generator that isn't a checkpoint of its settings; None refuses such a generator, since a file
            that somebody shares must not say what code is run.

    Returns:
        The generator, whose fingerprint is that of the provenance.

    Raises:
        IceError: when its file is gone, is another one by now, or no checkpoint.
    """
    provenance = subspace.provenance
    config = provenance["config"]["generator"]
    if config["_target_"] == CHECKPOINT:
        G: AnyGenerator = load_generator(provenance["generator"], label=config.get("label"))
    elif make is not None:
        G = make(config)
    else:
        fix = "make films of it by task=traverse generator=own with the settings that the search had"
        raise problem("a subspace of a checkpoint", f"one of {config['_target_']}", fix)
    subspace.check_generator(G)
    return G
