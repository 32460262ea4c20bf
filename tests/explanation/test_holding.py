"""Holding the flip of one person, on features that are known by heart: x_0, and a suppressed x_1 + x_0^2."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from ice_lightning.criterions import Activate, Analysis, Criterion, Suppress, Term
from ice_lightning.discovery.features import MovingCoordinates, PersonFeatures, problem_of
from ice_lightning.discovery.local import LocalProblem, answering
from ice_lightning.explanation.holding import RAISES, Look, hold_flip
from ice_lightning.population import geometry
from ice_lightning.solvers.local import Average, search
from ice_lightning.solvers.problem import WANTED

N, CHARGE = 4, 50.0


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

    def __init__(self, formula):
        super().__init__()
        self.formula, self.label = formula, "seen"

    def forward(self, image, analysis):
        return self.formula(image[:, 0, 0])


@dataclass(frozen=True)
class OfOne(LocalProblem):
    """Of a person who needs no face models."""

    def look_at(self, u):
        analysis = Analysis(torch.zeros(1, 1, N, dtype=torch.long), torch.zeros(1, 68, 2))
        return PersonFeatures(self.coordinates, self.criterion.terms, analysis, u)


def held(bend, score, bound):
    """What becomes of the straight flip of someone at 0 to x_0 = 1."""
    terms = {"first": Activate(Seen(lambda x: x[:, :1]))}
    kept = {"bent": Suppress(Seen(lambda x: x[:, 1:2] + bend * x[:, :1].square()), 1e-2)}
    criterion = Criterion("x0", "the first coordinate", terms, kept, projection="soft")
    coordinates = MovingCoordinates(Drawer(), "w", torch.arange(N), ((N, True),), None)
    problem, X = problem_of(criterion, N, 1), torch.eye(N, dtype=torch.float64)[:, :1]
    average = Average(X, {1: CHARGE}, X[:, :0].T, {1: 1.0, WANTED: 1.0})
    local = OfOne(None, None, criterion, coordinates, problem, average)
    u, end = torch.zeros(1, N, dtype=torch.float64), X.T.clone()
    found = search(problem, average, answering(local.look_at(u), problem), 1)
    metric = geometry([torch.eye(N, dtype=torch.float64)])
    look = Look(score, lambda v: v[:, None, None, :].expand(-1, 3, -1, -1), metric, 0.0)
    return hold_flip(local, found, look, u, look.draw(u), end, score(u), score(end), 1.0, bound)


def beyond(line):
    """A score that flips where x_0 is beyond a line."""
    return lambda v: line - v[:, 0]


def test_a_flip_that_is_held_as_it_is_stays_and_costs_no_look():
    found = held(0.0, beyond(0.9), 3.0)
    assert (bool(found.found), bool(found.replaced), int(found.evaluations)) == (True, False, 0)
    assert found.end.tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_what_is_suppressed_is_corrected_at_the_flip():
    found = held(1.0, beyond(0.9), 3.0)
    first, second = found.end[0, :2].tolist()
    assert (bool(found.found), bool(found.replaced), int(found.evaluations)) == (True, True, 1)
    assert first == pytest.approx(1, abs=0.06)
    assert second == pytest.approx(-CHARGE * first**2 / (1 + CHARGE), rel=0.05)
    assert float(found.effort) == pytest.approx(float(found.end.norm()))
    assert float(found.after) == pytest.approx(0.9 - first)
    assert float(found.change) == pytest.approx(float(found.end.square().mean().sqrt()))


def test_who_no_longer_flips_goes_farther():
    found = held(1.0, beyond(1.05), 5.0)
    assert bool(found.found)
    assert int(found.evaluations) == 2
    assert 1.05 < float(found.end[0, 0]) < 1.2


@pytest.mark.parametrize(
    "line,bound,looks",
    [
        (0.9, 1.2, 0),  # the held move is 1.4 long
        (1.9, 9.0, len(RAISES)),
        (1.9, 1.9, 2),  # at 1.3 times the way it is 1.95 long
    ],
)
def test_where_no_held_move_flips_in_the_ball_the_straight_flip_stays(line, bound, looks):
    found = held(1.0, beyond(line), bound)
    assert (bool(found.found), bool(found.replaced), int(found.evaluations)) == (False, False, looks)
    assert found.end.tolist() == [[1.0, 0.0, 0.0, 0.0]]
