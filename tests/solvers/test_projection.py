import itertools

import pytest
import reference
import torch

from ice_lightning.checks import IceError
from ice_lightning.jacobians.operators import Dense
from ice_lightning.solvers.dense import DenseSVD
from ice_lightning.solvers.projection import (
    SuppressedSpectrum,
    early,
    fix_signs,
    kept,
    late,
    mixed,
    project,
    soft,
    suppressed_basis,
    union,
)
from ice_lightning.subspace import principal_angles

draw = torch.Generator().manual_seed(0)


def matrix(rows, n=20, decay=2.0):
    A = torch.randn(rows, n, generator=draw, dtype=torch.float64)
    return A * torch.logspace(0, -decay, n, dtype=torch.float64)[torch.randperm(n, generator=draw)]


def test_early_equals_the_dense_reference():
    A, Ss, ratios = matrix(6), [matrix(30), matrix(5)], [1e-2, 0.2]
    solver = DenseSVD()
    Q = union([kept(solver.solve(Dense(S)), r) for S, r in zip(Ss, ratios, strict=True)], 20)
    result = early(Dense(A), Q, 1e-2, solver)
    values, vectors = reference.early(A.T @ A, [S.T @ S for S in Ss], ratios, 1e-2)
    torch.testing.assert_close(result.values, values, rtol=1e-8, atol=0)
    assert principal_angles(result.vectors, vectors).max() < 1e-6
    assert (Q.T @ result.vectors).abs().max() < 1e-12
    torch.testing.assert_close(result.vectors.T @ result.vectors, torch.eye(len(values), dtype=torch.float64))


def test_what_is_suppressed_stays_under_its_ratio():
    A, S = matrix(6), matrix(30)
    spectrum = DenseSVD().solve(Dense(S))
    result = early(Dense(A), kept(spectrum, 0.01), 1e-2, DenseSVD())
    assert (S @ result.vectors).square().sum(0).max() < 0.01 * spectrum.values[0]


def test_union_is_the_span_of_all_parts():
    eye = torch.eye(6, dtype=torch.float64)
    Q = union([eye[:, :2], eye[:, 1:3], eye[:, :0]], 6)
    assert Q.shape == (6, 3)
    torch.testing.assert_close(Q @ Q.T, eye[:, :3] @ eye[:, :3].T)
    assert union([], 6).shape == (6, 0)


def test_signs_make_the_largest_entry_positive():
    V = torch.tensor([[-3.0, 1.0], [2.0, 2.0]])
    assert torch.equal(fix_signs(V), torch.tensor([[3.0, 1.0], [-2.0, 2.0]]))
    assert torch.equal(fix_signs(-V), fix_signs(V))


def test_sentences():
    with pytest.raises(IceError, match=r"activate_ratio in \(0, 1\], got 0"):
        early(Dense(matrix(3)), torch.zeros(20, 0), 0, DenseSVD())
    with pytest.raises(
        IceError, match="suppressed terms that leave a direction free, got 20 suppressed directions of 20"
    ):
        early(Dense(matrix(3)), torch.eye(20, dtype=torch.float64), 0.1, DenseSVD())
    with pytest.raises(IceError, match="activated terms with some energy, got none at all"):
        early(Dense(torch.zeros(3, 20, dtype=torch.float64)), torch.zeros(20, 0), 0.1, DenseSVD())


def spectrum_matrix(values, rows=None):
    """A (rows, 20) factor whose energy has these eigenvalues (the others are 0)."""
    values = torch.as_tensor(values, dtype=torch.float64)
    U = torch.linalg.qr(torch.randn(rows or len(values), len(values), generator=draw, dtype=torch.float64)).Q
    V = torch.linalg.qr(torch.randn(20, len(values), generator=draw, dtype=torch.float64)).Q
    return U * values.sqrt() @ V.T


HARD = {
    "decaying": lambda: (matrix(6), [matrix(30), matrix(5)]),
    "repeated eigenvalues": lambda: (
        spectrum_matrix([5.0, 3.0, 1.0]),
        [spectrum_matrix([2.0, 2.0, 2.0, 1e-9]), spectrum_matrix([1.0, 1.0, 1e-9, 1e-9])],
    ),
    "rank 0 suppressed": lambda: (matrix(4), [torch.zeros(3, 20, dtype=torch.float64), matrix(2)]),
    "full rank": lambda: (matrix(20), [matrix(40, decay=4.0), matrix(20, decay=3.0)]),
    "tiny and huge": lambda: (matrix(6) * 1e-6, [matrix(8) * 1e6, matrix(5) * 1e-6]),
    "nothing suppressed": lambda: (matrix(6), []),
}
RATIOS = [1e-2, 0.2]


@pytest.fixture(params=HARD)
def hard(request):
    """Factor A, energies of the suppressed, spectra with ratios, all ratios."""
    draw.manual_seed(5)
    A, Ss = HARD[request.param]()
    bad = [SuppressedSpectrum(DenseSVD().solve(Dense(S)), r) for S, r in zip(Ss, RATIOS, strict=False)]
    return A, [(S.T @ S).numpy() for S in Ss], bad, RATIOS[: len(Ss)]


def test_late_equals_the_reference_on_hard_matrices(hard):
    A, Ss, bad, ratios = hard
    Q = suppressed_basis(bad, 20)
    result = late(Dense(A), Q, 1e-2, DenseSVD())
    projector, values = reference.late((A.T @ A).numpy(), Ss, ratios, 1e-2)
    torch.testing.assert_close(result.vectors @ result.vectors.T, torch.from_numpy(projector), rtol=0, atol=1e-6)
    torch.testing.assert_close(result.values, torch.from_numpy(values.copy()), rtol=1e-6, atol=1e-9 * values[0])
    assert (Q.T @ result.vectors).abs().max() < 1e-9 if Q.shape[1] else True


def test_mixed_equals_the_reference_on_hard_matrices(hard):
    A, Ss, bad, ratios = hard
    if len(Ss) < 2:
        pytest.skip("nothing to mix")
    result = mixed(Dense(A), suppressed_basis(bad[:1], 20), suppressed_basis(bad, 20), 1e-2, DenseSVD())
    projector, values = reference.late((A.T @ A).numpy(), Ss, ratios, 1e-2, first=1)
    torch.testing.assert_close(result.vectors @ result.vectors.T, torch.from_numpy(projector), rtol=0, atol=1e-6)
    torch.testing.assert_close(result.values, torch.from_numpy(values.copy()), rtol=1e-6, atol=1e-9 * values[0])


def test_soft_equals_the_reference_on_hard_matrices(hard):
    A, Ss, bad, ratios = hard
    result = soft(Dense(A), bad, 1e-2, DenseSVD())
    values, vectors = reference.soft((A.T @ A).numpy(), Ss, ratios, 1e-2)
    torch.testing.assert_close(result.values, torch.from_numpy(values.copy()), rtol=1e-8, atol=0)
    ours, theirs = torch.linalg.qr(result.vectors).Q, torch.linalg.qr(torch.from_numpy(vectors.copy())).Q
    assert principal_angles(ours, theirs).max() < 1e-6
    torch.testing.assert_close(result.vectors.norm(dim=0), torch.ones(len(values), dtype=torch.float64))


def test_early_and_mixed_do_not_care_for_names_only_for_groups(hard):
    A, Ss, bad, _ = hard
    if len(Ss) < 2:
        pytest.skip("nothing to mix")
    named = dict(zip("ab", bad, strict=True))
    whole = project(Dense(A), named, "mixed", ("b",), 1e-2, DenseSVD())
    parts = mixed(Dense(A), suppressed_basis(bad[:1], 20), suppressed_basis(bad, 20), 1e-2, DenseSVD())
    assert torch.equal(whole.vectors, parts.vectors)
    all_late = project(Dense(A), named, "mixed", ("a", "b"), 1e-2, DenseSVD())
    assert torch.equal(all_late.vectors, late(Dense(A), suppressed_basis(bad, 20), 1e-2, DenseSVD()).vectors)


def test_rank_caps():
    A = Dense(matrix(6))
    result = project(A, {}, "early", (), 1e-6, DenseSVD(), rank=2)
    assert result.vectors.shape == (20, 2)
    assert torch.equal(result.values, project(A, {}, "early", (), 1e-6, DenseSVD()).values[:2])


def test_late_normalises_directions_and_not_coordinates():
    # The released code of Li et al. 2022 divides by the norm over directions, so that what it returns isn't of unit
    # length, nor even in the span of the projected directions.
    A = torch.diag(torch.tensor([3.0, 2.0, 0.0], dtype=torch.float64))
    q = torch.tensor([[0.6], [0.0], [0.8]], dtype=torch.float64)
    ours = late(Dense(A), q, 1e-2, DenseSVD()).vectors
    torch.testing.assert_close(ours.norm(dim=0), torch.ones(2, dtype=torch.float64))
    left = torch.eye(3, dtype=torch.float64)[:, :2]
    left = left - q @ (q.T @ left)
    wrong = left / left.norm(dim=1, keepdim=True)
    assert (wrong.norm(dim=0) - 1).abs().max() > 0.1
    assert (q.T @ wrong).abs().max() > 0.1
    assert (q.T @ ours).abs().max() < 1e-12


def test_soft_has_no_jump_where_a_ratio_crosses_an_eigenvalue():
    draw.manual_seed(9)
    A, spectrum = Dense(matrix(3)), DenseSVD().solve(Dense(spectrum_matrix([1.0, 0.1, 0.01, 0.001])))

    def first(ratio, projection):
        return project(A, {"s": SuppressedSpectrum(spectrum, ratio)}, projection, (), 1e-6, DenseSVD(), rank=1).vectors

    def jumps(projection):
        ratios = [0.1 * 1.001**k for k in range(-5, 6)]
        found = [first(ratio, projection) for ratio in ratios]
        return max(principal_angles(a, b).item() for a, b in itertools.pairwise(found))

    assert jumps("soft") < 1e-2 < 0.05 < jumps("early")


def test_a_projection_that_leaves_nothing_is_told():
    eye = torch.eye(20, dtype=torch.float64)
    bad = {"all": SuppressedSpectrum(DenseSVD().solve(Dense(eye)), 0.5)}
    for projection, names in (("early", ()), ("late", ()), ("mixed", ("all",))):
        with pytest.raises(IceError, match="suppressed terms that leave a direction free, got 20"):
            project(Dense(matrix(3)), bad, projection, names, 0.1, DenseSVD())
    assert project(Dense(matrix(3)), bad, "soft", (), 0.1, DenseSVD()).vectors.shape[1] > 0
