"""Held moves: an activated change of a given size, for which everything that is suppressed stays where it is.

A straight step is clean to first order only. A held move to the strength t of a direction v solves

    min_x |x|^2 + |P x|^2 + sum_i c_i |s_i(x) - s_i(0)|^2 + mu |a(x) - a(0) - t J_a v|^2,

where c_i is what a person is charged for a unit of the suppressed term i, and |P x|^2 what they are for the average's
sake, so that t v itself solves it where features are linear and mu is large. Gauss-Newton steps, damped by a line
search, each by conjugate gradients that the search for v has preconditioned; strengths are continued from one to the
next, and mu is raised until the activated change is there, or the step stalls: that is how far the person can go. No
move leaves the ball in which people are moved at all: a detour of ten population deviations ends in nobody's face.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.discovery.features import PersonFeatures
from ice_lightning.discovery.local import MATCHED, LocalProblem
from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.parallel import Batch
from ice_lightning.population import radius
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.local import PRIOR, Local

NEAR = 0.05
"""The activated change is there when it is within this share of what is asked, in its direction."""
DRIFT = 0.5
"""A move is held where what it is charged exceeds the first order of the straight one by no more than this share of
that first order and the squared length together."""
ROUNDS = 8
"""Gauss-Newton steps at most, for one strength."""
PRODUCTS = 12
"""Steps of conjugate gradients at most, for one Gauss-Newton step."""
INNER = 0.1
"""They end where the preconditioned residual has fallen to this share."""
FIRST_MU = 20.0
"""mu begins at this, relative to the energy of the direction: 95 % of the change, were everything linear."""
HIGHEST_MU = 2e3
"""It is raised fourfold up to this."""
SETTLED = 0.01
"""A step that lowers the cost by less than this share of it is the last."""
DISTANCE = "distance"
"""What stops a move that nothing stands in the way of but the ball in which people are moved."""
SMALLEST = 1 / 16
"""No step is damped further."""


class HeldMove(NamedTuple):
    """Where a held move ends.

    Attributes:
        x: (n,), coordinates that move, from where the person is.
        asked: the strength, in lengths of the direction.
        reached: the share of the activated change that is there.
        charged: (m,), c_i |change of s_i|^2 of every suppressed term, at the criterion's ratios as they are: who is
            charged less by the search is held to no less.
        linear: what the straight move would be charged, were everything linear.
        products: with a Jacobian or its transpose.
    """

    x: Tensor
    asked: float
    reached: float
    charged: Tensor
    linear: float
    products: int

    @property
    def held(self) -> bool:
        """Whether the change is there, and what is suppressed moves hardly more than to first order."""
        drift = float(self.charged.sum()) - self.linear
        return abs(self.reached - 1) <= 2 * NEAR and drift <= DRIFT * (self.asked**2 + self.linear)


@dataclass(frozen=True)
class Path:
    """A person's held moves along a direction, at several strengths.

    Attributes:
        moves: by strength, in the order in which they were asked for.
        terms: names of the suppressed terms.
    """

    moves: tuple[HeldMove, ...]
    terms: tuple[str, ...]

    @property
    def broken(self) -> HeldMove | None:
        """The first move that isn't held; None where all are."""
        return next((move for move in self.moves if not move.held), None)

    @property
    def stopped_by(self) -> str:
        """What stands in the way of the first move that isn't held; "" where all are.

        The suppressed term that is charged most there, or `DISTANCE` where hardly anything is charged.
        """
        if (broken := self.broken) is None:
            return ""
        free = float(broken.charged.sum()) <= SETTLED * broken.asked**2
        return DISTANCE if free else self.terms[int(broken.charged.argmax())]

    @property
    def held_up_to(self) -> float:
        """The last strength up to which everything is held."""
        held = itertools.takewhile(lambda move: move.held, self.moves)
        return max((move.asked for move in held), key=abs, default=0.0)

    def at(self, strength: float) -> Tensor:
        """The move (n,) to a strength: between two that were asked for, on the straight line between their ends.

        Beyond the last it goes on in proportion, out of the ball too.
        """
        x, before = torch.zeros_like(self.moves[0].x), 0.0
        for move in self.moves:
            if abs(strength) <= abs(move.asked):
                return x + (strength - before) / (move.asked - before) * (move.x - x)
            x, before = move.x, move.asked
        return x * (strength / before)


@dataclass(frozen=True)
class Held:
    """The problem of one person and one direction.

    Attributes:
        features: of the person.
        weights: of the activated terms.
        charges: of the suppressed terms, 0 for one without energy.
        relaxation: how many times less that is than the ratios say.
        prior: P (p, n), what is charged for the average's sake.
        farthest: length of the longest move.
        v: (n,), the direction, of length 1.
        base: what all terms see in the person as they are, (m_i,) each.
        a: what v does to the activated terms to first order, (m_i,) each.
        linear: what v is charged to first order, with what it is for the average's sake.
        leak: what it would be charged at the ratios as they are.
        energy: of v in the activated terms.
    """

    features: PersonFeatures
    weights: tuple[float, ...]
    charges: tuple[float, ...]
    relaxation: float
    prior: Tensor
    farthest: float
    v: Tensor
    base: list[Tensor]
    a: list[Tensor]
    linear: float
    leak: float
    energy: float

    @classmethod
    def of(
        cls,
        features: PersonFeatures,
        J: Jacobian,
        weights: tuple[float, ...],
        charges: tuple[float, ...],
        relaxation: float,
        prior: Tensor,
        farthest: float,
        v: Tensor,
    ) -> Held:
        """From the person's Jacobian J where they are; see the class."""
        base, Jv = [part.detach()[0] for part in J.parts], [part[:, 0] for part in J.split(J.matmat(v[:, None]))]
        energies = [float(part.square().sum()) for part in Jv]
        wanted, split = sum(w * e for w, e in zip(weights, energies, strict=False)), len(weights)
        charged = sum(c * e for c, e in zip(charges, energies[split:], strict=True))
        linear, leak = charged + float((prior @ v).square().sum()), relaxation * charged
        return cls(features, weights, charges, relaxation, prior, farthest, v, base, Jv[:split], linear, leak, wanted)

    def inside(self, x: Tensor) -> Tensor:
        """A move x (n,), or what of it is within the ball."""
        return x * min(1.0, self.farthest / max(float(x.norm()), 1e-300))

    @property
    def split(self) -> int:
        """How many terms are activated."""
        return len(self.weights)

    def at(self, x: Tensor) -> Tensor:
        """The coordinates (1, n) of a move x (n,)."""
        return self.features.coordinates.start(self.features.u) + x

    def parts(self, x: Tensor) -> list[Tensor]:
        """What all terms see at x (n,), (m_i,) each."""
        with torch.no_grad():
            return [part[0] for part in self.features(self.at(x))]

    def differences(self, parts: Sequence[Tensor], t: float) -> list[Tensor]:
        """What is missing of the activated change at strength t, and how far suppressed terms are off, (m_i,) each."""
        moved = [now - before for now, before in zip(parts, self.base, strict=True)]
        return [d - t * a for d, a in zip(moved, self.a, strict=False)] + moved[self.split :]

    def scales(self, mu: float) -> list[float]:
        """What a unit of each difference costs."""
        return [mu * w for w in self.weights] + list(self.charges)

    def cost(self, x: Tensor, differences: Sequence[Tensor], mu: float) -> float:
        """The objective."""
        squared = sum(s * float(d.square().sum()) for s, d in zip(self.scales(mu), differences, strict=True))
        return float(x @ self.metric(x)) + squared

    def metric(self, x: Tensor) -> Tensor:
        """(I + P^T P) x, of a move x (n,)."""
        return x + self.prior.T @ (self.prior @ x)

    def charged(self, differences: Sequence[Tensor]) -> Tensor:
        """(m,), of every suppressed term, at the ratios as they are."""
        pairs = zip(self.charges, differences[self.split :], strict=True)
        return torch.tensor([self.relaxation * c * float(d.square().sum()) for c, d in pairs])

    def reached(self, differences: Sequence[Tensor], t: float) -> float:
        """The share of the activated change at strength t that is there."""
        if not self.energy:
            return 0.0
        pairs = zip(self.weights, differences, self.a, strict=False)
        return 1 + sum(w * float(d @ a) for w, d, a in pairs) / (t * self.energy)

    def missing(self, differences: Sequence[Tensor], t: float) -> float:
        """How far the activated change is off, as a share of it."""
        squared = sum(w * float(d.square().sum()) for w, d in zip(self.weights, differences, strict=False))
        return float(squared**0.5 / max(abs(t) * self.energy**0.5, 1e-300))


def hold(
    local: LocalProblem, features: PersonFeatures, found: Local, direction: int | Tensor, strengths: Iterable[float],
    batch: Batch | None = None, path: Path | None = None, farthest: float | None = None,
) -> Path:  # fmt: skip
    """Move a person along a direction of their own and hold what is suppressed.

    Args:
        local: the criterion.
        features: of the person.
        found: the person's directions, with what preconditions.
        direction: which, from 0; or (n,) of length 1, a combination of them.
        strengths: of one sign, ascending in size, in lengths of the direction, not 0; each is continued from the one
            before.
        batch: how many products are taken at once.
        path: along the same direction, to go on from; its strengths are smaller.
        farthest: length of the longest move; None for what holds 99.7 % of the population in so many directions as a
            search matches (population.radius), where lengths are population deviations at all.

    Returns:
        Where each move ends, those of the path first.
    """
    v = (found.V[:, direction] if isinstance(direction, int) else direction).to(features.u)
    weights = local.problem.weights
    charges = tuple(local.average.charges.get(i, 0.0) for i in local.problem.suppressed)
    if farthest is None:
        farthest = float("inf") if local.coordinates.geometry is None else radius(MATCHED)
    prior = local.average.M.to(v) * PRIOR**0.5
    relaxation = local.criterion.local_relaxation
    held = Held.of(features, features.jacobian(batch), weights, charges, relaxation, prior, farthest, v)
    wanted, charged = found.wanted.to(v), found.charged.to(v)
    moves = [] if path is None else list(path.moves)
    x, before = (moves[-1].x, moves[-1].asked) if moves else (torch.zeros_like(v), 0.0)
    for t in strengths:
        start = x + (t - before) * v if not moves else x * (t / before)
        moves.append(move_to(held, start, t, wanted, charged, batch))
        x, before = moves[-1].x, t
    return Path(tuple(moves), tuple(local.criterion.suppress))


def move_to(held: Held, x: Tensor, t: float, wanted: Tensor, charged: Tensor, batch: Batch | None) -> HeldMove:
    """The held move to one strength, from a start.

    Args:
        held: the problem.
        x: (n,), the start.
        t: the strength.
        wanted: see `hold`, as is charged.
        charged: see there.
        batch: how many products are taken at once.
    """
    mu, products, leak = FIRST_MU / max(held.energy, 1e-300) * (1 + held.linear), 0, t * t * held.leak
    x = held.inside(x)
    d = held.differences(held.parts(x), t)

    def ended() -> HeldMove:
        return HeldMove(x, t, held.reached(d, t), held.charged(d), leak, products)

    if not held.energy or (held.missing(d, t) <= NEAR and ended().held):
        return ended()
    for _ in range(ROUNDS):
        J = Jacobian(held.features, held.at(x), all(term.forward_mode for term in held.features.terms), batch)
        B = InnerProduct(torch.cat([charged, wanted * mu**0.5]))
        step, taken = gauss_newton(J, held.metric, held.scales(mu), x, d, B)
        products += taken
        cost, length = held.cost(x, d, mu), 1.0
        while length >= SMALLEST:
            trial = held.inside(x + length * step)
            new = held.differences(held.parts(trial), t)
            if (lower := held.cost(trial, new, mu)) < cost:
                break
            length /= 2
        stalled = length < SMALLEST or cost - lower < SETTLED * cost
        if length >= SMALLEST:
            x, d = trial, new
        short = held.missing(d, t) > NEAR
        if short and mu * 4 <= HIGHEST_MU * (1 + held.linear) / max(held.energy, 1e-300):
            mu *= 4
        elif stalled or (not short and ended().held):
            break
    return ended()


def gauss_newton(
    J: Jacobian,
    metric: Callable[[Tensor], Tensor],
    scales: Sequence[float],
    x: Tensor,
    differences: Sequence[Tensor],
    B: InnerProduct,
) -> tuple[Tensor, int]:
    """A Gauss-Newton step, by conjugate gradients.

    Args:
        J: of all terms, at x.
        metric: what multiplies a move (n,) in half the gradient of what its length costs.
        scales: what a unit of each term's difference costs.
        x: (n,).
        differences: (m_i,) of all terms.
        B: the preconditioner.

    Returns:
        The step (n,), and how many products it took.
    """
    counted = [i for i, scale in enumerate(scales) if scale]

    def normal(p: Tensor) -> Tensor:
        parts = J.split(J.matmat(p[:, None]))
        return metric(p) + J.adjoint_of({i: scales[i] * parts[i] for i in counted})[:, 0]

    g = metric(x) + J.adjoint_of({i: scales[i] * differences[i][:, None] for i in counted})[:, 0]
    step, taken = conjugate_gradients(normal, -g, B)
    return step, 1 + 2 * taken


def conjugate_gradients(normal: Callable[[Tensor], Tensor], b: Tensor, B: InnerProduct) -> tuple[Tensor, int]:
    """H^-1 b, nearly, by preconditioned conjugate gradients (Hestenes & Stiefel 1952).

    Args:
        normal: p (n,) -> H p, symmetric and positive definite.
        b: (n,).
        B: the preconditioner.

    Returns:
        (n,), and how many products it took.

    Example:
        >>> H = torch.diag(torch.tensor([1.0, 4.0]))
        >>> found, _ = conjugate_gradients(lambda p: H @ p, torch.tensor([1.0, 1.0]), InnerProduct(torch.zeros(0, 2)))
        >>> found.tolist()
        [1.0, 0.25]
    """

    def inverse(r: Tensor) -> Tensor:
        return B.inverse(r[:, None])[:, 0]

    x, r = torch.zeros_like(b), b
    z = inverse(r)
    p, rz = z, float(r @ z)
    first = rz
    for taken in range(1, PRODUCTS + 1):
        Hp = normal(p)
        alpha = rz / float(p @ Hp)
        x, r = x + alpha * p, r - alpha * Hp
        z = inverse(r)
        rz, before = float(r @ z), rz
        if rz <= INNER**2 * first:
            return x, taken
        p = z + rz / before * p
    return x, PRODUCTS
