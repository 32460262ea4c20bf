"""Errors that a caller can tell apart, each a sentence."""

import json

import pytest
import torch

from ice_lightning.checkpoints import load_generator
from ice_lightning.checks import IceError, Mismatch, NotFound, Unreadable, finite, problem
from ice_lightning.explanation import load_explained
from ice_lightning.files import write_bytes, write_json
from ice_lightning.latents import read_latents
from ice_lightning.subspace import Subspace, load_subspace
from ice_lightning.tasks.errors import sentence


def test_an_error_is_a_sentence_of_its_kind():
    error = problem("a file at x", "none", "pass another", NotFound)
    assert str(error) == "expected a file at x, got none: pass another"
    assert isinstance(error, NotFound)
    assert not isinstance(error, Mismatch | Unreadable)
    assert type(problem("a", "b", "c")) is IceError


def test_numbers_that_are_none_make_a_file_unreadable():
    assert finite("a", torch.ones(3)).sum() == 3
    with pytest.raises(Unreadable, match=r"finite numbers in weights, got 2 NaN or infinite of 3: check the file"):
        finite("weights", torch.tensor([1.0, torch.inf, torch.nan]))


def test_a_file_is_whole_or_as_it_was(tmp_path):
    write_json(tmp_path / "new" / "a.json", {"x": [1, 2]}, indent=1)
    assert (tmp_path / "new" / "a.json").read_text() == '{\n "x": [\n  1,\n  2\n ]\n}\n'
    with pytest.raises(TypeError):
        write_json(tmp_path / "new" / "a.json", {"x": object()})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"x": [1, 2]}
    write_bytes(tmp_path / "new" / "a.json", b"\x00")
    assert (tmp_path / "new" / "a.json").read_bytes() == b"\x00"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.json"]


@pytest.mark.parametrize("kind", [IceError, NotFound, Unreadable, Mismatch])
def test_of_a_forked_process_the_sentence_is_found_in_its_traceback(kind):
    """Only the text of it arrives."""
    text = f"Traceback (most recent call last):\n  ...\n{kind.__module__}.{kind.__name__}: expected a, got b: c\n"
    assert sentence(RuntimeError(text)) == "expected a, got b: c"
    assert sentence(RuntimeError("ValueError: expected a, got b: c")) is None


@pytest.mark.parametrize("load", [load_subspace, load_explained, load_generator, read_latents])
def test_a_caller_can_tell_a_missing_file_from_a_broken_one(load, tmp_path):
    with pytest.raises(NotFound):
        load(tmp_path / "nothing.safetensors")
    name = "counterfactuals.safetensors" if load is load_explained else "broken.safetensors"
    (tmp_path / name).write_bytes(b"half a file")
    with pytest.raises(Unreadable):
        load(tmp_path if load is load_explained else tmp_path / name)


def test_a_subspace_of_another_generator_is_a_mismatch(small_generator):
    with pytest.raises(Mismatch, match="a subspace of this generator"):
        Subspace(torch.eye(2), torch.ones(2), "w", {"generator_sha256": "0" * 64}).check_generator(small_generator)
