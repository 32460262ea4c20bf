"""Weights alone, as tensors by name, from any file that holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ice_lightning.checkpoints.errors import Refused, user_errors
from ice_lightning.checkpoints.formats.containers import mapped, tree
from ice_lightning.checkpoints.formats.pickles import Budget, Record
from ice_lightning.checkpoints.formats.tensors import Entry, Stored, stored
from ice_lightning.checks import finite

T = TypeVar("T")


def read_untrusted(path: str | Path, what: str, use: Callable[[Any, Budget], T]) -> T:
    """What `use` makes of a file's content, read without executing anything.

    Args:
        path: any file.
        what: what is expected there, for the sentence.
        use: takes what the container holds, and the budget for reading tensors from it.

    Returns:
        What `use` returns.

    Raises:
        IceError: for everything that can be wrong with the file.
    """
    path = Path(path)
    with user_errors(path, what):
        data = mapped(path)
        budget = Budget(len(data))
        return use(tree(path, data, budget), budget)


def read_weights(path: str | Path, what: str) -> dict[str, Tensor]:
    """Tensors of a file by name: safetensors, torch's zip or its older format, or a plain pickle of arrays.

    A `state_dict` round them and `module.` before all of them are taken off; nothing is executed.

    Args:
        path: the file.
        what: what is expected there, for the sentence.

    Returns:
        Tensors by name, floating-point ones as float32.

    Raises:
        IceError: for a missing, broken or hostile file, one without tensors, or NaN weights.

    Example:
        >>> import torch
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     torch.save({"state_dict": {"module.bias": torch.ones(2)}}, f"{folder}/net.pt")
        ...     read_weights(f"{folder}/net.pt", "a network")
        {'bias': tensor([1., 1.])}
    """

    def use(content: Any, budget: Budget) -> dict[str, Tensor]:
        found = flat(content.get("state_dict", content) if isinstance(content, dict) else content)
        if not found:
            raise Refused("a file without tensors", "pass the file of a state_dict")
        prefix = "module." if all(name.startswith("module.") for name in found) else ""
        return {name.removeprefix(prefix): tensor for name, tensor in read(found, budget).items()}

    tensors = read_untrusted(path, what, use)
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            finite(f"{name} of {path}", tensor)
    return tensors


def mismatch(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Why a file's weights are not those of a network, in words.

    Args:
        wanted: the network's state dict. The counters of batch norms, which only training uses, may be missing.
        state: the file's.

    Returns:
        What is missing, left over or of another shape, the first by name; "" where the weights fit.

    Example:
        >>> import torch
        >>> mismatch({"weight": torch.ones(2), "bias": torch.ones(1)}, {"weight": torch.ones(2)})
        'one without bias (1 such weights)'
        >>> mismatch({"weight": torch.ones(2)}, {"weight": torch.ones(3)})
        'weight of shape (3,) instead of (2,)'
    """
    needed = {name for name in wanted if not name.endswith("num_batches_tracked")}
    for wrong, kind in ((needed - state.keys(), "without"), (state.keys() - wanted.keys(), "with a foreign")):
        if wrong:
            return f"one {kind} {min(wrong)} ({len(wrong)} such weights)"
    for name in sorted(needed):
        if state[name].shape != wanted[name].shape:
            return f"{name} of shape {tuple(state[name].shape)} instead of {tuple(wanted[name].shape)}"
    return ""


def flat(tree: Any) -> dict[str, Stored | Entry]:
    """The tensors that a mapping, or a safetensors file, holds under text keys of its own."""
    if isinstance(tree, Record) and tree.name == "safetensors":
        tree = tree.state
    pairs = tree.items() if isinstance(tree, dict) else ()
    return {k: tensor for k, v in pairs if isinstance(k, str) and (tensor := stored(v)) is not None}


def read(
    found: dict[str, Stored | Entry], budget: Budget, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, Tensor]:
    """Copies of tensors of a file, floating-point ones as float32.

    Args:
        found: tensors by name, as they lie in the file.
        budget: bytes that may be copied.
        wanted: whether the tensor of a name is to be read.

    Returns:
        Tensors by name.

    Raises:
        Refused: for a tensor that doesn't fit its numbers, or when the budget is used up.
    """
    tensors = {name: tensor.read(budget) for name, tensor in found.items() if wanted(name)}
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
