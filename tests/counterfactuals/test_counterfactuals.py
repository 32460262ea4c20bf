"""counterfactual.py on scores whose smallest flip is known."""

from dataclasses import replace

import pytest
import torch

from ice_lightning.checks import IceError
from ice_lightning.counterfactuals.base import Counterfactuals
from ice_lightning.counterfactuals.bases import Columns, EveryCoordinate, Individual, padded
from ice_lightning.counterfactuals.gradient import Gradient, smallest_step
from ice_lightning.counterfactuals.line import Line
from ice_lightning.counterfactuals.paper import Paper
from ice_lightning.population import geometry, radius

METHODS = {"gradient": Gradient(margin=0.0), "line": Line(margin=0.0), "paper": Paper(steps=50)}


def people(n=6, dim=5, seed=0):
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def columns(B):
    """A basis of orthonormal directions (n, k)."""
    return Columns(B, torch.eye(B.shape[1], dtype=B.dtype))


def basis(dim=5, k=3, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return columns(torch.linalg.qr(torch.randn(dim, k, dtype=torch.float64, generator=draw)).Q)


@pytest.mark.parametrize("drop", [0.1, 0.5, 1.0, 1.4])
def test_the_smallest_step_is_that_of_a_solver(drop):
    from scipy.optimize import minimize

    g, start, bound = people(6, 4), 0.5 * torch.nn.functional.normalize(people(6, 4, seed=3)), 0.6
    s = smallest_step(g, torch.full((6,), drop, dtype=torch.float64), bound, start)
    assert ((start + s).norm(dim=1) <= bound + 1e-9).all()
    for row in range(6):
        gradient, at = g[row].numpy(), start[row].numpy()
        if drop > bound * g[row].norm() + gradient @ at:
            assert torch.allclose(start[row] + s[row], -bound * g[row] / g[row].norm())
            continue
        down = {"type": "ineq", "fun": lambda x, gradient=gradient: -drop - gradient @ x}
        within = {"type": "ineq", "fun": lambda x, at=at: bound**2 - (at + x) @ (at + x)}
        exact = minimize(lambda x: x @ x, s[row].numpy() * 0, constraints=[down, within], tol=1e-12)
        assert torch.allclose(s[row], torch.as_tensor(exact.x), atol=1e-4)


def test_a_drop_out_of_reach_goes_to_the_best_place_of_the_ball():
    g = people(4, 6)
    t = smallest_step(g, torch.full((4,), 1e3, dtype=torch.float64), 0.6)
    assert torch.allclose(t, -0.6 * torch.nn.functional.normalize(g))


def test_a_plane_is_reached_along_its_normal_within_the_subspace():
    u, B = people(), basis()
    w = torch.arange(1.0, 6, dtype=torch.float64)
    found = Gradient(bound=50, margin=0.0, halvings=12)(lambda v: v @ w, u, B)
    g = B.columns.T @ w
    distance = (u @ w).abs() / g.norm()
    assert found.flipped.all()
    assert torch.allclose(found.t.norm(dim=1), distance, rtol=0.01, atol=0.01)
    assert torch.equal(found.before.sign(), -found.after.sign())


@pytest.mark.parametrize("steep", [1.0, 1e4])
def test_a_boundary_much_nearer_than_the_ball_is_reached(steep):
    # In all coordinates of a generator the ball is 41 deviations wide, and a classifier changes its mind within 0.03.
    u, B = people(), basis()
    w = torch.arange(1.0, 6, dtype=torch.float64)
    found = Gradient(bound=50, margin=0.1)(lambda v: steep * ((v @ w) + (v @ w).square() / 5), u, B)
    assert found.flipped.all()


@pytest.mark.parametrize("score", [lambda y: y.tanh(), lambda y: y.sigmoid() - 0.5, lambda y: 1000 * (y / 2).tanh()])
def test_a_flat_start_ends_no_search(score):
    found = Gradient(bound=50, margin=0.0)(
        lambda v: score(v[:, 0]), people(1, 5) * 0 + 8, columns(torch.eye(5).double())
    )
    assert found.flipped.all()


def test_a_curved_boundary_is_reached_at_its_nearest_point():
    """Inside of a shifted circle: the way out is along the radius."""
    u = 0.6 * torch.nn.functional.normalize(people(20, 2))
    found = Gradient(bound=9, margin=0.0, improve=8, halvings=12)(
        lambda v: v.square().sum(1) - 1, u, columns(torch.eye(2).double())
    )
    assert found.flipped.all()
    assert torch.allclose(found.t.norm(dim=1), torch.full((20,), 0.4, dtype=torch.float64), rtol=0.02)


@pytest.mark.parametrize("name", METHODS)
def test_who_cannot_be_flipped_is_kept_and_said_so(name):
    u = people()
    found = METHODS[name](lambda v: torch.tanh(v @ torch.ones(5).double()) + 2, u, columns(0.1 * basis().columns))
    assert not found.flipped.any()
    assert found.t.isfinite().all()
    if name != "paper":
        assert (found.t.norm(dim=1) <= radius(3) + 1e-9).all()


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
def test_flips_reach_the_margin_and_stay_in_the_ball(name):
    u, B = people(30), basis()
    method = {"gradient": Gradient(bound=0.4, margin=0.2), "line": Line(bound=0.4, margin=0.2)}[name]

    def score(v):
        return (v.sin() * torch.arange(1.0, 6, dtype=torch.float64)).sum(1)

    found = method(score, u, B)
    assert 0 < found.flipped.sum() < 30
    assert (found.t.norm(dim=1) <= 0.4 + 1e-9).all()
    after = score(B.displace(u, found.t))
    assert torch.allclose(after, found.after)
    assert ((after * found.before.sign())[found.flipped] <= -0.2).all()


def test_a_line_moves_along_one_direction():
    found = Line(bound=50)(lambda v: v.sum(1), people(), basis())
    assert ((found.t != 0).sum(1) == 1)[found.flipped].all()
    assert found.flipped.all()


def test_nobody_goes_farther_than_the_ball_whatever_the_directions_are():
    """Oblique, correlated directions: a box in them would have had corners at twice the distance and more."""
    from ice_lightning.counterfactuals.bases import named_basis

    metric = geometry([torch.diag(torch.logspace(1, -2, 8, dtype=torch.float64))])
    V = torch.nn.functional.normalize(people(8, 4) + 2, dim=0)
    for k in (1, 4):
        found = Gradient()(lambda v: v.sum(1) + 1e3, people(20, 8), B := named_basis(V[:, :k], metric))
        far = metric.length(B.displace(torch.zeros(20, 8).double(), found.t))
        assert float(far.max()) == pytest.approx(radius(k))
        assert not found.flipped.any()


def test_all_coordinates_at_once_miss_no_flip_that_is_known():
    """A boundary with a narrow gap beside which gradients point the wrong way."""

    def score(v):
        return 1 + v[:, 0].square() + 0.1 * v[:, 1] - 40 * (-80 * ((v[:, 1] - 1.5).square() + v[:, 0].square())).exp()

    u, every = torch.zeros(1, 3).double(), EveryCoordinate(geometry([torch.eye(3).double()]))
    found = (
        torch.tensor([0, 1.45, 0]).double(),
        torch.ones(()),
        torch.tensor(-1.0),
        torch.tensor(True),
        torch.tensor(1),
    )
    known = Counterfactuals(*(each[None] for each in found))
    assert not Gradient()(score, u, every).flipped.any()
    found = Gradient()(score, u, every, known)
    assert found.flipped.all()
    assert found.t.norm() <= 1.45
    assert score(every.displace(u, found.t)) <= -0.1


def test_the_published_search_is_its_plain_loop():
    """Li et al. 2022: SGD on the coefficients of orthonormal directions, in latent units."""
    u, B = people(1), basis()
    scale = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    measured = Columns(B.columns / scale, torch.diag(scale))
    found = Paper(steps=7, lr=0.3)(lambda v: v.square().sum(1), u, measured)
    coefficients = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([coefficients], lr=0.3, momentum=0.9, weight_decay=1e-3)
    for _ in range(7):
        optimiser.zero_grad()
        shown = u + B.columns @ coefficients  # the picture of the notebook: made before the step
        shown.square().sum().backward()
        optimiser.step()
    torch.testing.assert_close(measured.displace(u, found.t), shown.detach())
    assert found.evaluations.tolist() == [7]


@pytest.mark.parametrize(
    "settings,told", [({"bound": 0}, "counterfactual.bound above 0"), ({"margin": -1}, "counterfactual.margin of")]
)
def test_settings_without_a_search_are_refused(settings, told):
    for kind in (Gradient, Line):
        with pytest.raises(IceError, match=told):
            kind(**settings)


@pytest.mark.parametrize(
    "settings,told",
    [
        ({"steps": 1}, "counterfactual.steps of at least 2, got 1"),
        ({"margin": -1}, "counterfactual.margin of at least 0"),
        ({"margin": float("nan")}, "counterfactual.margin of at least 0"),
        ({"lr": 0.0}, "counterfactual.lr above 0"),
        ({"momentum": 1.0}, "counterfactual.momentum of at least 0 and below 1"),
        ({"weight_decay": -1e-3}, "counterfactual.weight_decay of at least 0"),
    ],
)
def test_settings_of_the_published_search_are_refused_alike(settings, told):
    with pytest.raises(IceError, match=told):
        Paper(**settings)


def test_a_step_of_next_to_no_gradient_stays_in_the_ball():
    """In single precision the norm of a gradient of 1e-24 underflows."""
    g = torch.full((3, 4), 1e-24) * torch.tensor([[1.0], [3.0], [1e-3]])
    step = smallest_step(g, torch.ones(3), 2.0)
    torch.testing.assert_close(step.norm(dim=1), torch.full((3,), 2.0))


@pytest.mark.parametrize("broken", [torch.nan, -torch.inf, torch.inf])
def test_where_a_score_breaks_down_nobody_flips_and_a_shorter_step_is_tried(broken):
    def score(v):
        return torch.where(v[:, 0] < -1.2, broken * torch.ones_like(v[:, 0]), 0.5 + v[:, 0].clamp(-1, 1) ** 3)

    found = Gradient(margin=0.0)(score, torch.full((1, 1), 0.2).double(), columns(torch.eye(1).double()))
    assert found.flipped.all()
    assert found.after.isfinite().all()


@pytest.mark.parametrize("name", METHODS)
def test_in_bases_of_their_own_people_go_where_the_same_shared_basis_takes_them(name):
    """To the bit, each as if alone; a coordinate that someone lacks does nothing."""
    u, scale = people().float(), torch.diag(torch.tensor([2.0, 0.5, 1.0]))
    shared = Columns(basis().columns.float(), scale)

    def score(v):
        return torch.sin(v).sum(1) + 0.3

    everyone = Individual((shared,) * 6)
    for i in range(6):
        one, own = u[i : i + 1], everyone.of(torch.tensor([i]))
        for a, b in zip(METHODS[name](score, one, shared), METHODS[name](score, one, own), strict=True):
            assert torch.equal(a, b)
    together = METHODS[name](score, u, everyone)
    torch.testing.assert_close(together.t, METHODS[name](score, u, shared).t, rtol=1e-4, atol=1e-4)
    u, shared = u.double(), shared.to(u.double())
    wide = METHODS[name](score, u, Individual((padded(shared, 5),) * 6))
    narrow = (replace(METHODS[name], bound=radius(5)) if name == "gradient" else METHODS[name])(score, u, shared)
    torch.testing.assert_close(wide.t[:, :3], narrow.t)
    assert not wide.t[:, 3:].any()
