"""Checkpoints of genforce/genforce: StyleGAN2 and StyleGAN2-ADA.

Format (models/stylegan2_generator.py there): `generator_smooth` with mapping.denseN, truncation.w_avg,
synthesis.early_layer, synthesis.layerN (its noise beside its weights) and synthesis.outputN. Convolutions that upsample
keep TensorFlow's direction, turned by 180 degrees, and the modulation's bias lacks the one it starts at.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ice_lightning.checkpoints.hyperparameters import numbers


def rename(v: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of genforce's names -> those of stylegan2-ada-pytorch.

    Raises:
        KeyError: when one is missing.
    """
    state: dict[str, Tensor] = {"synthesis.b4.const": v["synthesis.early_layer.const"][0]}
    width = v["synthesis.layer0.style.weight"].shape[1]
    if "truncation.w_avg" in v:
        state["mapping.w_avg"] = v["truncation.w_avg"].reshape(-1, width).mean(0)
    if "mapping.label_weight" in v:
        table = v["mapping.label_weight"]
        state["mapping.embed.weight"] = table.T * math.sqrt(table.shape[0])
        state["mapping.embed.bias"] = torch.zeros(table.shape[1])
    elif "mapping.LabelEmbed.weight" in v:
        state["mapping.embed.weight"] = v["mapping.LabelEmbed.weight"]
        state["mapping.embed.bias"] = v["mapping.LabelEmbed.bias"]
    for i in numbers(v, r"mapping\.dense(\d+)\."):
        state[f"mapping.fc{i}.weight"] = v[f"mapping.dense{i}.weight"]
        state[f"mapping.fc{i}.bias"] = v[f"mapping.dense{i}.bias"]
    layers = [(f"layer{i}", 4 * 2 ** ((i + 1) // 2), f"conv{1 if i == 0 else (i + 1) % 2}")
              for i in numbers(v, r"synthesis\.layer(\d+)\.")]  # fmt: skip
    layers += [(f"output{i}", 4 * 2**i, "torgb") for i in numbers(v, r"synthesis\.output(\d+)\.")]
    for theirs, pixels, ours in layers:
        layer, new = f"synthesis.{theirs}.", f"synthesis.b{pixels}.{ours}."
        weight = v[f"{layer}weight"]
        state[f"{new}weight"] = weight.flip(2, 3) if ours == "conv0" else weight
        state[f"{new}bias"] = v[f"{layer}bias"]
        state[f"{new}affine.weight"] = v[f"{layer}style.weight"]
        state[f"{new}affine.bias"] = v[f"{layer}style.bias"] + 1
        if ours != "torgb":
            state[f"{new}noise_const"] = v[f"{layer}noise"][0, 0]
            state[f"{new}noise_strength"] = v[f"{layer}noise_strength"].reshape(())
        if (kernel := v.get(f"{layer}filter.kernel")) is not None:
            state[f"synthesis.b{pixels}.resample_filter"] = kernel[0, 0] / kernel.sum()
    return state


def matches(names: set[str]) -> bool:
    """Whether these are the names of this dialect."""
    return {"synthesis.early_layer.const", "synthesis.layer0.noise_strength", "synthesis.layer0.style.weight"} <= names
