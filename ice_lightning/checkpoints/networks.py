"""Our own files: safetensors with the kind of network and its settings in the header."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ice_lightning.checkpoints.weights import mismatch
from ice_lightning.checks import NotFound, Unreadable, finite, problem
from ice_lightning.files import atomic_write

ASSETS = Path(__file__).parents[1] / "assets"
"""Networks that ship with the package, trained on the portraits by experiments/embedded_zoo."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_network(path: str | Path, module: nn.Module, kind: str, config: dict[str, Any], half: bool = True) -> None:
    """Write a network whole or not at all.

    Args:
        path: a .safetensors file.
        module: whose state dict to store.
        kind: "generator", "parser", ...; `load_network` asks for the same.
        config: the constructor's arguments, JSON.
        half: store floating-point tensors as float16.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "score.safetensors")
        ...     save_network(file, nn.Linear(2, 1), "score", {"in_features": 2, "out_features": 1})
        ...     load_network(file, "score", nn.Linear)
        Linear(in_features=2, out_features=1, bias=True)
    """
    tensors = {
        name: (t.half() if half and t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in module.state_dict().items()
    }
    header = {"ice_lightning": json.dumps({"kind": kind, "config": config}, sort_keys=True)}
    with atomic_write(path) as part:
        save_file(tensors, part, metadata=header)


def read_network(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A file by `save_network`.

    Args:
        path: the file.
        kind: that it must hold, as it was saved.

    Returns:
        The state dict, floating-point tensors as float32, and the constructor's arguments.

    Raises:
        IceError: for a missing, truncated or foreign file, another kind of network, or NaN weights.

    Example:
        >>> state, config = read_network(ASSETS / "generator.safetensors", "generator")
        >>> config["img_resolution"], tuple(state["mapping.w_avg"].shape)
        (128, (96,))
    """
    path = Path(path)
    if not path.is_file():
        raise problem(f"a {kind} file at {path}", "none", "check the path, or take the embedded one", NotFound)
    try:
        with safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("ice_lightning")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise problem(
            f"a whole safetensors file at {path}", str(error), "fetch or write the file again", Unreadable
        ) from error
    if header is None:
        raise problem(
            f"a safetensors file with an ice_lightning header at {path}",
            "one without",
            "write it by save_network",
            Unreadable,
        )
    facts = json.loads(header)
    if facts["kind"] != kind:
        raise problem(f"a {kind} in {path}", f"a {facts['kind']}", "pass the path to what it holds", Unreadable)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = finite(f"{name} of {path}", tensor.float())
    return state, facts["config"]


def load_network(path: str | Path, kind: str, make: type[nn.Module]) -> nn.Module:
    """A network in eval mode, frozen, from a file by `save_network`.

    Args:
        path: the file.
        kind: that it must hold, as it was saved.
        make: the network's class.

    Returns:
        The network.

    Raises:
        IceError: as `read_network`, and for weights that aren't those of `make`.

    Example:
        >>> import torch
        >>> from ice_lightning.modules.identity import IdentityNet
        >>> network = load_network(ASSETS / "identity.safetensors", "identity", IdentityNet)
        >>> network(torch.rand(2, 3, 64, 64)).norm(dim=1).round(decimals=4)  # of unit vectors
        tensor([1., 1.])
    """
    state, config = read_network(path, kind)
    module = make(**config)
    if got := mismatch(module.state_dict(), state):
        raise problem(f"the weights of a {make.__name__} in {path}", got, "fetch or write the file again")
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)
