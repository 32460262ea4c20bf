"""NVIDIA's PyTorch pickles: NVlabs/stylegan2-ada-pytorch and the StyleGAN2 of NVlabs/stylegan3.

Format: a dict with the module G_ema; each module is a call of torch_utils.persistence's `_reconstruct_persistent_obj`
with a dict of the class's name, its source code and its state. The state is read, the source code never is.
"""

from __future__ import annotations

from typing import Any

from ice_lightning.checkpoints.dialects.foreign import check_names
from ice_lightning.checkpoints.errors import Refused
from ice_lightning.checkpoints.formats.pickles import Record
from ice_lightning.checkpoints.formats.tensors import Entry, Stored, number, stored
from ice_lightning.checkpoints.hyperparameters import Hyperparameters

MODULES = 10_000
"""More parts than any network has; a file may say that a part contains itself."""


def read(tree: Any) -> tuple[dict[str, Stored | Entry], Hyperparameters] | None:
    """Tensors by their names, and the numbers that only the objects know; None for another dialect.

    Raises:
        Refused: for another network, activations other than leaky ReLU, or a broken object.
    """
    if isinstance(tree, dict) and any(isinstance(tree.get(name), Record) for name in ("G_ema", "G")):
        tree = tree.get("G_ema") or tree["G"]
    if not (isinstance(tree, Record) and tree.name.endswith("_reconstruct_persistent_obj")):
        return None
    tensors: dict[str, Stored | Entry] = {}
    attributes: dict[str, dict[str, Any]] = {}
    waiting = [("", tree)]
    while waiting:
        prefix, module = waiting.pop()
        state = state_of(module)
        attributes[prefix] = state
        if len(attributes) > MODULES:
            raise Refused("a network without an end", "don't trust this file")
        for part in ("_parameters", "_buffers"):
            pairs = state.get(part)
            for name, value in (pairs if isinstance(pairs, dict) else {}).items():
                if (tensor := stored(value)) is not None:
                    tensors[f"{prefix}{name}"] = tensor
        children = state.get("_modules")
        for name, child in (children if isinstance(children, dict) else {}).items():
            if child is not None:
                waiting.append((f"{prefix}{name}.", child))
    check_names(set(tensors))
    for prefix, state in attributes.items():
        usual = "linear" if prefix.endswith((".affine.", ".embed.", ".skip.")) else "lrelu"
        if prefix.startswith(("mapping.fc", "synthesis.")) and state.get("activation", usual) != usual:
            raise Refused(f"the activation {state['activation']!r} in {prefix[:-1]}", "pass one with leaky ReLU")
    clamps = {number(s["conv_clamp"]) for s in attributes.values() if "conv_clamp" in s}
    if len(clamps) > 1:
        raise Refused("layers clamped at different values", "pass a StyleGAN2 generator")
    lr = number(attributes.get("mapping.fc0.", {}).get("bias_gain"))
    return tensors, Hyperparameters("NVIDIA PyTorch pickle", lr, clamps.pop() if clamps else None)


def state_of(module: Any) -> dict[str, Any]:
    """The attributes of a persistent object; raises Refused where it has none."""
    meta = module.args[0] if isinstance(module, Record) and module.args else None
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise Refused("a module without a state")
    state: dict[str, Any] = meta["state"]
    return state
