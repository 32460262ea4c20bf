"""counterfactual.py on scores whose smallest flip is known."""

import pytest
import torch

from ice_lightning.checks import IceError
from ice_lightning.counterfactual import Gradient, Line, Paper, moved, smallest_step

METHODS = {"gradient": Gradient(margin=0.0), "line": Line(margin=0.0), "paper": Paper(steps=50)}


def people(n=6, dim=5, seed=0):
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def basis(dim=5, k=3, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, k, dtype=torch.float64, generator=draw)).Q


@pytest.mark.parametrize("drop", [0.1, 1.0, 2.0])
def test_the_smallest_step_is_that_of_a_solver(drop):
    from scipy.optimize import minimize

    g = people(4, 6)
    t = smallest_step(g, torch.full((4,), drop, dtype=torch.float64), 0.6)
    for row in range(4):
        gradient = g[row].numpy()
        if drop > 0.6 * abs(gradient).sum():
            continue
        constraint = {"type": "ineq", "fun": lambda x, gradient=gradient: -drop - gradient @ x}
        exact = minimize(lambda x: x @ x, [0.0] * 6, bounds=[(-0.6, 0.6)] * 6, constraints=constraint, tol=1e-12)
        assert torch.allclose(t[row], torch.as_tensor(exact.x), atol=1e-4)


def test_a_drop_out_of_reach_goes_to_the_corner():
    g = people(4, 6)
    t = smallest_step(g, torch.full((4,), 1e3, dtype=torch.float64), 0.6)
    assert torch.allclose(t, -0.6 * g.sign())


def test_a_plane_is_reached_along_its_normal_within_the_subspace():
    u, B = people(), basis()
    w = torch.arange(1.0, 6, dtype=torch.float64)
    found = Gradient(bound=50, margin=0.0, halvings=12)(lambda v: v @ w, u, B)
    g = B.T @ w
    distance = (u @ w).abs() / g.norm()
    assert found.flipped.all()
    assert torch.allclose(found.t.norm(dim=1), distance, rtol=0.01, atol=0.01)
    assert torch.equal(found.before.sign(), -found.after.sign())


def test_a_curved_boundary_is_reached_at_its_nearest_point():
    """Inside of a shifted circle: the way out is along the radius."""
    u = 0.6 * torch.nn.functional.normalize(people(20, 2))
    found = Gradient(bound=9, margin=0.0, improve=8, halvings=12)(
        lambda v: v.square().sum(1) - 1, u, torch.eye(2).double()
    )
    assert found.flipped.all()
    assert torch.allclose(found.t.norm(dim=1), torch.full((20,), 0.4, dtype=torch.float64), rtol=0.02)


@pytest.mark.parametrize("name", METHODS)
def test_who_cannot_be_flipped_is_kept_and_said_so(name):
    u = people()
    found = METHODS[name](lambda v: torch.tanh(v @ torch.ones(5).double()) + 2, u, 0.1 * basis())
    assert not found.flipped.any()
    assert found.t.isfinite().all()
    if name != "paper":
        assert (found.t.abs() <= 3 + 1e-9).all()


@pytest.mark.parametrize("name", METHODS)
def test_each_person_is_searched_as_if_alone(name):
    u, B = people(), basis()

    def score(v):
        return torch.sin(v).sum(1) + 0.3

    together = METHODS[name](score, u, B)
    alone = [METHODS[name](score, u[i : i + 1], B) for i in range(len(u))]
    for field in together._fields:
        each = torch.cat([getattr(one, field) for one in alone])
        torch.testing.assert_close(getattr(together, field), each, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["gradient", "line"])
def test_flips_reach_the_margin_and_stay_in_the_box(name):
    u, B = people(30), basis()
    method = {"gradient": Gradient(bound=0.4, margin=0.2), "line": Line(bound=0.4, margin=0.2)}[name]

    def score(v):
        return (v.sin() * torch.arange(1.0, 6, dtype=torch.float64)).sum(1)

    found = method(score, u, B)
    assert 0 < found.flipped.sum() < 30
    assert (found.t.abs() <= 0.4 + 1e-9).all()
    after = score(moved(u, B, found.t))
    assert torch.allclose(after, found.after)
    assert ((after * found.before.sign())[found.flipped] <= -0.2).all()


def test_a_line_moves_along_one_direction():
    found = Line(bound=50)(lambda v: v.sum(1), people(), basis())
    assert ((found.t != 0).sum(1) == 1)[found.flipped].all()
    assert found.flipped.all()


def test_bases_of_each_person_are_their_own():
    u = people(3, 5)
    spread = torch.stack([basis(seed=i) for i in range(3)])
    t = people(3, 3, seed=2)
    expected = torch.stack([u[i] + spread[i] @ t[i] for i in range(3)])
    torch.testing.assert_close(moved(u, spread, t), expected)
    torch.testing.assert_close(moved(u, torch.arange(5.0).double(), u), u + u * torch.arange(5.0).double())


def test_the_published_search_is_its_plain_loop():
    """Li et al. 2022: SGD on the coefficients of orthonormal directions, in latent units."""
    u, B = people(1), basis()
    scale = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    found = Paper(steps=7, lr=0.3)(lambda v: v.square().sum(1), u, B * scale)
    coefficients = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([coefficients], lr=0.3, momentum=0.9, weight_decay=1e-3)
    for _ in range(7):
        optimiser.zero_grad()
        shown = u + B @ coefficients  # the picture of the notebook: made before the step
        shown.square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(moved(u, B * scale, found.t), shown.detach())
    assert found.evaluations.tolist() == [7]


@pytest.mark.parametrize(
    "settings,told", [({"bound": 0}, "method.bound above 0"), ({"margin": -1}, "method.margin of")]
)
def test_settings_without_a_search_are_refused(settings, told):
    for kind in (Gradient, Line):
        with pytest.raises(IceError, match=told):
            kind(**settings)


@pytest.mark.parametrize(
    "settings,told",
    [
        ({"steps": 1}, "method.steps of at least 2, got 1"),
        ({"margin": -1}, "method.margin of at least 0"),
        ({"margin": float("nan")}, "method.margin of at least 0"),
        ({"lr": 0.0}, "method.lr above 0"),
        ({"momentum": 1.0}, "method.momentum of at least 0 and below 1"),
        ({"weight_decay": -1e-3}, "method.weight_decay of at least 0"),
    ],
)
def test_settings_of_the_published_search_are_refused_alike(settings, told):
    with pytest.raises(IceError, match=told):
        Paper(**settings)
