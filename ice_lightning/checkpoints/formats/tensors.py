"""Tensors and arrays as they lie in pickles, checked before a byte of them is copied.

Formats: torch/_utils.py (`_rebuild_tensor_v2`), torch/serialization.py (storages by persistent id), numpy's
`ndarray.__reduce__` (`_reconstruct`, then a state of version, shape, dtype, order, bytes).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ice_lightning.checkpoints.errors import Refused
from ice_lightning.checkpoints.formats.pickles import Budget, Known, Machine, Record, key

DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
"""Types of numbers by the names of torch's storage classes, without Storage."""
NUMPY = {
    "f4": torch.float32, "f8": torch.float64, "f2": torch.float16, "i8": torch.int64, "i4": torch.int32,
    "i2": torch.int16, "i1": torch.int8, "u1": torch.uint8, "b1": torch.bool,
}  # fmt: skip
"""Types of numbers by numpy's codes."""
AXES = 8
"""The most that a tensor may have; rosinality's convolutions have five, others fewer."""


@dataclass(slots=True, eq=False)
class Storage:
    """A run of numbers of one type in the file.

    Attributes:
        data: its bytes; None where they lie behind the pickle and haven't been found yet.
        dtype: of the numbers.
    """

    data: memoryview | bytes | None
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return 0 if self.data is None else len(self.data) // self.dtype.itemsize


@dataclass(slots=True, eq=False)
class Stored:
    """A tensor in the file: where it lies, and how.

    Attributes:
        storage: its numbers.
        offset: of the first one.
        shape: lengths of its axes.
        strides: in numbers.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, budget: Budget) -> Tensor:
        """A copy in memory; raises Refused when the shape doesn't fit its numbers, or the budget is used up."""
        wanted, dtype = math.prod(self.shape), self.storage.dtype
        given = [*self.shape, *self.strides, self.offset]
        if len(self.shape) != len(self.strides) or len(self.shape) > AXES or any(type(n) is not int for n in given):
            raise Refused("a tensor without a proper shape")
        reach = 1 + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))
        if min(given) < 0 or self.offset + wanted > self.storage.numel or (wanted and reach != wanted):
            raise Refused(f"a tensor of shape {self.shape} that {self.storage.numel} numbers don't fill")
        if not wanted or self.storage.data is None:
            return torch.empty(self.shape, dtype=dtype)
        size = dtype.itemsize
        part = memoryview(self.storage.data)[self.offset * size : (self.offset + wanted) * size]
        budget.spend(copied=len(part))
        # By way of bytes: numbers needn't be aligned in the file.
        copied = torch.frombuffer(bytearray(part), dtype=torch.uint8).view(dtype)
        return copied.as_strided(self.shape, self.strides).contiguous()


@dataclass(slots=True, eq=False)
class Entry:
    """A tensor in a safetensors file.

    Attributes:
        file: the file, open.
        name: of the tensor.
    """

    file: Any
    name: str

    def read(self, budget: Budget) -> Tensor:
        """A copy in memory; raises Refused when the budget is used up."""
        tensor: Tensor = self.file.get_tensor(self.name)
        budget.spend(copied=tensor.nbytes)
        return tensor


def stored(value: Any) -> Stored | Entry | None:
    """A tensor of any container, or a numpy array; None for anything else; raises Refused for a broken array."""
    if isinstance(value, (Stored, Entry)):
        return value
    if isinstance(value, Record) and value.name.endswith("multiarray.scalar") and len(value.args) == 2:
        return array((), value.args[0], value.args[1], False)
    if isinstance(value, Record) and value.name.endswith("multiarray._reconstruct"):
        if not (isinstance(value.state, tuple) and len(value.state) == 5):
            raise Refused("an array without a state")
        _, shape, dtype, fortran, data = value.state
        return array(shape, dtype, data, bool(fortran))
    return None


def array(shape: Any, dtype: Any, data: Any, fortran: bool) -> Stored:
    """A numpy array of plain little-endian numbers, as a pickle describes it.

    Args:
        shape: a tuple, or it is wrong.
        dtype: a Record of numpy.dtype, or it is wrong.
        data: its bytes, or it is wrong.
        fortran: whether the first axis runs fastest.

    Returns:
        Where it lies, and how.

    Raises:
        Refused: for objects, records, text, big-endian numbers, or no bytes.
    """
    if not isinstance(data, (bytes, memoryview)) or not isinstance(shape, tuple):
        raise Refused("an array without bytes")
    if not (isinstance(dtype, Record) and dtype.args and isinstance(dtype.args[0], str)):
        raise Refused("an array without a type of numbers")
    order = dtype.state[1] if isinstance(dtype.state, tuple) and len(dtype.state) > 1 else "<"
    code = re.sub("^[<|=]", "", dtype.args[0])
    if code not in NUMPY or order not in ("<", "|", "="):
        raise Refused(f"an array of {order}{dtype.args[0][:8]}, not of plain little-endian numbers")
    return Stored(Storage(data, NUMPY[code]), 0, shape, contiguous(shape, fortran))


def contiguous(shape: tuple[int, ...], fortran: bool = False) -> tuple[int, ...]:
    """Strides of a contiguous array.

    Args:
        shape: lengths of its axes.
        fortran: whether the first axis runs fastest instead of the last.

    Returns:
        In numbers.

    Example:
        >>> contiguous((2, 3, 4)), contiguous((2, 3, 4), fortran=True)
        ((12, 4, 1), (1, 2, 6))
    """
    lengths = [n if isinstance(n, int) else 0 for n in shape]
    if fortran:
        return tuple(math.prod(lengths[:i]) for i in range(len(lengths)))
    return tuple(math.prod(lengths[i + 1 :]) for i in range(len(lengths)))


def number(value: Any) -> float | None:
    """A Python or numpy number of a pickle as float; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    one = stored(value)
    if not isinstance(one, Stored) or one.shape:
        return None
    return float(one.read(Budget(0)))


def storage_type(name: str) -> torch.dtype:
    """The type of numbers behind a storage class of torch; raises Refused for an unknown one."""
    kind = name.rpartition(".")[2].removesuffix("Storage")
    if kind in ("Untyped", ""):
        return torch.uint8
    if kind not in DTYPES:
        raise Refused(f"a {name}, which no weights lie in")
    return DTYPES[kind]


def _tensor(machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Stored:
    if not (isinstance(storage, Storage) and isinstance(size, tuple) and isinstance(stride, tuple)):
        raise TypeError("a tensor without a storage, a size or a stride")
    return Stored(storage, offset, size, stride)


def _parameter(machine: Machine, data: Any, *_: Any) -> Any:
    return data


def _typed(machine: Machine, rebuild: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    return machine.call(rebuild, arguments)


def _mapping(machine: Machine, *pairs: Any) -> dict[Any, Any]:
    return {key(k): v for k, v in pairs[0]} if pairs else {}


def _set(machine: Machine, *items: Any) -> set[Any]:
    return {key(each) for each in items[0]} if items else set()


def _bytes(machine: Machine, *text: Any) -> bytes:
    """The way in which Python 3 writes bytes into old pickles: text, and the encoding that gives them back."""
    if not text:
        return b""
    if not isinstance(text[0], str) or text[1:] not in ((), ("latin1",), ("latin-1",)):
        raise TypeError("bytes that aren't latin-1 text")
    machine.budget.spend(copied=len(text[0]))
    return text[0].encode("latin-1")


def _plain(machine: Machine, kind: Any, base: Any, state: Any) -> Any:
    """Protocol 0 and 1: an object made from its class alone."""
    return {} if kind.full in EASY_DICTS else Record(kind.full, ())


EASY_DICTS = ("dnnlib.util.EasyDict", "dnnlib.EasyDict")
"""NVIDIA's dictionaries with attributes, in either of its repositories."""
STORAGES = (*(f"torch.{kind}Storage" for kind in DTYPES), "torch.storage.TypedStorage", "torch.storage.UntypedStorage")

KNOWN: Known = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch.Size": lambda machine, lengths: tuple(lengths),
    **dict.fromkeys(STORAGES),
    **dict.fromkeys(map(str, DTYPES.values())),
    "torch.Tensor": None, "torch.nn.parameter.Parameter": None, "torch.device": None,
    "collections.OrderedDict": _mapping,
    "collections.defaultdict": lambda machine, *_: {},
    **dict.fromkeys(EASY_DICTS, _mapping),
    **{f"{module}.set": _set for module in ("builtins", "__builtin__")},
    **dict.fromkeys((f"{module}.{kind}" for module in ("builtins", "__builtin__") for kind in (
        "object", "dict", "list", "int", "float", "bool", "complex")), None),
    "builtins.bytes": _bytes, "__builtin__.bytes": _bytes, "_codecs.encode": _bytes,
    "copyreg._reconstructor": _plain, "copy_reg._reconstructor": _plain,
    **{f"numpy.{core}.multiarray.{name}": None for core in ("core", "_core") for name in ("_reconstruct", "scalar")},
    "numpy.ndarray": None, "numpy.dtype": None,
    "torch_utils.persistence._reconstruct_persistent_obj": None,
    "dnnlib.tflib.network.Network": None,
    "argparse.Namespace": None, "types.SimpleNamespace": None,
    "pathlib.PosixPath": None, "pathlib.PurePosixPath": None, "pathlib.WindowsPath": None,
    "pathlib._local.PosixPath": None,
}  # fmt: skip
"""Every global that a checkpoint may name; nothing of theirs is imported."""
