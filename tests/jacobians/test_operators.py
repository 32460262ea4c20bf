import pytest
import reference
import torch

from ice_lightning.checks import IceError
from ice_lightning.jacobians.linearize import Jacobian, check_repeatable
from ice_lightning.jacobians.operators import Dense, Projected, Sum, Whitened, remove
from ice_lightning.parallel import Batch

draw = torch.Generator().manual_seed(0)
W1 = torch.randn(7, 5, generator=draw, dtype=torch.float64)
W2 = torch.randn(9, 7, generator=draw, dtype=torch.float64)
U = torch.randn(1, 5, generator=draw, dtype=torch.float64)
Q = torch.linalg.qr(torch.randn(5, 2, generator=draw, dtype=torch.float64)).Q


def f(u):
    return torch.tanh(u @ W1.T) @ W2.T


OPERATORS = {
    "Dense": lambda: Dense(W1),
    "Jacobian": lambda: Jacobian(f, U),
    "Jacobian without forward mode": lambda: Jacobian(f, U, forward=False),
    "Jacobian, several products at once": lambda: Jacobian(f, U, batch=Batch(2)),
    "Sum": lambda: Sum([Jacobian(f, U), Dense(W1)], (2.0, 0.5)),
    "Whitened": lambda: Whitened(Jacobian(f, U), Q, torch.tensor([0.5, 0.01], dtype=torch.float64)),
    "Projected": lambda: Projected(Jacobian(f, U), Q),
    "Projected by nothing": lambda: Projected(Dense(W1), torch.zeros(5, 0, dtype=torch.float64)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_adjoint_identity(name):
    J = OPERATORS[name]()
    m, n = J.shape
    V = torch.randn(n, 3, generator=draw, dtype=torch.float64)
    Y = torch.randn(m, 4, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(J.matmat(V).T @ Y, V.T @ J.adjoint(Y), rtol=1e-12, atol=1e-12)


def test_jacobian_equals_finite_differences():
    J = Jacobian(f, U).matmat(torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(J, reference.dense_jacobian(f, U), rtol=1e-7, atol=1e-8)


def test_the_published_rows_are_the_jacobian():
    J = Jacobian(f, U).matmat(torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(reference.published_rows(f, U, range(9)), J)


def test_energies_of_terms():
    eye = torch.eye(5, dtype=torch.float64)
    J = reference.dense_jacobian(f, U)
    stacked = Sum([Jacobian(f, U), Dense(W1)], (2.0, 0.5))
    torch.testing.assert_close(stacked.adjoint(stacked.matmat(eye)), 2 * J.T @ J + 0.5 * W1.T @ W1)


def test_two_backward_passes_give_the_same_columns_as_forward_mode():
    V = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(Jacobian(f, U).matmat(V), Jacobian(f, U, batch=Batch(2)).matmat(V))


def test_whitened_is_the_inverse_root():
    shrink = torch.tensor([0.5, 0.01], dtype=torch.float64)
    B = torch.eye(5, dtype=torch.float64) + Q @ torch.diag(shrink**-2 - 1) @ Q.T
    values, vectors = torch.linalg.eigh(B)
    root = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    torch.testing.assert_close(Whitened(Dense(W1), Q, shrink).matmat(torch.eye(5, dtype=torch.float64)), W1 @ root)


def test_remove_leaves_nothing_in_the_span():
    V = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    assert (Q.T @ remove(V, Q)).abs().max() < 1e-14


def test_rounding_is_no_randomness():
    """On a GPU two passes may add in another order."""
    check_repeatable([f(U)], [f(U) * (1 + 1e-6)])


def test_premises_are_probed():
    with pytest.raises(IceError, match="a deterministic forward pass, got two different results"):
        check_repeatable([f(U)], [f(U) + torch.randn(1)])
    with pytest.raises(IceError, match="finite features, got 9 NaN or infinite"):
        check_repeatable([f(U) * float("nan")], [f(U)])
    with pytest.raises(IceError, match=r"one latent of shape \(1, n\), got \(2, 5\)"):
        Jacobian(f, U.expand(2, 5))
