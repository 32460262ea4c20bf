"""face-api's files (npm @vladmandic/face-api, folder model/) under the names and layouts of our modules.

    from ice_lightning.checkpoints import convert_face_api
    convert_face_api("face_expression_model-weights_manifest.json", "expression.safetensors")

TensorFlow.js keeps convolutions as (h, w, in, out), depthwise ones as (h, w, channels, 1) and matrices as (in, out);
torch as (out, in, h, w), (channels, 1, h, w) and (out, in). A path `dense0/conv1/pointwise_filter` becomes
`dense0.conv1.pointwise.weight`; a separable convolution's bias belongs to its pointwise half.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from ice_lightning.checkpoints.formats.tfjs import is_manifest, read_manifest
from ice_lightning.checkpoints.weights import read_weights
from ice_lightning.files import atomic_write

LEAVES = {
    "filters": "weight", "depthwise_filter": "depthwise.weight", "pointwise_filter": "pointwise.weight",
    "weights": "weight", "biases": "bias", "fc": "fc.weight",
}  # fmt: skip
"""Last parts of a path in a manifest, and what they are in a state dict."""


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A manifest's tensors as a state dict of `modules.face_api` or `modules.face_recognition`."""
    state = {}
    for name, tensor in tensors.items():
        stem, slash, leaf = name.rpartition("/")
        separable = leaf == "bias" and f"{stem}/pointwise_filter" in tensors
        ours = "pointwise.bias" if separable else LEAVES.get(leaf, leaf)
        state[f"{stem}{slash}{ours}".replace("/", ".")] = to_torch(tensor, leaf == "depthwise_filter")
    return state


def to_torch(tensor: Tensor, depthwise: bool) -> Tensor:
    """A tensor of TensorFlow in torch's layout, contiguous.

    Args:
        tensor: (h, w, in, out), (h, w, channels, 1), (in, out) or (out,).
        depthwise: whether it is the second of these.

    Returns:
        (out, in, h, w), (channels, 1, h, w), (out, in) or (out,).

    Example:
        >>> import torch
        >>> to_torch(torch.ones(3, 3, 8, 16), False).shape
        torch.Size([16, 8, 3, 3])
    """
    if tensor.ndim == 4:
        return tensor.permute(2, 3, 0, 1).contiguous() if depthwise else tensor.permute(3, 2, 0, 1).contiguous()
    return tensor.T.contiguous() if tensor.ndim == 2 else tensor


def read_face_api(path: str | Path, what: str) -> dict[str, Tensor]:
    """Tensors under our names from a manifest, or from any file that `read_weights` reads, as they are there.

    Args:
        path: the manifest's .json, or a file by `convert_face_api`.
        what: what is expected there, for the sentence.

    Returns:
        Tensors by name, float32.

    Raises:
        IceError: see `read_manifest` and `read_weights`.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> groups = '[{"weights": [{"name": "fc/weights", "shape": [2, 1], "dtype": "float32"}], "paths": ["shard"]}]'
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "net.json").write_text(groups), Path(folder, "shard").write_bytes(bytes(8))
        ...     read_face_api(Path(folder, "net.json"), "a network of face-api")
        {'fc.weight': tensor([[0., 0.]])}
    """
    return rename(read_manifest(path, what)) if is_manifest(path) else read_weights(path, what)


def convert_face_api(manifest: str | Path, out: str | Path) -> None:
    """Write a manifest's tensors, dequantised, as float32 safetensors that our modules load; whole or not at all.

    Args:
        manifest: the .json; its shards lie beside it.
        out: a .safetensors file.

    Raises:
        IceError: see `read_manifest`.
    """
    state = rename(read_manifest(manifest, "a face-api manifest"))
    with atomic_write(out) as part:
        save_file(state, part)
