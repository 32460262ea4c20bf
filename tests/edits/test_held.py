"""Held moves on features that are known by heart: an activated x_0, and a suppressed x_1 + bend * x_0^2."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ice_lightning.criterions import Activate, Analysis, Criterion, Suppress, Term
from ice_lightning.discovery.features import MovingCoordinates, PersonFeatures, problem_of
from ice_lightning.discovery.local import LocalProblem, answering
from ice_lightning.edits.held import HeldMove, conjugate_gradients, hold
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.local import PRIOR, Average, search
from ice_lightning.solvers.problem import WANTED

CHARGE, N = 50.0, 5


class Drawer(nn.Module):
    """Latents are their own image."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, v, space):
        return v[:, None, None, :]

    def dim(self, space):
        return N


class Seen(Term):
    """Features by a formula of the latent."""

    def __init__(self, formula, label="seen"):
        super().__init__()
        self.formula, self.label = formula, label

    def forward(self, image, analysis):
        return self.formula(image[:, 0, 0])


def made(wanted, kept, prior=0.0, along=1):
    """The problem of one person at 0, their features, their own directions; x_1 costs `prior` more for all.

    So does another coordinate `along`.
    """
    criterion = Criterion(
        "x0", "the first coordinate", {"first": Activate(Seen(wanted))},
        {name: Suppress(Seen(formula), 1e-2) for name, formula in kept.items()}, projection="soft",
    )  # fmt: skip
    coordinates = MovingCoordinates(Drawer(), "w", torch.arange(N), ((N, True),), None)
    problem = problem_of(criterion, N, 1)
    charges = dict.fromkeys(problem.suppressed, CHARGE)
    X = torch.eye(N, dtype=torch.float64)[:, :1]
    M = (prior / PRIOR) ** 0.5 * torch.eye(N, dtype=torch.float64)[[along]]
    average = Average(X, charges, M, dict.fromkeys(charges, 1.0) | {WANTED: 1.0})
    local = LocalProblem(None, None, criterion, coordinates, problem, average)
    analysis = Analysis(torch.zeros(1, 1, N, dtype=torch.long), torch.zeros(1, 68, 2))
    features = PersonFeatures(coordinates, criterion.terms, analysis, torch.zeros(1, N, dtype=torch.float64))
    return local, features, search(problem, average, answering(features, problem), 1)


def bent(bend):
    return {"bent": lambda x: x[:, 1:2] + bend * x[:, :1].square()}


def test_where_everything_is_linear_the_straight_move_is_held_and_costs_nothing():
    local, features, found = made(lambda x: x[:, :1], bent(0.0))
    path = hold(local, features, found, 0, [0.5, 1.0, 2.0])
    assert [move.products for move in path.moves] == [0, 0, 0]
    assert path.held_up_to == 2.0
    for move in path.moves:
        assert torch.allclose(move.x, move.asked * torch.eye(N, dtype=torch.float64)[0], atol=1e-6)


@pytest.mark.parametrize("prior", [0.0, 50.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_bent_path_is_the_one_worked_out_by_hand(sign, prior):
    # x_1 minimises (1 + prior) x_1^2 + c (x_1 + t^2)^2.
    local, features, found = made(lambda x: x[:, :1], bent(1.0), prior)
    path = hold(local, features, found, 0, [sign * t for t in (0.5, 1.0, 2.0)])
    for move in path.moves:
        assert move.reached == pytest.approx(1, abs=0.06 if not prior else 0.2)
        first = float(move.x[0])
        assert float(move.x[1]) == pytest.approx(-CHARGE * first**2 / (1 + prior + CHARGE), rel=0.05)
        assert float(move.charged.sum()) == pytest.approx(CHARGE * float(move.x[1] + first**2) ** 2, rel=1e-3)
    assert path.moves[-1].products > 0
    assert prior or path.held_up_to == sign * 2.0


def test_what_a_direction_costs_for_the_averages_sake_does_not_keep_a_move_short():
    local, features, found = made(lambda x: x[:, :1], bent(1.0), 1000.0, along=0)
    path = hold(local, features, found, 0, [0.5, 1.0])
    assert [move.reached for move in path.moves] == pytest.approx([1, 1], abs=0.06)
    assert path.held_up_to == 1.0


def test_who_is_charged_less_is_held_to_no_less():
    # What is left of the winding is charged in full, whatever the search has charged.
    local, features, found = made(lambda x: x[:, :1], {"wall": lambda x: (x[:, :1] - 1).clamp_min(0)})
    charges = {i: charge / 100 for i, charge in local.average.charges.items()}
    relaxed = replace(
        local, average=replace(local.average, charges=charges), criterion=replace(local.criterion, local_relaxation=100)
    )
    strict, mild = (hold(each, features, found, 0, [1.0, 2.0]) for each in (local, relaxed))
    assert float(mild.moves[1].charged.sum()) == pytest.approx(CHARGE * (float(mild.moves[1].x[0]) - 1) ** 2, rel=1e-4)
    assert (mild.held_up_to, mild.stopped_by) == (strict.held_up_to, strict.stopped_by) == (1.0, "wall")


def test_it_says_how_far_someone_gets_and_what_is_in_the_way():
    # x_0 moves what is kept as soon as it is beyond 1, and nothing else can make up for it.
    kept = {"wall": lambda x: 30 * (x[:, :1] - 1).clamp_min(0), "free": lambda x: x[:, 2:3]}
    local, features, found = made(lambda x: x[:, :1], kept)
    path = hold(local, features, found, 0, [0.9, 2.0])
    assert path.moves[0].held
    assert path.moves[0].reached == pytest.approx(1, abs=0.06)
    assert not path.moves[1].held
    assert path.moves[1].reached < 0.9
    assert path.held_up_to == 0.9
    assert path.stopped_by == "wall"


@pytest.mark.parametrize("strength", [4.0, -4.0])
def test_no_move_leaves_the_ball_and_what_lies_beyond_is_not_held(strength):
    # Held to the end it would be (4, -16): 16.5 long.
    local, features, found = made(lambda x: x[:, :1], bent(1.0))
    free = hold(local, features, found, 0, [strength / 4, strength])
    path = hold(local, features, found, 0, [strength / 4, strength], farthest=5.0)
    assert free.held_up_to == strength
    assert free.moves[-1].x.norm() > 15
    assert all(move.x.norm() <= 5 * (1 + 1e-9) for move in path.moves)
    assert path.held_up_to == strength / 4
    assert path.stopped_by == "bent"
    assert torch.allclose(path.moves[0].x, free.moves[0].x)


def test_what_stops_a_path_is_what_breaks_it_first():
    local, features, found = made(lambda x: x[:, :1], {"wall": lambda x: (x[:, :1] - 1).clamp_min(0)})
    drifting = hold(local, features, found, 0, [1.0, 2.0])
    assert drifting.moves[1].reached == pytest.approx(1, abs=0.06)
    assert (drifting.held_up_to, drifting.stopped_by) == (1.0, "wall")
    local, features, found = made(lambda x: x[:, :1], {"free": lambda x: 1e-6 * x[:, 2:3].square() + 1e-6 * x[:, :1]})
    far = hold(local, features, found, 0, [2.0, 10.0], farthest=5.0)
    assert (far.held_up_to, far.stopped_by) == (2.0, "distance")


def test_a_direction_that_changes_nothing_is_not_held():
    local, features, found = made(lambda x: x[:, :1], bent(1.0))
    path = hold(local, features, found, torch.eye(N, dtype=torch.float64)[4], [1.0])
    assert path.moves[0].reached == 0
    assert (path.held_up_to, path.stopped_by) == (0.0, "distance")


def test_between_strengths_a_path_is_straight():
    local, features, found = made(lambda x: x[:, :1], bent(1.0))
    path = hold(local, features, found, 0, [1.0, 2.0])
    one, two = (move.x for move in path.moves)
    assert torch.allclose(path.at(0.5), one / 2)
    assert torch.allclose(path.at(1.5), (one + two) / 2)
    assert torch.allclose(path.at(2.0), two)


def test_conjugate_gradients_solve_what_a_matrix_does():
    draw = torch.Generator().manual_seed(0)
    M = torch.randn(3, 12, generator=draw, dtype=torch.float64)
    H = torch.eye(12, dtype=torch.float64) + 100 * M.T @ M
    b = torch.randn(12, generator=draw, dtype=torch.float64)
    plain, _ = conjugate_gradients(lambda p: H @ p, b, InnerProduct(M[:0]))
    known, products = conjugate_gradients(lambda p: H @ p, b, InnerProduct(10 * M))
    true = torch.linalg.solve(H, b)
    assert torch.allclose(known, true)
    assert products == 1, "with the exact preconditioner"
    assert (H @ plain - b).norm() < 0.5 * b.norm()


def test_a_move_goes_on_until_it_is_held_not_only_until_it_is_there():
    # The activated change is there from the start; what is kept winds, so that one Gauss-Newton step isn't enough.
    local, features, found = made(lambda x: x[:, :1], {"winding": lambda x: x[:, 1:2] + (5 * x[:, :1]).sin() / 5})
    path = hold(local, features, found, 0, [0.5, 1.0, 1.5, 2.0])
    assert path.held_up_to == 2.0
    assert float(path.moves[-1].charged.sum()) < 0.1


@pytest.mark.parametrize(("reached", "held"), [(0.85, False), (0.95, True), (1.05, True), (2.44, False)])
def test_a_change_that_falls_short_or_overshoots_is_not_held(reached, held):
    move = HeldMove(torch.ones(N), 1.0, reached, torch.zeros(1), 0.0, 0)
    assert move.held is held


def test_a_long_detour_allows_no_more_drift_than_a_short_one():
    far, near = (HeldMove(x * torch.ones(N), 1.0, 1.0, torch.tensor([0.9]), 0.0, 0) for x in (10, 0.1))
    assert far.held is near.held is False
