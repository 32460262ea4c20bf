"""A generator's settings from its weights: all but three numbers are in their names and shapes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ice_lightning.checkpoints.errors import Refused


@dataclass(frozen=True)
class Hyperparameters:
    """What a file knows beyond its weights.

    Attributes:
        dialect: whose file it is, for people.
        lr_multiplier: of the mapping network; None to read it from the size of its weights.
        conv_clamp: limit on activations, None for none.
        taps: resampling filter; None to read it from the weights, or the usual (1, 3, 3, 1).
        label_norm: "apart" (ADA) or "joint" (StyleGAN2 in TensorFlow), see Generator.
    """

    dialect: str
    lr_multiplier: float | None = None
    conv_clamp: float | None = None
    taps: tuple[float, ...] | None = None
    label_norm: str = "apart"


def numbers(state: dict[str, Tensor], pattern: str) -> list[int]:
    r"""The numbers in the names of weights.

    Args:
        state: weights by name.
        pattern: a regular expression with one group, of digits.

    Returns:
        Each once, ascending.

    Example:
        >>> numbers({"fc0.weight": torch.ones(1), "fc10.bias": torch.ones(1)}, r"fc(\d+)\.")
        [0, 10]
    """
    return sorted({int(match[1]) for name in state if (match := re.match(pattern, name))})


def settings(state: dict[str, Tensor], facts: Hyperparameters) -> dict[str, Any]:
    """The arguments of Generator for some weights.

    Args:
        state: under the names of stylegan2-ada-pytorch.
        facts: what the weights can't say.

    Returns:
        Arguments by name.

    Raises:
        Refused: when blocks, layers or weights are missing, or a shape is impossible.
    """

    def shape(name: str, axes: int) -> tuple[int, ...]:
        if name not in state:
            raise Refused(f"one without {name}", "pass a StyleGAN2 generator")
        if state[name].ndim != axes or 0 in state[name].shape:
            raise Refused(f"{name} of shape {tuple(state[name].shape)}", "pass a StyleGAN2 generator")
        return tuple(state[name].shape)

    blocks = numbers(state, r"synthesis\.b(\d+)\.")
    if not 2 <= len(blocks) <= 11 or blocks != [4 * 2**i for i in range(len(blocks))]:
        raise Refused(f"blocks of {', '.join(map(str, blocks)) or 'no'} px", "pass a StyleGAN2 generator: 4, 8, 16 ...")
    layers = numbers(state, r"mapping\.fc(\d+)\.")
    if not layers or layers != list(range(len(layers))):
        raise Refused(f"mapping layers {layers}", "pass the whole generator, mapping and synthesis")
    first, last = shape("mapping.fc0.weight", 2), shape(f"mapping.fc{layers[-1]}.weight", 2)
    embed = shape("mapping.embed.weight", 2) if "mapping.embed.weight" in state else (0, 0)
    block = f"synthesis.b{blocks[-1]}"
    skips = any(".skip." in name for name in state)
    torgbs = numbers(state, r"synthesis\.b(\d+)\.torgb\.")
    channels = [shape(f"synthesis.b{pixels}.conv1.weight", 4)[0] for pixels in blocks]
    return {
        "z_dim": first[1] - embed[0],
        "w_dim": last[0],
        "c_dim": embed[1],
        "img_resolution": blocks[-1],
        "img_channels": shape(f"{block}.torgb.weight", 4)[0],
        "mapping_layers": len(layers),
        "lr_multiplier": facts.lr_multiplier or lr_multiplier(state["mapping.fc0.weight"]),
        "embed_features": embed[0] or None,
        "layer_features": first[0],
        "label_norm": facts.label_norm,
        **widths(blocks, channels),
        "architecture": "resnet" if skips else "skip" if len(torgbs) > 1 else "orig",
        "conv_clamp": facts.conv_clamp,
        "resample_filter": list(facts.taps or taps(state.get(f"{block}.resample_filter"))),
    }


def widths(resolutions: list[int], channels: list[int]) -> dict[str, Any]:
    """Channels of blocks as the usual rule min(base // resolution, max) where it fits, else as they are.

    Args:
        resolutions: of the blocks, in pixels.
        channels: of the blocks.

    Returns:
        Arguments of Generator by name.

    Example:
        >>> widths([4, 8, 16], [512, 512, 256])
        {'channel_base': 4096, 'channel_max': 512}
    """
    most = max(channels)
    products = (c * pixels for pixels, c in zip(resolutions, channels, strict=True) if c < most)
    base = min(products, default=most * resolutions[-1])
    if channels == [min(base // pixels, most) for pixels in resolutions]:
        return {"channel_base": base, "channel_max": most}
    return {"channels": channels}


def lr_multiplier(weight: Tensor) -> float:
    """The learning-rate multiplier of a mapping layer: its weights start at a deviation of one over it.

    Networks use 0.01 or 1, and training hardly changes the deviation, so the nearest power of ten is taken.

    Example:
        >>> lr_multiplier(torch.tensor([-90.0, 80.0, 110.0]))
        0.01
    """
    deviation = float(weight.double().std()) if weight.numel() > 1 else 1.0
    return 10.0 ** -round(math.log10(deviation)) if 1e-4 < deviation < 1e6 else 1.0


def taps(f: Tensor | None) -> tuple[float, ...]:
    """The taps t of a filter that is the outer product t t^T, in any scale.

    Args:
        f: (k, k) or (k,); None for the usual (1, 3, 3, 1).

    Returns:
        Whole numbers of which the smallest is 1, where there are such; else numbers that add up to 1.

    Raises:
        Refused: for a filter that isn't such a product.

    Example:
        >>> taps(torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16)
        (1.0, 2.0, 1.0)
    """
    if f is None:
        return (1, 3, 3, 1)
    f = f.double().squeeze()
    if f.ndim not in (1, 2) or not 0 < f.shape[-1] <= 64 or not (f.isfinite().all() and f.sum() > 0):
        raise Refused(f"a resampling filter of shape {tuple(f.shape)}", "pass a StyleGAN2 generator")
    line = f if f.ndim == 1 else f.sum(0)
    if f.ndim == 2 and not torch.allclose(torch.outer(f.sum(1), line) / f.sum(), f, atol=1e-6 * float(f.abs().max())):
        raise Refused("a resampling filter that isn't separable", "pass a StyleGAN2 generator")
    least = line[line != 0].abs().min()
    whole = (line / least).round()
    return tuple((whole if torch.allclose(line / least, whole, atol=1e-4) else line / line.sum()).tolist())
