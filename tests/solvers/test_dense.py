import pytest
import torch

from ice_lightning.checks import IceError
from ice_lightning.jacobians.operators import Dense
from ice_lightning.solvers import dense
from ice_lightning.solvers.dense import DenseSVD, strong, thin_factor
from ice_lightning.subspace import principal_angles

draw = torch.Generator().manual_seed(0)
TALL = torch.randn(40, 12, generator=draw, dtype=torch.float64)
SCALE = torch.logspace(0, -5, 12, dtype=torch.float64)


@pytest.mark.parametrize("A", [TALL * SCALE, (TALL * SCALE).T.contiguous()], ids=["tall", "wide"])
def test_eigenpairs_equal_eigh(A):
    result = DenseSVD().solve(Dense(A))
    values, vectors = torch.linalg.eigh(A.T @ A)
    k = min(A.shape)
    values, vectors = values.flip(0)[:k], vectors.flip(1)[:, :k]
    torch.testing.assert_close(result.values, values, rtol=1e-8, atol=1e-15 * float(values[0]))
    overlap = (result.vectors[:, :4] * vectors[:, :4]).sum(0).abs()
    torch.testing.assert_close(overlap, torch.ones(4, dtype=torch.float64))
    assert result.residuals.max() < 1e-12


@pytest.mark.parametrize("chunk", [1, 5, 64])
@pytest.mark.parametrize("A", [TALL, TALL.T.contiguous()], ids=["tall", "wide"])
def test_the_matrix_does_not_depend_on_the_chunk(chunk, A):
    assert torch.equal(DenseSVD(chunk=chunk).matrix(Dense(A)), A)


def test_thin_factor_keeps_the_energy_of_all_parts():
    parts = [TALL, torch.zeros(3, 12, dtype=torch.float64), TALL[:5] * 2]
    R = thin_factor(parts)
    assert R.shape == (12, 12)
    torch.testing.assert_close(R.T @ R, sum(p.T @ p for p in parts))
    assert thin_factor([torch.zeros(2, 12), torch.ones(1, 12)]).shape == (1, 12)


def test_strong_pairs_of_a_large_matrix_are_those_of_its_decomposition(monkeypatch):
    A = torch.randn(300, 280, generator=draw, dtype=torch.float64) * torch.logspace(0, -3, 280, dtype=torch.float64)
    whole = strong(A, 1e-2)
    monkeypatch.setattr(dense, "SMALL", 100)
    few = strong(A, 1e-2)
    assert few.shape == whole.shape
    assert principal_angles(few, whole).max() < 1e-3


def test_sentences():
    with pytest.raises(IceError, match=r"solver\.chunk of at least 1, got 0"):
        DenseSVD(chunk=0).solve(Dense(TALL))


def test_a_decomposition_on_which_the_fast_routine_gives_up_is_made_by_another(monkeypatch):
    A = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def gives_up(*_, **__):
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(torch.linalg, "svd", gives_up)
    U, s, Vh = dense.svd(A)
    torch.testing.assert_close(U * s @ Vh, A)
    torch.testing.assert_close(Vh @ Vh.T, torch.eye(5, dtype=torch.float64))
