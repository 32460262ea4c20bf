"""TensorFlow.js manifests: what is written comes back, and what can be wrong with one is a sentence."""

import json
import struct

import numpy as np
import pytest
import torch
import writers

from ice_lightning.checkpoints import (
    convert_face_api,
    is_manifest,
    read_face_api,
    read_manifest,
    read_weights,
)  # fmt: skip
from ice_lightning.checkpoints.__main__ import main
from ice_lightning.checks import IceError

DRAW = np.random.default_rng(0)
TENSORS = {
    "a/filters": DRAW.normal(size=(3, 3, 2, 5)).astype(np.float32),
    "a/bias": DRAW.normal(size=5).astype(np.float32),
    "steps": np.array([3, -70000], np.int32),
    "on": np.array([True, False, True]),
    "single": np.array(2.5, np.float32),
    "equal": np.full(4, 7.0, np.float32),
}
PACKED = {"uint8": 1, "uint16": 2, "float16": 2, None: 4}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("shards,wrapped", [(1, False), (4, True)])
def test_what_is_written_comes_back(tmp_path, kind, shards, wrapped):
    def pack(name):
        return kind if TENSORS[name].dtype == np.float32 else None

    path = tmp_path / "model.json"
    expected = writers.manifest(path, TENSORS, pack, shards, wrapped)
    stored = sum(len(each.read_bytes()) for each in tmp_path.glob("*.bin"))
    assert stored == (90 + 5 + 1 + 4) * PACKED[kind] + 2 * 4 + 3
    found = read_manifest(path)
    assert list(found) == list(TENSORS)
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        assert tensor.shape == TENSORS[name].shape
        np.testing.assert_array_equal(tensor.numpy(), expected[name].astype(np.float32))


def test_a_byte_stands_for_byte_times_scale_plus_min(tmp_path):
    packed = {"dtype": "uint8", "scale": 0.5, "min": -3}
    entry = {"name": "x", "shape": [2, 2], "dtype": "float32", "quantization": packed}
    (tmp_path / "m.json").write_text(json.dumps([{"weights": [entry], "paths": ["x.bin"]}]))
    (tmp_path / "x.bin").write_bytes(bytes([0, 1, 6, 255]))
    assert read_manifest(tmp_path / "m.json")["x"].tolist() == [[-3.0, -2.5], [0.0, 124.5]]


def good(**more):
    return {"name": "x", "shape": [2], "dtype": "float32"} | more


def eight(**more):
    return good(quantization={"dtype": "uint8", "scale": 1.0, "min": 0.0} | more)


WRONG = {
    "short": ([good(shape=[3])], ["x.bin"], r"shards that are too short \(8 bytes for 12\)"),
    "long": ([good(shape=[1])], ["x.bin"], r"shards that are too long \(8 bytes for 4\)"),
    "missing": ([good()], ["y.bin"], r"none for its shard y.bin: put the shards beside the manifest"),
    "leaving": ([good()], ["../x.bin"], r"a shard '../x.bin' outside of its folder"),
    "leaving within": ([good()], ["sub/../../x.bin"], r"outside of its folder"),
    "absolute": ([good()], ["/etc/passwd"], r"a shard '/etc/passwd' outside of its folder"),
    "folder": ([good()], ["."], r"a folder or device for its shard"),
    "number": ([good()], [3], r"a shard '3' outside of its folder"),
    "twice": ([good(shape=[4])], ["x.bin", "x.bin"], r"names the shard x.bin twice"),
    "same name": ([good(shape=[1]), good(shape=[1])], ["x.bin"], r"names a tensor twice"),
    "text": ([good(dtype="string")], ["x.bin"], r"a tensor x of type string"),
    "complex": ([good(dtype="complex64", shape=[1])], ["x.bin"], r"a tensor x of type complex64"),
    "packed text": ([eight(dtype="int4")], ["x.bin"], r"type float32, quantised to int4"),
    "packed int32": ([eight() | {"dtype": "int32"}], ["x.bin"], r"type int32, quantised to uint8"),
    "no scale": ([eight(scale=None)], ["x.bin"], r"quantised without a scale and a min"),
    "infinite": ([eight(min=float("inf"))], ["x.bin"], r"quantised without a scale and a min"),
    "quantization": ([good(quantization=[1])], ["x.bin"], r"quantised to None"),
    "negative": ([good(shape=[-2, -1])], ["x.bin"], r"a tensor x of shape \[-2, -1\]"),
    "empty": ([good(shape=[0, 2**62])], ["x.bin"], r"a tensor x of shape \[0, "),
    "huge": ([good(shape=[2**62, 2**62])], ["x.bin"], r"shards that are too short"),
    "fraction": ([good(shape=[2.0])], ["x.bin"], r"a tensor x of shape \[2.0\]"),
    "deep": ([good(shape=[1] * 9)], ["x.bin"], r"a tensor x of shape"),
    "no shape": ([{"name": "x", "dtype": "float32"}], ["x.bin"], r"a tensor x of shape None"),
    "nameless": ([{"shape": [2], "dtype": "float32"}], ["x.bin"], r"a tensor that has no name"),
    "list of text": (["x"], ["x.bin"], r"a tensor that has no name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentences(tmp_path, case):
    weights, paths, sentence = WRONG[case]
    (tmp_path / "sub").mkdir()
    (tmp_path / "x.bin").write_bytes(np.zeros(2, np.float32).tobytes())
    (tmp_path.parent / "x.bin").write_bytes(b"01234567")
    (tmp_path / "m.json").write_text(json.dumps([{"weights": weights, "paths": paths}]))
    with pytest.raises(IceError, match=r"^expected a TensorFlow.js weights manifest at .*m.json, got .*" + sentence):
        read_manifest(tmp_path / "m.json")


@pytest.mark.parametrize(
    "text,sentence",
    [
        ("[", "a file that isn't JSON"),
        ("[" * 100_000, "a file that isn't JSON"),
        ("{}", "JSON without a list of weights"),
        ("[]", "JSON without a list of weights"),
        ('[{"weights": 3, "paths": []}]', "JSON without a list of weights"),
        ('{"weightsManifest": [1]}', "JSON without a list of weights"),
        ("", "an empty one"),
        ('[{"weights": [{"name": "x", "shape": [], "dtype": []}], "paths": []}]', "parts that don't fit together"),
    ],
)
def test_sentences_on_what_is_no_manifest(tmp_path, text, sentence):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(IceError, match=sentence):
        read_manifest(tmp_path / "m.json")


def test_a_manifest_that_isnt_there_or_holds_nan(tmp_path):
    with pytest.raises(IceError, match="got none: check the path"):
        read_manifest(tmp_path / "m.json")
    writers.manifest(tmp_path / "m.json", {"x": np.array([1.0, np.nan], np.float32)})
    with pytest.raises(IceError, match="finite numbers in x of"):
        read_manifest(tmp_path / "m.json")


def test_whatever_is_wrong_is_a_sentence(tmp_path):
    writers.manifest(tmp_path / "m.json", TENSORS)
    text, draw = (tmp_path / "m.json").read_bytes(), np.random.default_rng(1)
    read = 0
    for _ in range(300):
        broken = bytearray(text)
        for at in draw.integers(0, len(text), 2):
            broken[at] = draw.choice(list(b'0123456789-{}[]",:ex'))
        (tmp_path / "m.json").write_bytes(broken)
        try:
            read_manifest(tmp_path / "m.json")
            read += 1
        except IceError as error:
            assert str(error).startswith("expected "), error
    assert 0 < read < 300


def test_a_manifest_is_told_from_weights_by_its_content(tmp_path):
    writers.manifest(tmp_path / "m.weights", TENSORS)
    assert is_manifest(tmp_path / "m.weights")
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(ord("["))
    (tmp_path / "x.json").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))  # begins with "["
    assert not is_manifest(tmp_path / "x.json")
    assert read_face_api(tmp_path / "x.json", "x")["x"].tolist() == [0.0]
    assert not is_manifest(tmp_path / "none")


def test_what_is_converted_reads_like_its_manifest(tmp_path):
    writers.manifest(tmp_path / "m.json", writers.face_api("expression"), lambda name: "uint8")
    convert_face_api(tmp_path / "m.json", tmp_path / "expression.safetensors")
    one, other = read_face_api(tmp_path / "m.json", "x"), read_face_api(tmp_path / "expression.safetensors", "x")
    assert one.keys() == other.keys() == read_weights(tmp_path / "expression.safetensors", "x").keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    (tmp_path / "m.bin").unlink()
    with pytest.raises(IceError, match="a face-api manifest at"):
        convert_face_api(tmp_path / "m.json", tmp_path / "other.safetensors")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["expression.safetensors", "m.json"]


def test_the_command_line_says_what_a_manifest_is_and_converts_it(tmp_path, capsys):
    path, out = tmp_path / "m.json", tmp_path / "expression.safetensors"
    writers.manifest(path, writers.face_api("expression"), lambda name: "uint8")
    assert main([str(path)]) == 0
    assert "49, 323,687 numbers" in capsys.readouterr().out
    assert main([str(path), str(out)]) == 0
    assert len(read_weights(out, "x")) == 49
    assert main([str(path), str(out), "--verify"]) == 2
    assert "expected a StyleGAN2 checkpoint for --verify and --to ada, got a manifest" in capsys.readouterr().err
