"""Which dialect a checkpoint speaks, by what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ice_lightning.checkpoints.dialects import genforce, nvidia, rosinality, tensorflow
from ice_lightning.checkpoints.dialects.foreign import check_names
from ice_lightning.checkpoints.errors import Refused
from ice_lightning.checkpoints.formats.pickles import Budget, Record
from ice_lightning.checkpoints.formats.tensors import Entry, Stored, stored
from ice_lightning.checkpoints.hyperparameters import Hyperparameters
from ice_lightning.checkpoints.weights import flat, read
from ice_lightning.checks import one_of

AVERAGED = ("g_ema", "G_ema", "generator_smooth", "generator_ema", "params_ema", "ema")
"""Keys of the averaged generator, which is the one to draw with, where several are in a file."""
PLAIN = ("generator", "g", "G", "state_dict", "model", "models", "netG")
"""Keys under which there may be a generator, in projects that keep no average."""


def detect(tree: Any, budget: Budget) -> tuple[dict[str, Tensor], Hyperparameters]:
    """Weights under the names of stylegan2-ada-pytorch, float32, and what else the file knows.

    Args:
        tree: what a container holds.
        budget: bytes that may be copied.

    Returns:
        Weights by name, and what they don't say.

    Raises:
        Refused: for what isn't a StyleGAN2 generator, named where it is well known.
    """
    if isinstance(tree, Record) and tree.name == "safetensors" and "ice_lightning" in tree.args[0]:
        return read(tree.state, budget), header(tree.args[0]["ice_lightning"])
    if (network := nvidia.read(tree)) is not None:
        tensors, facts = network
        return read(tensors, budget, lambda name: name.startswith(("mapping.", "synthesis."))), facts
    if (network := tensorflow.read(tree)) is not None:
        tensors, facts = network
        return renamed(read(tensors, budget, tensorflow.wanted), tensorflow.rename), facts
    tensors = state_dict(tree)
    names = set(tensors)
    if rosinality.matches(names):
        outer = tree.get("state_dict", tree) if isinstance(tree, dict) else {}
        wrapped = any(name.startswith("decoder.") for name in flat(outer))
        dialect = "e4e or pSp, a rosinality decoder" if wrapped else "rosinality"
        return renamed(read(tensors, budget), rosinality.rename), Hyperparameters(dialect)
    if genforce.matches(names):
        joint = "joint" if "mapping.label_weight" in names else "apart"
        return renamed(read(tensors, budget), genforce.rename), Hyperparameters("genforce", label_norm=joint)
    check_names(names)
    return read(tensors, budget), Hyperparameters("weights under ADA's names")


def header(text: str) -> Hyperparameters:
    """What the header of one of our files knows beyond the weights.

    Raises:
        Refused: for another kind of network, or a broken header.
    """
    try:
        content = json.loads(text)
        kind, config = content["kind"], content["config"]
        clamp, taps = config.get("conv_clamp"), config.get("resample_filter", (1, 3, 3, 1))
        facts = Hyperparameters(
            "ice_lightning",
            float(config.get("lr_multiplier", 0.01)),
            None if clamp is None else float(clamp),
            tuple(float(t) for t in taps),
            one_of("label_norm", config.get("label_norm", "apart"), ("apart", "joint")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"one with a broken header ({error})") from error
    if kind != "generator":
        raise Refused(f"a {kind}", "pass the path to what it holds")
    return facts


def state_dict(tree: Any, depth: int = 0) -> dict[str, Stored | Entry]:
    """The tensors of the generator in nested mappings.

    Args:
        tree: what a container holds.
        depth: how many mappings are round it.

    Returns:
        Tensors by their names without prefixes of wrappers; none where there are none.
    """
    if not isinstance(tree, dict) or depth > 4:
        return flat(tree)
    inner = next((tree[name] for name in (*AVERAGED, *PLAIN) if isinstance(tree.get(name), dict) and tree[name]), None)
    found = flat(tree) if inner is None else state_dict(inner, depth + 1)
    for prefix in ("module.", "decoder.", "generator.", "g_ema.", "G_ema.", "_orig_mod."):
        if any(name.startswith(prefix) for name in found):
            found = {n.removeprefix(prefix): t for n, t in found.items() if n.startswith(prefix) or n == "latent_avg"}
    average = stored(tree.get("latent_avg"))
    return found if average is None else found | {"latent_avg": average}


def renamed(tensors: dict[str, Tensor], rename: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors under the names of stylegan2-ada-pytorch, contiguous.

    Args:
        tensors: under the names of a dialect.
        rename: the dialect's.

    Returns:
        Tensors by name.

    Raises:
        Refused: when one is missing, or has another number of axes.
    """
    try:
        return {name: t.contiguous() for name, t in rename(tensors).items()}
    except KeyError as error:
        raise Refused(f"one without {error}", "pass a StyleGAN2 generator") from error
    except (RuntimeError, IndexError) as error:
        got = str(error).splitlines()[0]
        raise Refused(f"a weight of an unexpected shape ({got})", "pass a StyleGAN2 generator") from error
