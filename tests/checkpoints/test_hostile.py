"""Files of strangers: nothing in them runs, and whatever is wrong with them ends in one sentence."""

import io
import os
import pickle
import random
import struct
import time
import tracemalloc
import zipfile

import pytest
import test_generators as checkpoints
import torch
import writers
from writers import Call, Global, pickled, saved

from ice_lightning.checkpoints import load_generator
from ice_lightning.checks import IceError

SMALL = {
    "ada": "skip", "tensorflow": "classes, joint", "rosinality": "own widths", "rosinality, old file": "eight layers",
    "e4e": "own widths", "genforce": "orig", "bare": "skip",
}  # fmt: skip


@pytest.fixture(scope="module")
def fixtures():
    """A small file of each dialect."""
    made = {dialect: checkpoints.DIALECTS[dialect][0](checkpoints.make(config)) for dialect, config in SMALL.items()}
    G = checkpoints.make()
    from safetensors.torch import save

    return made | {"safetensors": save({k: v.contiguous() for k, v in G.state_dict().items()})}


def refuse(path, match=""):
    """Loading fails in one sentence, quickly, and with little memory."""
    began = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(IceError, match=match) as caught:
            load_generator(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < 2**28
    assert time.perf_counter() - began < 30  # far beyond what any takes, and far below a hang


class Evil:
    """What pickle.loads would execute."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("where", ["pickle", "protocol 0", "zip", "old file", "beside the weights", "in the settings"])
def test_what_a_pickle_would_run_is_named_and_not_run(tmp_path, where):
    evil, path = Evil(tmp_path / "marker"), tmp_path / "g.pkl"
    G = checkpoints.make()
    content = {
        "pickle": lambda: pickle.dumps({"G_ema": evil}),
        "protocol 0": lambda: b"\x80\x00" + pickle.dumps(evil, 0),
        "zip": lambda: saved({"g_ema": evil}),
        "old file": lambda: saved({"g_ema": evil}, legacy=True),
        "beside the weights": lambda: saved({"state_dict": G.state_dict(), "hyper_parameters": evil}),
        "in the settings": lambda: pickled(
            Call("dnnlib.tflib.network.Network", new=True, state={"static_kwargs": evil})
        ),
    }[where]()
    path.write_bytes(content)
    refuse(path, r"got one that would run (posix|nt)\.system: don't load it elsewhere")
    assert not (tmp_path / "marker").exists()
    if where == "pickle":
        pickle.loads(content)  # it really is hostile
        assert (tmp_path / "marker").exists()


def test_the_source_that_a_module_brings_along_is_not_run(tmp_path):
    G = checkpoints.make()
    source = f"open({str(tmp_path / 'marker')!r}, 'w')"
    content = writers.ada(G).replace(b"raise SystemExit('executed')", b"#" * 28)
    at = content.index(b"#" * 28)
    length = content[at - 1]
    assert length == 28
    content = content[: at - 2] + b"X" + struct.pack("<I", len(source)) + source.encode() + content[at + 28 :]
    # The frame that announced a shorter text is no longer true; frames are optional, so drop it.
    content = b"\x80\x04" + content[11:] if content[2:3] == b"\x95" else content
    (tmp_path / "g.pkl").write_bytes(content)
    load_generator(tmp_path / "g.pkl")
    assert not (tmp_path / "marker").exists()


NAMES = (
    "builtins.eval", "builtins.getattr", "torch.load", "torch.hub.load", "torch.nn.Module", "numpy.load",
    "runpy.run_path", "torch._utils.os.system", "dnnlib.tflib.network.os.system", "collections.OrderedDict.fromkeys",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_names_outside_the_list_are_refused(tmp_path, name, protocol):
    (tmp_path / "g.pkl").write_bytes(pickled({"G_ema": Call(name, "1")}, protocol))
    refuse(tmp_path / "g.pkl", rf"got one that would run {name}")


def raw(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


def deep(n, wrap):
    return b")" + wrap * n


BOMBS = {
    "a memo index of four billion": raw(b"Nr", b"\xff\xff\xff\xff"),
    "bytes of a million gigabytes": raw(b"\x8e", struct.pack("<Q", 2**50)),
    "a byte array of a million gigabytes": raw(b"\x96", struct.pack("<Q", 2**50)),
    "a text of four gigabytes": raw(b"X", struct.pack("<I", 2**32 - 1), b"a"),
    "a frame of a million gigabytes": raw(b"\x95", struct.pack("<Q", 2**50), b"N"),
    "a long number": raw(b"\x8b", struct.pack("<I", 2**31 - 1)),
    "a deep tuple": raw(deep(50_000, b"\x85")),
    "a deep tuple as a key": raw(b"}", deep(50_000, b"\x85"), b"Ns"),
    "a deep list": raw(b"]q\x00", b"]h\x00a" * 50_000),
    "a list in itself": raw(b"]q\x00h\x00a"),
    "ten million opcodes": raw(b"N0" * 5_000_000),
    "copies of a list": raw(
        b"]q\x00", b"(" + b"N" * 50_000 + b"e0", b"cbuiltins\nset\nq\x010", b"h\x01h\x00\x85R0" * 20_000, b"N"
    ),
    "encoded text over and over": raw(
        b"X", struct.pack("<I", 1_000_000), b"a" * 1_000_000, b"q\x000c_codecs\nencode\nq\x010",
        b"h\x01h\x00\x85R0" * 20_000, b"N",
    ),
    "storages inside storages": raw(
        b"ctorch.storage\n_load_from_bytes\n", b"B", struct.pack("<I", 4), b"\x80\x02N.", b"\x85R"
    ),
    "no stop": b"\x80\x04N",
    "an empty stack": raw(b"0"),
    "no mark": raw(b"e"),
    "extensions": raw(b"\x82\x01"),
    "an unknown opcode": raw(b"\xff"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_end_in_a_sentence(tmp_path, bomb):
    (tmp_path / "g.pkl").write_bytes(BOMBS[bomb])
    refuse(tmp_path / "g.pkl", "expected a StyleGAN2 generator at ")


def tensor_pickle(size, stride, offset=0, numel=4):
    """ADA's names with one tensor that lies."""
    storage = io.BytesIO()
    torch.save(torch.zeros(numel).untyped_storage(), storage, _use_new_zipfile_serialization=False)
    torch_storage = Call("torch.storage._load_from_bytes", storage.getvalue())
    lie = Call(
        "torch._utils._rebuild_tensor_v2", torch_storage, offset, size, stride, False, Call("collections.OrderedDict")
    )
    names = ("synthesis.b4.const", "synthesis.b4.conv1.weight", "mapping.fc0.weight")
    return pickled(dict.fromkeys(names, lie))


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((2**40,), (0,), 0), ((2**20, 2**20), (0, 0), 0), ((100,), (1,), 0), ((2,), (1,), 15), ((2,), (1,), -1),
        ((-1,), (1,), 0), ((2, 2), (2,), 0), ((2,), (9,), 0), (("2",), (1,), 0), ((1,) * 60, (1,) * 60, 0),
        ((2.0,), (1,), 0),
    ],
)  # fmt: skip
def test_sizes_that_lie_are_refused(tmp_path, size, stride, offset):
    (tmp_path / "g.pkl").write_bytes(tensor_pickle(size, stride, offset))
    refuse(tmp_path / "g.pkl", r"got a tensor (of shape .* that \d+ numbers don't fill|without a proper shape)")


def test_arrays_that_lie_are_refused(tmp_path):
    def network(shape, dtype="f4", order="<", data=b"\0" * 36):
        kind = Call("numpy.dtype", dtype, False, True, state=(3, order, None, None, None, -1, -1, 0))
        state = (1, shape, kind, False, data)
        lie = Call("numpy.core.multiarray._reconstruct", Global("numpy.ndarray"), (0,), b"b", state=state)
        part = Call("dnnlib.tflib.network.Network", new=True, state={"variables": [("4x4/Conv/mod_weight", lie)]})
        return pickled(Call("dnnlib.tflib.network.Network", new=True, state={"components": {"synthesis": part}}))

    for made in (
        network((2**40,)), network((3, 3), order=">"), network((3, 3), dtype="O8"), network((3, 3), data=None),
        network(("3", 3)), network((3, -3)),
    ):  # fmt: skip
        (tmp_path / "g.pkl").write_bytes(made)
        refuse(tmp_path / "g.pkl", "got (a tensor|an array) ")


def test_links(tmp_path, fixtures):
    (tmp_path / "real").write_bytes(fixtures["ada"])
    (tmp_path / "link").symlink_to("real")
    assert load_generator(tmp_path / "link").resolution == 16
    (tmp_path / "nowhere").symlink_to("missing")
    refuse(tmp_path / "nowhere", "got none")
    (tmp_path / "circle").symlink_to("circle")
    refuse(tmp_path / "circle", "got ")
    (tmp_path / "zero").symlink_to("/dev/zero")
    refuse(tmp_path / "zero", "got a folder or device")
    os.mkfifo(tmp_path / "pipe")
    refuse(tmp_path / "pipe", "got a folder or device")
    refuse(tmp_path, "got a folder or device")


def zipped(entries, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


PKL = pickle.dumps({"a": 1}, 2)
ZIPS = {
    "a zip bomb": (zipped([("a/data.pkl", PKL), ("a/data/0", b"\0" * 10**8)], zipfile.ZIP_DEFLATED), "is packed"),
    "two of one name": (zipped([("a/data.pkl", PKL), ("a/data.pkl", PKL)]), "a broken zip file"),
    "two pickles": (zipped([("a/data.pkl", PKL), ("b/data.pkl", PKL)]), "isn't torch's"),
    "a zip of pictures": (zipped([("a.png", b"")]), "isn't torch's"),
    "TorchScript": (zipped([("a/data.pkl", PKL), ("a/code/__torch__.py", b"")]), "a TorchScript program"),
    "big-endian": (zipped([("a/data.pkl", PKL), ("a/byteorder", b"big")]), "big-endian numbers"),
    "lost numbers": (zipped([("a/data.pkl", raw(b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nK\x04tQ"))]), "lacks"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", ZIPS)
def test_zip_files_that_lie(tmp_path, case):
    content, told = ZIPS[case]
    (tmp_path / "g.pt").write_bytes(content)
    refuse(tmp_path / "g.pt", told)


def test_truncated_anywhere(tmp_path, fixtures):
    for dialect, content in fixtures.items():
        for end in [1, 2, 9, *range(1024, len(content), 1024), len(content) - 1]:
            (tmp_path / "g").write_bytes(content[:end])
            try:
                load_generator(tmp_path / "g")
            except IceError as error:
                assert "\n" not in str(error), dialect
            else:
                pytest.fail(f"{dialect} cut off at byte {end} was loaded")


def mutated(content, draw):
    """A few bytes changed, cut out, doubled or moved."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(data))
        kind = draw.randrange(6)
        if kind == 0:
            data[at] = draw.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del data[at : at + draw.randrange(1, 20)]
        elif kind == 3:
            data[at:at] = data[at : at + draw.randrange(1, 40)]
        elif kind == 4:
            data[at : at + 8] = draw.choice((b"\xff" * 8, b"\0" * 8, b"\x7f" * 8, struct.pack("<Q", 2**40)))
        else:
            other = draw.randrange(len(data))
            data[at : at + 16] = data[other : other + 16]
        data = data or bytearray(b"\x80")
    return bytes(data)


@pytest.mark.parametrize("seed,count", [("", 40), pytest.param("more", 150, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dialect", [*SMALL, "safetensors"])
def test_mutations_load_or_end_in_a_sentence(tmp_path, fixtures, dialect, seed, count):
    draw = random.Random(dialect + seed)
    for _ in range(count):
        (tmp_path / "g").write_bytes(mutated(fixtures[dialect], draw))
        try:
            load_generator(tmp_path / "g")
        except IceError as error:
            assert "\n" not in str(error)
