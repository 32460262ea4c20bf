import math

import pytest
import torch
from safetensors.torch import save_file

from ice_lightning import load_subspace
from ice_lightning.checks import IceError
from ice_lightning.subspace import FILE, Subspace, principal_angles

V = torch.linalg.qr(torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
S = Subspace(V, torch.tensor([3.0, 2.0, 1.0]), "w", {"criterion": "skin_color", "seed": 0})


def test_a_saved_subspace_comes_back_from_file_and_folder(tmp_path):
    S.save(tmp_path / FILE)
    for path in (tmp_path, tmp_path / FILE):
        again = load_subspace(path)
        assert torch.equal(again.directions, V)
        assert (again.space, again.provenance) == (S.space, S.provenance)
    assert [p.name for p in tmp_path.iterdir()] == [FILE]


def test_edit_moves_along_one_direction():
    u = torch.zeros(2, 9)
    moved = S.edit(u, direction=1, strength=torch.tensor([2.0, -1.0]))
    torch.testing.assert_close(moved, torch.stack([2 * V[:, 1], -V[:, 1]]).float())


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.3, 1.5, math.pi / 2])
def test_principal_angles_are_exact_at_both_ends(angle):
    eye = torch.eye(4, dtype=torch.float64)
    turned = torch.stack([eye[0], math.cos(angle) * eye[1] + math.sin(angle) * eye[2]], 1)
    angles = principal_angles(eye[:, :2], turned)
    torch.testing.assert_close(angles, torch.tensor([0.0, angle], dtype=torch.float64), rtol=1e-9, atol=1e-15)
    assert principal_angles(turned[:, :1], eye[:, :2]).max() < 1e-12


def test_angles_are_within_one_space():
    with pytest.raises(IceError, match="a subspace of w, got s"):
        S.angles(Subspace(torch.eye(8), torch.ones(8), "s"))


@pytest.mark.parametrize("strength", ["x", None, 1j, True, float("nan"), torch.ones(3), torch.ones(1, 2)])
def test_a_strength_is_a_number_or_one_for_each(strength):
    with pytest.raises(IceError, match=r"^expected (a strength as a number|one strength, or one for each of 2 people)"):
        S.edit(torch.zeros(2, 9), strength=strength)


@pytest.mark.parametrize(
    "strength",
    [float("inf"), 1e39, 10**400, torch.tensor([1.0, torch.nan]), torch.tensor([1e300], dtype=torch.float64)],
    ids=["infinite", "beyond float32", "beyond any float", "NaN for one", "a Tensor beyond float32"],
)
def test_a_strength_is_finite(strength):
    with pytest.raises(IceError, match=r"^expected (a strength as a number|a finite strength|finite strengths)"):
        S.edit(torch.zeros(2, 9), strength=strength)


@pytest.mark.parametrize("strength", [torch.tensor([True, False]), torch.tensor([1j, 2j])])
def test_strengths_are_real(strength):
    with pytest.raises(IceError, match=r"^expected strengths that are real numbers, got a Tensor of torch"):
        S.edit(torch.zeros(2, 9), strength=strength)


def test_sentences(tmp_path):
    with pytest.raises(IceError, match=r"latents of shape \(N, 9\) in w, got \(2, 4\)"):
        S.edit(torch.zeros(2, 4))
    with pytest.raises(IceError, match="a direction from 0 to 2, got 3"):
        S.edit(torch.zeros(2, 9), direction=3)
    with pytest.raises(IceError, match=r"a subspace at .*, got none"):
        load_subspace(tmp_path)
    (tmp_path / FILE).write_bytes(b"not a file")
    with pytest.raises(IceError, match=r"a whole subspace file at .*: run the discovery again"):
        load_subspace(tmp_path)


EYE = torch.eye(3)[:, :2]


@pytest.mark.parametrize(
    "changed,sentence",
    [
        ({"directions": [[1.0]]}, "directions as a Tensor, got a list"),
        ({"directions": EYE.numpy()}, "directions as a Tensor, got a ndarray"),
        ({"directions": EYE.long()}, "directions as floating numbers, got torch.int64"),
        ({"directions": EYE.to(torch.complex64)}, "directions as floating numbers, got torch.complex64"),
        ({"directions": EYE[:, 0]}, r"directions of shape \(n, k\), none of them 0, got \(3,\)"),
        ({"directions": EYE[:, :0]}, r"none of them 0, got \(3, 0\)"),
        ({"directions": EYE * torch.nan}, "finite numbers in directions"),
        ({"directions": EYE * torch.tensor([1.0, 0.0])}, "got one that is 0 everywhere"),
        ({"eigenvalues": torch.ones(3)}, "2 eigenvalues, one for each direction, got 3"),
        ({"eigenvalues": torch.tensor([1.0, torch.inf])}, "finite numbers in eigenvalues"),
        ({"space": ["s"]}, "space as a str, got a list"),
        ({"directions": EYE.to(torch.float8_e5m2)}, "directions as floating numbers, got torch.float8"),
        ({"directions": EYE.to_sparse()}, "directions as a dense tensor with values"),
        ({"directions": EYE.to("meta")}, "directions as a dense tensor with values"),
        ({"provenance": {"criterion": 5}}, "criterion in the provenance as a str, got a int"),
        ({"provenance": {"config": 3}}, "config in the provenance as a dict, got a int"),
        ({"provenance": {"generator_sha256": None}}, "generator_sha256 in the provenance as a str, got a NoneType"),
        ({"provenance": None}, "provenance as a dict, got a NoneType"),
    ],
)
def test_what_is_no_subspace_is_a_sentence(changed, sentence):
    right = {"directions": EYE, "eigenvalues": torch.ones(2), "space": "w", "provenance": {}}
    Subspace(**right)
    with pytest.raises(IceError, match=sentence):
        Subspace(**right | changed)


def test_directions_of_other_latents_than_the_generators_are_refused(small_generator):
    made = {"generator_sha256": small_generator.fingerprint}
    n = sum(small_generator.widths("s"))
    Subspace(torch.eye(n), torch.ones(n), "s", made).check_generator(small_generator)
    wrong = {"w": rf"directions \(\d+, k\) in w, got {n} coordinates", "y": "a space out of z, w"}
    for space, sentence in wrong.items():
        with pytest.raises(IceError, match=sentence):
            Subspace(torch.eye(n), torch.ones(n), space, made).check_generator(small_generator)


@pytest.mark.parametrize("provenance", ["{", "3", '{"config": 3}', '{"criterion": [1]}', "[" * 100_000, "9" * 6_000])
def test_a_header_that_is_no_record_is_a_sentence(provenance, tmp_path):
    header = {"provenance": provenance, "space": "w"}
    save_file({"directions": EYE.contiguous(), "eigenvalues": torch.ones(2)}, tmp_path / FILE, header)
    with pytest.raises(IceError, match=r"^expected a whole subspace file at [^\n]*$"):
        load_subspace(tmp_path)


@pytest.mark.parametrize("path", ["a" * 5_000, "a\nb", 3, None])
def test_a_path_that_no_file_has_is_one_sentence(path):
    with pytest.raises(IceError, match=r"^expected [^\n]*$"):
        load_subspace(path)
