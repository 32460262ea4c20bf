"""The search under soft projection: the strongest eigenpairs of a pencil, from few products.

Wanted are pairs of (A, I + S): A is the energy of the activated terms, S what the suppressed ones charge,
sum_i S_i / (r_i lambda_max(S_i)). Random combinations of rows (a sketch; Halko et al. 2011) estimate S closely enough
that its inverse is a good preconditioner; the residuals through it are the next directions, and the pencil is solved
anew in the span of all of them (Golub & Ye 2002), where A and S are exact. S is one operator, so that a direction costs
one product forward and one back however many terms there are. The largest eigenvalues of the terms, to which the ratios
refer, are found before, a residual at a time (Lanczos).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ice_lightning.jacobians.operators import remove
from ice_lightning.solvers.dense import root, thin_factor
from ice_lightning.solvers.inner_product import InnerProduct, ritz_pairs, strongest
from ice_lightning.solvers.probes import Watch
from ice_lightning.solvers.problem import (
    WHOLE,
    FactorQuery,
    Problem,
    ProductQuery,
    Query,
    Reply,
    first_bar,
    together,
    trace_error,
)
from ice_lightning.solvers.result import Found, TooMany, found, with_split_half_stability
from ice_lightning.solvers.stability import FIRST, GROUPS

WANTED = -1
"""The number of the activated terms with many features, which are estimated together."""

SPARE = 0.7
"""Directions down to this share of the threshold are carried along, lest one crosses it unseen."""

EXACT = 0.1
"""To this share of the tolerance largest eigenvalues are known, since what a term charges is relative to its own."""

TOPS = 3
"""So many vectors begin the search for a largest eigenvalue."""

STEPS = 4
"""So many blocks of residuals bring the subspace of all people to that of a half, where whole Jacobians are known."""

CHASED = 0.9
"""Down to this share of the tolerance, since the end solves anew in a smaller span that has the terms' tips as well."""

KEPT = 0.9
"""Down to this share of the threshold they have to converge."""


class EnergyEstimate(NamedTuple):
    """A or S, as far as a search knows it.

    Attributes:
        exact: (r, n), the factor of the terms with few features.
        sketch: (r, n), an estimate of a factor of the others.
        GD: (n, d), the energy of these others times the directions so far.
    """

    exact: Tensor
    sketch: Tensor
    GD: Tensor

    def times(self, D: Tensor) -> Tensor:
        """The energy times the directions so far."""
        return self.exact.T @ (self.exact @ D) + self.GD

    def estimate(self) -> Tensor:
        """(r, n), a factor of an estimate of the energy."""
        return thin_factor([self.exact, self.sketch])

    def extended(self, products: Tensor) -> EnergyEstimate:
        """With products (n, b) with further directions."""
        return self._replace(GD=torch.cat([self.GD, products], 1))

    def gram(self, D: Tensor, W: Tensor) -> Tensor:
        """Q^T G Q for Q = [D, W], W being new directions: exact, but estimated between columns of W."""
        GD, outside = self.times(D), self.estimate() @ W
        above = torch.cat([D.T @ GD, GD.T @ W], 1)
        F = root(torch.cat([above, torch.cat([W.T @ GD, outside.T @ outside], 1)]))
        return F.T @ F


class GroupState(NamedTuple):
    """What a search knows of a group of people.

    Attributes:
        people: how many.
        A: the energy of the activated terms.
        S: what the suppressed ones charge.
    """

    people: int
    A: EnergyEstimate
    S: EnergyEstimate

    def extended(self, products: list[Tensor]) -> GroupState:
        """With the products of A's and of S's other terms with further directions."""
        return self._replace(A=self.A.extended(products[0]), S=self.S.extended(products[1]))


def join(groups: Sequence[GroupState]) -> GroupState:
    """What is known of the people of several groups."""
    sums = [Reply(g.people, [g.A.exact, g.A.sketch, g.S.exact, g.S.sketch], [g.A.GD, g.S.GD], [], 0) for g in groups]
    people, (a, b, c, d), (e, f), *_ = together(sums)
    return GroupState(people, EnergyEstimate(a, b, e), EnergyEstimate(c, d, f))


class Tip(NamedTuple):
    """What a span says of a term's largest eigenvalue.

    Attributes:
        value: of the vector with the most energy there, a lower bound.
        x: (n, 1), this vector.
        q: (n, 1), a new direction.
        error: by how much the value may fall short of the largest eigenvalue, relative to it.
    """

    value: float
    x: Tensor
    q: Tensor
    error: float


class LargestEigenvalue(NamedTuple):
    """The search for a term's largest eigenvalue.

    Attributes:
        Q: (n, t), orthonormal directions so far.
        GQ: (n, t), the term's energy times these.
    """

    Q: Tensor
    GQ: Tensor

    @classmethod
    def of(cls, R: Tensor) -> LargestEigenvalue:
        """From the first right singular vectors of a factor of the energy (r, n), or of an estimate of it."""
        Q = torch.linalg.svd(R, full_matrices=False).Vh[:TOPS].T if len(R) else R.T
        return cls(Q, R.T @ (R @ Q))

    def value(self) -> float:
        """A lower bound of the largest eigenvalue, 0 where the energy is."""
        return float(torch.linalg.matrix_norm(self.GQ, 2)) if self.GQ.numel() else 0.0

    def tip(self) -> Tip:
        """The vector with the most energy in the span."""
        theta, U = torch.linalg.eigh(self.Q.T @ self.GQ)
        x, rest = self.Q @ U[:, -1:], (self.GQ - self.Q * theta[-1]) @ U[:, -1:]
        size = float(rest.norm() / theta[-1])
        gap = float(1 - theta[-2:-1].sum() / theta[-1]) - size
        error = min(size, size**2 / gap) if gap > 0 else size  # Kato & Temple
        for _ in range(2):
            rest = rest - self.Q @ (self.Q.T @ rest)
            rest = rest / rest.norm().clamp_min(1e-300)
        return Tip(float(theta[-1]), x, rest, error)

    def extended(self, q: Tensor, Gq: Tensor) -> LargestEigenvalue:
        """With a new direction (n, 1) and its product."""
        return LargestEigenvalue(torch.cat([self.Q, q], 1), torch.cat([self.GQ, Gq], 1))


def search(
    problem: Problem, rows: int, tolerance: float, passes: int
) -> Generator[Query, list[Reply], Found | TooMany]:
    """Ask until every kept direction has a small residual; rows, tolerance and passes are BlockKrylov's."""
    few, wanted = problem.few(), dict(enumerate(problem.weights))
    ratios = dict(enumerate(problem.ratios.values(), len(wanted)))
    wanted_many = {i: w for i, w in wanted.items() if i not in few}
    many = [i for i in ratios if i not in few]
    alone = {i: problem.only({i: 1.0}) for i in (*few, *many)}
    each = problem.rows_each(rows)
    groups = yield Query(
        (
            *(FactorQuery(alone[i]) for i in few),
            FactorQuery(problem.only(wanted_many), each),
            *(FactorQuery(alone[i], max(4, each // len(many))) for i in many),
        )
    )
    total, spent, number = together(groups), groups[0].spent, 1
    if not wanted_many and not many:
        factors = total.rows[: len(few)]
        return found(problem, factors, None, passes=number, products=spent)
    order = [*few, WANTED, *many]
    estimates = [dict(zip(order, group.rows, strict=True)) for group in groups]
    tops = {i: LargestEigenvalue.of(R) for i, R in zip(order, total.rows, strict=True) if i in ratios}
    many = [i for i in many if tops[i].value() > 0]
    if many:
        groups = yield Query(products=tuple(ProductQuery(alone[i], tops[i].Q) for i in many))
        tops |= {i: tops[i]._replace(GQ=GQ) for i, GQ in zip(many, together(groups).products, strict=True)}
        spent, number = spent + groups[0].spent, number + 1
    while number < passes // 2 and (
        short := {i: tops[i].tip().q for i in many if tops[i].tip().error > EXACT * tolerance}
    ):
        groups = yield Query(products=tuple(ProductQuery(alone[i], q) for i, q in short.items()))
        for (i, q), Gq in zip(short.items(), together(groups).products, strict=True):
            tops[i] = tops[i].extended(q, Gq)
        spent, number = spent + groups[0].spent, number + 1
    tips = {i: top.tip() for i, top in tops.items() if top.value() > 0}
    charges = {i: 1 / (ratios[i] * tip.value) for i, tip in tips.items()}
    unsure = max((tips[i].error for i in many), default=0.0)
    summed = [problem.only(energy) for energy in (wanted_many, {i: charges[i] for i in many})]
    told = [begin(group.people, of, problem, charges) for group, of in zip(groups, estimates, strict=True)]
    everyone = join(told)
    B, A = InnerProduct(everyone.S.estimate()), everyone.A.estimate()
    share, most = SPARE * problem.activate_ratio, None if problem.rank is None else problem.rank + 1
    D, (values, X), left, settled = everyone.A.GD, strongest(A, B, share, most), 0.0, True
    W, Y, watch = X, X[:0], Watch()
    probe = watch.probes(X[:, :0], 0)
    while number < passes - 1:
        chased = W.shape[1]
        W = B.orthonormal(W, D)
        probe = B.orthonormal(probe, torch.cat([D, W], 1))
        W = torch.cat([W, probe], 1)
        if not W.shape[1]:
            break
        if problem.n <= WHOLE and spent + W.shape[1] * (1 + sum(any(each) for each in summed)) > problem.n:
            return TooMany(number, spent, left if D.shape[1] else None)
        groups = yield Query(
            products=tuple(ProductQuery(each, W) for each in summed), residual=left if D.shape[1] else None
        )
        spent, number, D = spent + groups[0].spent, number + 1, torch.cat([D, W], 1)
        told = [each.extended(group.products) for each, group in zip(told, groups, strict=True)]
        everyone = join(told)
        values, Y = pairs(everyone, D, share, most)
        X, W = D @ Y, B.inverse(missing(everyone, D, Y, values))
        size = sizes(everyone, D, Y, values, B)
        size[values < KEPT * problem.activate_ratio * values[:1]] = 0
        size[len(size) if problem.rank is None else problem.rank :] = 0
        bars = tolerance * shares(X, values, B)
        W, left = W[:, size > CHASED * bars], max(size.tolist(), default=0.0) + unsure
        settled = bool((size <= bars)[:1].all())
        watch = watch.after(values[values >= problem.activate_ratio * values[:1]], chased)
        if not W.shape[1] and watch.quiet:
            break
        probe = watch.probes(B.inverse(everyone.A.times(D)[:, D.shape[1] - probe.shape[1] :]), number)
    E = torch.linalg.qr(torch.cat([X, *(tip.x for tip in tips.values())], 1)).Q
    apart = B.orthonormal(differing(told, D, Y, values, B), D)
    products = tuple(ProductQuery(each, V) for V in (E, apart) for each in summed)
    groups = yield Query(products=products, grams=E, residual=left)
    last, number, spent = together(groups), number + 1, spent + groups[0].spent
    told = [each.extended(group.products[2:]) for each, group in zip(told, groups, strict=True)]
    end = found(problem, [root(H) for H in last.grams], E)
    final = begin(1, dict(zip(order, total.rows, strict=True)), problem, charges).extended(last.products[:2])
    size = sizes(final, E, end.coefficients, end.result.values, B)
    left = max(size.tolist(), default=0.0) + unsure
    stats = {"passes": number, "products": spent, "residual": left, "stopped_early": ""}
    if left > tolerance:
        stats["stopped_early"] = f"a residual of {left:.2g} after {number} passes"
    elif not settled:
        stats["stopped_early"] = f"the first direction isn't settled after {number} passes"
    known, AK = torch.cat([D, E], 1), torch.cat([everyone.A.times(D), final.A.times(E)], 1)
    rest, error = beyond(final.A, known, AK, end.result.vectors, each * problem.people)
    end = end._replace(result=replace(end.result, stats=end.result.stats | stats), rest=rest, rest_error=error, norm=B)
    D, rank = torch.cat([D, apart], 1), end.result.vectors.shape[1]
    return with_split_half_stability(end, told, lambda half: subspace_of(join(half), D, B, rank))


def differing(told: list[GroupState], D: Tensor, Y: Tensor, values: Tensor, B: InnerProduct) -> Tensor:
    """(n, b), what groups miss at the first pairs x = D Y, where their own subspaces lie; none for one group."""
    if len(told) < GROUPS:
        return D[:, :0]
    Y, values = Y[:, :FIRST], values[:FIRST]
    return torch.cat([B.inverse(missing(each, D, Y, values)) for each in told], 1)


def sizes(told: GroupState, D: Tensor, Y: Tensor, values: Tensor, B: InnerProduct) -> Tensor:
    """(k,), the residuals of pairs x = D Y (n, k), relative to their values, in B as far as it is known."""
    rest = missing(told, D, Y, values)
    return (rest * B.inverse(rest)).sum(0).clamp_min(0).sqrt() / (values * B.embed(D @ Y).norm(dim=0))


def shares(X: Tensor, values: Tensor, B: InnerProduct) -> Tensor:
    """(k,), the shares of the tolerance that residuals of pairs may have: smaller for the first, where it is alone.

    Residuals are of vectors that are long in B where they are charged much, angles of the same in plain coordinates.
    """
    found = torch.ones_like(values)
    if len(values):
        gap = float(1 - values[1:2].sum() / values[0])
        found[0] = first_bar(gap) * float(X[:, 0].norm() / B.embed(X[:, :1]).norm())
    return found


def beyond(A: EnergyEstimate, D: Tensor, AD: Tensor, V: Tensor, rows: int) -> tuple[float, float]:
    """The activated energy outside the span of V (n, k), itself in that of D, and its standard error.

    Args:
        A: what is known of the activated terms.
        D: (n, d), directions whose products are known.
        AD: (n, d), these.
        V: see above.
        rows: from how many random rows the estimate is.
    """
    U, s, Vh = torch.linalg.svd(D, full_matrices=False)
    keep = s > 1e-6 * s[:1]
    Q, AQ = U[:, keep], AD @ (Vh[keep].T / s[keep])
    C = Q.T @ torch.linalg.qr(V).Q
    inside, own = (Q * AQ).sum(), (C * (Q.T @ AQ @ C)).sum()
    exact, estimated = (remove(each.T, Q).T for each in (A.exact, A.sketch))
    rest = inside - own + exact.square().sum() + estimated.square().sum()
    return max(0.0, float(rest)), trace_error([estimated], [1.0], [rows])


def begin(people: int, estimates: Mapping[int, Tensor], problem: Problem, charges: Mapping[int, float]) -> GroupState:
    """What is known of a group before any direction, from the rows (r, n) of its terms and of WANTED."""
    few = problem.few()
    none = estimates[WANTED][:0]

    def stacked(weights: Mapping[int, float], terms: Collection[int]) -> Tensor:
        return torch.cat([none, *(estimates[i] * w**0.5 for i, w in weights.items() if i in terms)])

    exact = stacked(dict(enumerate(problem.weights)), few)
    charged = [stacked(charges, few), stacked(charges, [i for i in charges if i not in few])]
    GD = none.T
    return GroupState(people, EnergyEstimate(exact, estimates[WANTED], GD), EnergyEstimate(charged[0], charged[1], GD))


def pairs(told: GroupState, D: Tensor, share: float, most: int | None) -> tuple[Tensor, Tensor]:
    """Eigenpairs of (A, I + S) in the span of D (n, d): values (k,) and coefficients (d, k), see `strongest`."""
    return ritz_pairs(D.T @ told.A.times(D), D.T @ (D + told.S.times(D)), share, most)


def missing(told: GroupState, D: Tensor, Y: Tensor, values: Tensor) -> Tensor:
    """A x - value (I + S) x (n, k) for x = D Y."""
    return told.A.times(D) @ Y - (D + told.S.times(D)) @ Y * values


def subspace_of(told: GroupState, D: Tensor, B: InnerProduct, rank: int) -> Tensor:
    """The subspace (n, rank) of some people near that of all of them, without a further product.

    To the span of D (n, d) comes what these people miss there most, their residuals through B^-1; among these the
    energies are estimates. Charges are those of everyone.
    """
    values, Y = pairs(told, D, 0.0, rank)
    W = B.orthonormal(B.inverse(missing(told, D, Y, values)), D)
    Q = torch.cat([D, W], 1)
    return Q @ ritz_pairs(told.A.gram(D, W), told.S.gram(D, W) + Q.T @ Q, 0.0, rank)[1]


def steady_whole(problem: Problem, end: Found, groups: list[Reply]) -> Found:
    """The end of a search that knows whole Jacobians, with what halves of the people would have found."""
    exact = problem._replace(sizes=tuple(0 for _ in problem.sizes))
    tops = [LargestEigenvalue.of(R).value() for R in end.factors]
    ratios = enumerate(problem.ratios.values(), len(problem.weights))
    charges = {i: 1 / (r * tops[i]) for i, r in ratios if tops[i] > 0}
    told = [begin(g.people, {**dict(enumerate(g.rows)), WANTED: g.rows[0][:0]}, exact, charges) for g in groups]
    B = InnerProduct(join(told).S.estimate())
    near = B.orthonormal(end.result.vectors, end.result.vectors[:, :0])
    rank = near.shape[1]

    def subspace(half: list[GroupState]) -> Tensor:
        some, D = join(half).extended([torch.zeros_like(near)] * 2), near
        for _ in range(STEPS):
            values, Y = pairs(some, D, 0.0, rank)
            W = B.orthonormal(B.inverse(missing(some, D, Y, values)), D)
            some, D = some.extended([torch.zeros_like(W)] * 2), torch.cat([D, W], 1)
        return D @ pairs(some, D, 0.0, rank)[1]

    return with_split_half_stability(end, told, subspace)
