"""TensorFlow.js weights: a JSON manifest, and the binary shards that it names beside it.

Format: tensorflow/tfjs, tfjs-core/src/io/types.ts (`WeightsManifestConfig`, `WeightsManifestEntry`) and io_utils.ts
(decoding). A manifest is a list of groups {weights: [{name, shape, dtype, quantization}], paths: [file]}, alone or
under `weightsManifest` in a model.json; the numbers of a group lie one after another in its files, little-endian, and a
quantised one stands for number * scale + min.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ice_lightning.checkpoints.errors import Refused, user_errors
from ice_lightning.checkpoints.formats.containers import DIRECTORY, mapped
from ice_lightning.checks import finite

PLAIN = {"float32": "<f4", "int32": "<i4", "bool": "u1"}
"""Types of tensors, with numpy's codes."""
QUANTISED = {"uint8": "u1", "uint16": "<u2", "float16": "<f2"}
"""Types to which float32 may be quantised, with numpy's codes."""
AXES = 8
"""The most that a tensor may have; TensorFlow.js knows ranks up to 6."""


class Weight(NamedTuple):
    """One tensor of a manifest.

    Attributes:
        name: as the network knows it.
        shape: lengths of its axes, each at least 1; () is a single number.
        code: numpy's, of the numbers in the file.
        scale: a number of the file stands for number * scale + least.
        least: the `min` of its quantisation.
    """

    name: str
    shape: tuple[int, ...]
    code: str
    scale: float
    least: float

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * np.dtype(self.code).itemsize


def is_manifest(path: str | Path) -> bool:
    """Whether a file begins like JSON, which no file of weights does that isn't a manifest."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(64)
    return head.lstrip()[:1] in (b"[", b"{") and b"\0" not in head  # safetensors begin with a length, which has zeros


def read_manifest(path: str | Path, what: str = "a TensorFlow.js weights manifest") -> dict[str, Tensor]:
    """The tensors of a manifest under their names, float32, in TensorFlow's layouts (convolutions h, w, in, out).

    Args:
        path: the .json; the shards are looked for in its folder.
        what: what is expected there, for the sentence.

    Returns:
        Tensors by name.

    Raises:
        IceError: for no manifest, shards that are missing, too short, too long or outside of the folder, numbers of
            another type, shapes that can't be, or NaN.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> groups = '[{"weights": [{"name": "fc/bias", "shape": [2], "dtype": "bool"}], "paths": ["shard"]}]'
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "net.json").write_text(groups), Path(folder, "shard").write_bytes(bytes([0, 1]))
        ...     read_manifest(Path(folder, "net.json"))
        {'fc/bias': tensor([0., 1.])}
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    with user_errors(path, what):
        shards: set[str] = set()
        for group in groups(path):
            weights, names = [weight(each) for each in group["weights"]], group["paths"]
            again = [each.name for each in weights if each.name in tensors]
            if again or len({each.name for each in weights}) < len(weights):
                raise Refused("a manifest that names a tensor twice")
            tensors |= decoded(weights, joined(path.parent, names, shards))
    for name, tensor in tensors.items():
        finite(f"{name} of {path}", tensor)
    return tensors


def groups(path: Path) -> list[dict[str, Any]]:
    """The groups of a manifest, or of a model.json; raises Refused for anything else."""
    data = mapped(path)
    if len(data) > DIRECTORY:
        raise Refused(f"a manifest of {len(data)} bytes", "pass the .json, not the file of the numbers")
    try:
        content = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise Refused("a file that isn't JSON", "pass the path of a weights_manifest.json") from error
    found = content.get("weightsManifest") if isinstance(content, dict) else content
    if not (isinstance(found, list) and found and all(isinstance(each, dict) for each in found)):
        raise Refused("JSON without a list of weights", "pass the path of a weights_manifest.json")
    if not all(isinstance(each.get(key), list) for each in found for key in ("weights", "paths")):
        raise Refused("JSON without a list of weights", "pass the path of a weights_manifest.json")
    return found


def weight(entry: Any) -> Weight:
    """One entry of a manifest, checked; raises Refused."""
    if not (isinstance(entry, dict) and isinstance(entry.get("name"), str)):
        raise Refused("a manifest with a tensor that has no name")
    name, shape, dtype, packed = entry["name"], entry.get("shape"), entry.get("dtype"), entry.get("quantization")
    if not (isinstance(shape, list) and len(shape) <= AXES and all(type(n) is int and n > 0 for n in shape)):
        raise Refused(f"a tensor {name} of shape {str(shape)[:40]}")
    if packed is None:
        if dtype not in PLAIN:
            raise Refused(f"a tensor {name} of type {str(dtype)[:40]}", f"write it as one of {', '.join(PLAIN)}")
        return Weight(name, tuple(shape), PLAIN[dtype], 1.0, 0.0)
    kind = packed.get("dtype") if isinstance(packed, dict) else None
    if dtype != "float32" or kind not in QUANTISED:
        got = f"a tensor {name} of type {str(dtype)[:40]}, quantised to {str(kind)[:40]}"
        raise Refused(got, f"quantise float32 to one of {', '.join(QUANTISED)}")
    if kind == "float16":
        return Weight(name, tuple(shape), QUANTISED[kind], 1.0, 0.0)
    scale, least = (packed.get(key) for key in ("scale", "min"))
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in (scale, least)):
        raise Refused(f"a tensor {name} quantised without a scale and a min")
    return Weight(name, tuple(shape), QUANTISED[kind], float(scale), float(least))


def joined(folder: Path, names: list[Any], used: set[str]) -> bytes:
    """The shards of a group, one after another.

    Args:
        folder: of the manifest.
        names: of the shards.
        used: names of the shards of groups before, to which these are added.

    Returns:
        Their bytes.

    Raises:
        Refused: for a shard that is missing, outside of the folder, or named before.
    """
    parts = []
    for name in names:
        if not isinstance(name, str) or not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise Refused(f"a shard {str(name)[:60]!r} outside of its folder", "don't trust this file")
        if name in used:  # a short list could ask for any amount of memory
            raise Refused(f"a manifest that names the shard {name[:60]} twice", "don't trust this file")
        used.add(name)
        try:
            parts.append(mapped(folder / name))
        except Refused as error:
            raise Refused(f"{error.got} for its shard {name[:60]}", "put the shards beside the manifest") from None
    return b"".join(parts)


def decoded(weights: list[Weight], data: bytes) -> dict[str, Tensor]:
    """The tensors of a group.

    Args:
        weights: what is in it, in this order.
        data: the bytes of its shards.

    Returns:
        float32 tensors by name.

    Raises:
        Refused: for more or fewer bytes than are needed.

    Example:
        >>> decoded([Weight("bias", (2,), "u1", 0.5, -1.0)], bytes([0, 4]))
        {'bias': tensor([-1.,  1.])}
    """
    needed = sum(each.nbytes for each in weights)
    if needed != len(data):
        got = f"shards that are too {'short' if len(data) < needed else 'long'} ({len(data)} bytes for {needed})"
        raise Refused(got, "fetch the shards of this manifest again")
    tensors, at = {}, 0
    for each in weights:
        numbers = np.frombuffer(data, each.code, math.prod(each.shape), at).astype(np.float64)
        at += each.nbytes
        tensors[each.name] = torch.from_numpy(numbers * each.scale + each.least).float().reshape(each.shape)
    return tensors
