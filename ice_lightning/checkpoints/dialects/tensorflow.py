"""NVIDIA's TensorFlow pickles: StyleGAN2 (configs b to f) and StyleGAN2-ADA.

Format: (G, D, Gs), each a dnnlib.tflib.network.Network with the state version, static_kwargs, components
(mapping, synthesis) and variables [(name, array)] of its own. Layouts: convolutions (height, width, in, out), those
that upsample turned by 180 degrees; dense layers (in, out); the modulation's bias without the one it starts at.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ice_lightning.checkpoints.errors import Refused
from ice_lightning.checkpoints.formats.pickles import Record
from ice_lightning.checkpoints.formats.tensors import Entry, Stored, number, stored
from ice_lightning.checkpoints.hyperparameters import Hyperparameters, numbers

DEFAULTS = {"nonlinearity": "lrelu", "mapping_nonlinearity": "lrelu", "normalize_latents": True}
"""Settings of which only the usual value can be read."""


def read(tree: Any) -> tuple[dict[str, Stored | Entry], Hyperparameters] | None:
    """Variables by their names in TensorFlow, and the settings; None for another dialect.

    Raises:
        Refused: for another network than StyleGAN2's, or settings that no checkpoint has.
    """
    networks = tree if isinstance(tree, (tuple, list)) else [tree]
    if not networks or not all(isinstance(n, Record) and n.name.endswith("network.Network") for n in networks):
        return None
    state = networks[-1].state
    variables: dict[str, Stored | Entry] = {}
    components = collect(state, "", variables)
    kwargs: dict[str, Any] = {}
    for part in (state, *components):
        if isinstance(part.get("static_kwargs"), dict):
            kwargs |= part["static_kwargs"]
    function = str(state.get("build_func_name", ""))
    if "style" in function.lower() and "stylegan2" not in function.lower():
        raise Refused("a StyleGAN1 generator (config-a)", "pass a StyleGAN2: config-b to config-f, or ADA")
    if not any(name.startswith("synthesis/4x4/Conv/mod_weight") for name in variables):
        raise Refused(
            f"a TensorFlow network built by {function or 'an unnamed function'}", "pass a StyleGAN2 generator"
        )
    for name, usual in DEFAULTS.items():
        if kwargs.get(name, usual) != usual:
            raise Refused(f"{name}={kwargs[name]!r}", f"pass a generator with {name}={usual!r}")
    kernel = kwargs.get("resample_kernel", [1, 3, 3, 1])
    lines = [number(k) for k in kernel] if isinstance(kernel, (list, tuple)) else [1.0, 1.0]
    clamp, lr = number(kwargs.get("conv_clamp")), number(kwargs.get("mapping_lrmul", 0.01))
    joint = "mapping/LabelConcat/weight" in variables
    taps = tuple(t for t in lines if t is not None)
    dialect = f"NVIDIA TensorFlow pickle ({'StyleGAN2' if joint or clamp is None else 'ADA'})"
    return variables, Hyperparameters(dialect, lr, clamp, taps, "joint" if joint else "apart")


def collect(state: Any, prefix: str, variables: dict[str, Stored | Entry], depth: int = 0) -> list[dict[str, Any]]:
    """Collect a network's variables, and those of its components.

    Args:
        state: of the network.
        prefix: of its variables' names.
        variables: where the variables are put, by name.
        depth: how many networks it is a component of.

    Returns:
        The states of its components.

    Raises:
        Refused: for a network without a state, or too many within one another.
    """
    if not isinstance(state, dict) or depth > 2:
        raise Refused("a TensorFlow network without a state")
    pairs = state.get("variables")
    for pair in pairs if isinstance(pairs, (list, tuple)) else []:
        tensor = stored(pair[1]) if isinstance(pair, tuple) and len(pair) == 2 else None
        if tensor is not None:
            variables[f"{prefix}{pair[0]}"] = tensor
    states = []
    components = state.get("components")
    for name, component in list((components if isinstance(components, dict) else {}).items())[:8]:
        if isinstance(component, Record):
            states += [component.state, *collect(component.state, f"{prefix}{name}/", variables, depth + 1)]
    return states


def wanted(name: str) -> bool:
    """Whether a variable is the mapping's or the synthesis's, or the mean of w."""
    return name.startswith(("mapping/", "synthesis/", "dlatent_avg"))


def rename(v: dict[str, Tensor]) -> dict[str, Tensor]:
    """Variables of TensorFlow -> tensors under the names of stylegan2-ada-pytorch.

    Raises:
        KeyError: when a variable is missing.
    """
    state: dict[str, Tensor] = {"mapping.w_avg": v["dlatent_avg"]}
    if "mapping/LabelEmbed/weight" in v:
        state["mapping.embed.weight"] = v["mapping/LabelEmbed/weight"].T
        state["mapping.embed.bias"] = v["mapping/LabelEmbed/bias"]
    elif "mapping/LabelConcat/weight" in v:
        # Neither a bias nor a gain there; ours divides by the root of the number of classes.
        table = v["mapping/LabelConcat/weight"]
        state["mapping.embed.weight"] = table.T * math.sqrt(table.shape[0])
        state["mapping.embed.bias"] = torch.zeros(table.shape[1])
    for i in numbers(v, r"mapping/Dense(\d+)/weight"):
        state[f"mapping.fc{i}.weight"] = v[f"mapping/Dense{i}/weight"].T
        state[f"mapping.fc{i}.bias"] = v[f"mapping/Dense{i}/bias"]
    state["synthesis.b4.const"] = v["synthesis/4x4/Const/const"][0]
    resolutions = numbers(v, r"synthesis/(\d+)x\d+/")
    if "synthesis/ToRGB_lod0/weight" in v:
        v |= {
            name.replace("ToRGB_lod0", f"{resolutions[-1]}x{resolutions[-1]}/ToRGB"): t
            for name, t in v.items()
            if "lod0" in name
        }
    row = 0
    for pixels in resolutions:
        scope, block = f"synthesis/{pixels}x{pixels}/", f"synthesis.b{pixels}."
        for theirs, ours in (("Conv", "conv1"), ("Conv0_up", "conv0"), ("Conv1", "conv1"), ("ToRGB", "torgb")):
            if f"{scope}{theirs}/weight" not in v:
                continue
            layer, new = f"{scope}{theirs}/", f"{block}{ours}."
            weight = v[f"{layer}weight"]
            state[f"{new}weight"] = (weight.flip(0, 1) if ours == "conv0" else weight).permute(3, 2, 0, 1)
            state[f"{new}bias"] = v[f"{layer}bias"]
            state[f"{new}affine.weight"] = v[f"{layer}mod_weight"].T
            state[f"{new}affine.bias"] = v[f"{layer}mod_bias"] + 1
            if ours != "torgb":
                state[f"{new}noise_const"] = v[f"synthesis/noise{row}"][0, 0]
                state[f"{new}noise_strength"] = v[f"{layer}noise_strength"]
                row += 1
        if f"{scope}Skip/weight" in v:
            state[f"{block}skip.weight"] = v[f"{scope}Skip/weight"].permute(3, 2, 0, 1)
    return state
