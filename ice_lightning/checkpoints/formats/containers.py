"""The files that weights come in: torch's zip and its older format, plain pickles, safetensors; by content, not name.

Formats: torch/serialization.py for both of torch's; the zip's members are found by the standard library and read in
place, without decompressing (torch stores them as they are).
"""

from __future__ import annotations

import mmap
import stat
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import safe_open

from ice_lightning.checkpoints.errors import Refused
from ice_lightning.checkpoints.formats.pickles import Budget, Name, Record, load
from ice_lightning.checkpoints.formats.tensors import KNOWN, Entry, Storage, storage_type
from ice_lightning.checks import NotFound

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How torch's files before version 1.6 begin: a pickle of the number 0x1950a86a20f9469cfc6c."""
DIRECTORY = 2**24
"""The largest list of members, in bytes, that a zip file may have: about a hundred thousand of them. Also
the largest header of a safetensors file, and the largest manifest."""


def mapped(path: Path) -> memoryview:
    """A file's bytes, mapped into memory until nothing refers to them; raises Refused for no file or an empty one."""
    if not path.exists():
        raise Refused("none", "check the path", NotFound)
    if not stat.S_ISREG(path.stat().st_mode):
        raise Refused("a folder or device", "pass the path of a file")
    if not path.stat().st_size:
        raise Refused("an empty one")
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def tree(path: Path, data: memoryview, budget: Budget) -> Any:
    """What a file holds, as containers, records and `Stored` tensors that are read from `data` on demand.

    Args:
        path: the file.
        data: its bytes.
        budget: opcodes that may be executed and bytes that may be copied.

    Returns:
        Mappings, lists, Records and tensors that are still in the file.

    Raises:
        Refused: for any other content, named where it is well known.
    """
    head = bytes(data[:512])
    if head.startswith(b"PK\x03\x04"):
        with path.open("rb") as file:
            return zipped(file, data, budget)
    if head[8:10] == b'{"' and struct.unpack("<Q", head[:8])[0] <= DIRECTORY:
        members = safe_open(path, "pt")
        return Record("safetensors", (members.metadata() or {},), {n: Entry(members, n) for n in members.keys()})  # noqa: SIM118
    if head.startswith(MAGIC):
        return legacy(data, budget)[0]
    if head[:1] == b"\x80":
        return load(data, {**KNOWN, "torch.storage._load_from_bytes": nested}, budget)[0]
    raise Refused(*foreign(head))


def foreign(head: bytes) -> tuple[str, str]:
    """What a file that isn't a checkpoint is by its first bytes, and what to do.

    Example:
        >>> foreign(b"<!DOCTYPE html><html>")[1]
        'fetch the file itself'
    """
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, which stands for the file", "fetch the file itself (git lfs pull)"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page (downloads that ask for a confirmation end like this)", "fetch the file itself"
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")) or head[257:262] == b"ustar":
        return "a compressed archive", "unpack it, and pass the file in it"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file (Keras)", "pass a StyleGAN2 generator"
    return f"a file that begins with {head[:8]!r}", "pass a checkpoint, or fetch it again"


class _Bounded:
    """A file for zipfile, which otherwise reads a list of members of any size."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, n: int = -1) -> bytes:
        if n > DIRECTORY:
            raise Refused("a zip file with an endless list of members", "don't trust this file")
        return self.file.read(n if n >= 0 else DIRECTORY)


def members(file: IO[bytes], data: memoryview) -> dict[str, memoryview]:
    """The members of a zip file by name, in place.

    Args:
        file: the zip file, open.
        data: its bytes.

    Returns:
        Views of `data` by name.

    Raises:
        Refused: for a broken file, compression, encryption, two members of one name, or sizes that lie.
    """
    try:
        with zipfile.ZipFile(_Bounded(file)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError, EOFError) as error:
        raise Refused(f"a broken zip file ({error})") from error
    found: dict[str, memoryview] = {}
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
            raise Refused(f"a zip file whose member {entry.filename[:40]} is packed", "write it by torch.save")
        header = bytes(data[entry.header_offset : entry.header_offset + 30])
        if len(header) < 30 or header[:4] != b"PK\x03\x04" or entry.filename in found:
            raise Refused(f"a broken zip file (member {entry.filename[:40]})")
        start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        if start + entry.file_size > len(data):
            raise Refused(f"a cut-off zip file (member {entry.filename[:40]})")
        found[entry.filename] = data[start : start + entry.file_size]
    return found


def zipped(file: IO[bytes], data: memoryview, budget: Budget) -> Any:
    """What a file by torch.save (1.6 or later) holds.

    Args:
        file: the zip file, open.
        data: its bytes.
        budget: opcodes that may be executed and bytes that may be copied.

    Returns:
        As `tree`.

    Raises:
        Refused: for a program, a zip file of another kind, or storages that lack numbers.
    """
    found = members(file, data)
    roots = [name.removesuffix("data.pkl") for name in found if name.split("/")[-1] == "data.pkl"]
    if any("/code/" in name for name in found):
        raise Refused("a TorchScript program", "save its state_dict instead: a program can do anything")
    if any("serialized_exported_program" in name or "archive_format" in name for name in found):
        raise Refused("an exported program", "save its state_dict instead: a program can do anything")
    if len(roots) != 1:
        raise Refused("a zip file that isn't torch's", "write it by torch.save")
    (root,) = roots
    if bytes(found.get(f"{root}byteorder", b"little")[:8]) != b"little":
        raise Refused("big-endian numbers", "write it on a little-endian machine")

    def persistent(pid: Any) -> Storage:
        name, dtype, numel = storage_id(pid)
        part = found.get(f"{root}data/{name}")
        if part is None or len(part) < numel * dtype.itemsize:
            raise Refused(f"a torch file that lacks numbers (storage {name})")
        return Storage(part[: numel * dtype.itemsize], dtype)

    return load(found[f"{root}data.pkl"], KNOWN, budget, persistent)[0]


def storage_id(pid: Any) -> tuple[str, torch.dtype, int]:
    """Key, type and count of a persistent id ("storage", class, key, device, count); raises Refused for another."""
    if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], Name)):
        raise Refused("a torch file whose parts aren't storages")
    if type(pid[4]) is not int or pid[4] < 0 or any(part is not None for part in pid[5:]):
        raise Refused("a torch file whose storages have no size of their own")
    return str(pid[2]), storage_type(pid[1].full), pid[4]


def legacy(data: memoryview, budget: Budget, start: int = 0) -> tuple[Any, int]:
    """What a file by torch.save before 1.6 holds: five pickles, behind which the numbers follow.

    Args:
        data: bytes of a file, or of a storage inside a pickle.
        budget: opcodes that may be executed and bytes that may be copied.
        start: where the first pickle begins.

    Returns:
        The content, and where its numbers' pickles end.

    Raises:
        Refused: for big-endian numbers, and storages that are missing or that nothing asks for.
    """
    at = start
    for what in ("magic number", "protocol", "system"):
        value, at = load(data, KNOWN, budget, start=at)
        if what == "system" and not (isinstance(value, dict) and value.get("little_endian") is True):
            raise Refused("big-endian numbers", "write it on a little-endian machine")
    begin, expected = at, {}

    def note(pid: Any) -> Storage:
        name, dtype, numel = storage_id(pid)
        expected[name] = (dtype, numel)
        return Storage(None, dtype)

    _, at = load(data, KNOWN, budget, note, begin)
    order, at = load(data, KNOWN, budget, start=at)
    storages: dict[str, Storage] = {}
    for name in order if isinstance(order, list) else []:
        dtype, numel = expected.get(str(name), (None, 0))
        if dtype is None or len(data) < at + 8 or struct.unpack("<q", data[at : at + 8])[0] != numel:
            raise Refused("a torch file with storages that nothing asks for")
        end = at + 8 + numel * dtype.itemsize
        if end > len(data):
            raise Refused("a cut-off torch file")
        storages[str(name)], at = Storage(data[at + 8 : end], dtype), end

    def persistent(pid: Any) -> Storage:
        name = storage_id(pid)[0]
        if name not in storages:
            raise Refused(f"a torch file that lacks numbers (storage {name})")
        return storages[name]

    return load(data, KNOWN, budget, persistent, begin)[0], at


def nested(machine: Any, data: Any) -> Any:
    """A storage inside a plain pickle: torch writes a whole file of its older format for each.

    Args:
        machine: that reads the pickle.
        data: the bytes of that file, or it is wrong.

    Returns:
        The storage.

    Raises:
        TypeError: for anything but bytes.
    """
    if not isinstance(data, (bytes, memoryview)):
        raise TypeError("a storage that isn't bytes")
    return legacy(memoryview(data), machine.budget)[0]
