import pytest
import reference
import torch

from ice_lightning.checks import IceError
from ice_lightning.operators import Dense
from ice_lightning.projection import early, fix_signs, kept, union
from ice_lightning.solvers import Exact
from ice_lightning.subspace import principal_angles

draw = torch.Generator().manual_seed(0)


def matrix(rows, n=20, decay=2.0):
    A = torch.randn(rows, n, generator=draw, dtype=torch.float64)
    return A * torch.logspace(0, -decay, n, dtype=torch.float64)[torch.randperm(n, generator=draw)]


def test_early_equals_the_dense_reference():
    A, Ss, ratios = matrix(6), [matrix(30), matrix(5)], [1e-2, 0.2]
    solver = Exact()
    Q = union([kept(solver.solve(Dense(S)), r) for S, r in zip(Ss, ratios, strict=True)], 20)
    result = early(Dense(A), Q, 1e-2, solver)
    values, vectors = reference.early(A.T @ A, [S.T @ S for S in Ss], ratios, 1e-2)
    torch.testing.assert_close(result.values, values, rtol=1e-8, atol=0)
    assert principal_angles(result.vectors, vectors).max() < 1e-6
    assert (Q.T @ result.vectors).abs().max() < 1e-12
    torch.testing.assert_close(result.vectors.T @ result.vectors, torch.eye(len(values), dtype=torch.float64))


def test_what_is_suppressed_stays_under_its_ratio():
    A, S = matrix(6), matrix(30)
    spectrum = Exact().solve(Dense(S))
    result = early(Dense(A), kept(spectrum, 0.01), 1e-2, Exact())
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
        early(Dense(matrix(3)), torch.zeros(20, 0), 0, Exact())
    with pytest.raises(
        IceError, match="suppressed terms that leave a direction free, got 20 suppressed directions of 20"
    ):
        early(Dense(matrix(3)), torch.eye(20, dtype=torch.float64), 0.1, Exact())
    with pytest.raises(IceError, match="activated terms with some energy, got none at all"):
        early(Dense(torch.zeros(3, 20, dtype=torch.float64)), torch.zeros(20, 0), 0.1, Exact())
