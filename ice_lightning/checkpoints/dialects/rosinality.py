"""Checkpoints of rosinality/stylegan2-pytorch, and what wraps it: e4e, pSp, StyleCLIP, StyleGAN-NADA.

Format (model.py there): `g_ema` with style.N, input.input, conv1, convs.N, to_rgb1, to_rgbs.N and noises.noise_N;
wrappers put the same under `decoder.`, with `latent_avg` beside. Convolutions have a leading axis of one.
"""

from __future__ import annotations

from torch import Tensor

from ice_lightning.checkpoints.hyperparameters import numbers


def rename(v: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of rosinality's names -> those of stylegan2-ada-pytorch.

    Raises:
        KeyError: when one is missing.
    """
    state: dict[str, Tensor] = {"synthesis.b4.const": v["input.input"][0]}
    for row, i in enumerate(numbers(v, r"style\.(\d+)\.weight")):
        state[f"mapping.fc{row}.weight"], state[f"mapping.fc{row}.bias"] = v[f"style.{i}.weight"], v[f"style.{i}.bias"]
    layers = [("conv1", "b4.conv1"), ("to_rgb1", "b4.torgb")]
    layers += [(f"convs.{i}", f"b{8 * 2 ** (i // 2)}.conv{i % 2}") for i in numbers(v, r"convs\.(\d+)\.")]
    layers += [(f"to_rgbs.{i}", f"b{8 * 2**i}.torgb") for i in numbers(v, r"to_rgbs\.(\d+)\.")]
    for theirs, ours in layers:
        new = f"synthesis.{ours}."
        state[f"{new}weight"] = v[f"{theirs}.conv.weight"][0]
        state[f"{new}affine.weight"] = v[f"{theirs}.conv.modulation.weight"]
        state[f"{new}affine.bias"] = v[f"{theirs}.conv.modulation.bias"]
        if ours.endswith("torgb"):
            state[f"{new}bias"] = v[f"{theirs}.bias"].flatten()
        else:
            state[f"{new}bias"] = v[f"{theirs}.activate.bias"]
            state[f"{new}noise_strength"] = v[f"{theirs}.noise.weight"].squeeze()
        if (blur := v.get(f"{theirs}.conv.blur.kernel")) is not None:
            state[f"synthesis.{ours.split('.')[0]}.resample_filter"] = blur / blur.sum()
    for i in numbers(v, r"noises\.noise_(\d+)"):
        noise = v[f"noises.noise_{i}"][0, 0]
        state[f"synthesis.b{noise.shape[-1]}.conv{1 if i == 0 else (i + 1) % 2}.noise_const"] = noise
    if (average := v.get("latent_avg")) is not None:
        state["mapping.w_avg"] = average.reshape(-1, average.shape[-1]).mean(0)
    return state


def matches(names: set[str]) -> bool:
    """Whether these are the names of this dialect."""
    return {"input.input", "conv1.conv.weight", "to_rgb1.conv.weight"} <= names
