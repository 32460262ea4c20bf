"""The answer to a query for one person, from their Jacobians, and sums of answers over people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.solvers.dense import thin_factor
from ice_lightning.solvers.problem import FactorQuery, Problem, Query, Reply


@dataclass
class Accumulator:
    """What has been added up over a group of people, on the CPU: sums of several GPUs come together there.

    Attributes:
        rows: see Reply, as are products and grams; here sums, not means.
        products: (n, b) each.
        grams: (b, b) each.
        people: how many.
        num_products: with a Jacobian, that the last one took.
    """

    rows: list[Tensor] = field(default_factory=list)
    products: list[Tensor] = field(default_factory=list)
    grams: list[Tensor] = field(default_factory=list)
    people: int = 0
    num_products: int = 0

    def add(self, other: Accumulator) -> None:
        """Add someone, or a group."""
        if not self.people:
            self.rows, self.products, self.grams = other.rows, other.products, other.grams
        elif other.people:
            self.rows = [thin_factor(list(pair)) for pair in zip(self.rows, other.rows, strict=True)]
            self.products = [a + b for a, b in zip(self.products, other.products, strict=True)]
            self.grams = [a + b for a, b in zip(self.grams, other.grams, strict=True)]
        self.people += other.people
        self.num_products = max(self.num_products, other.num_products)

    def mean(self) -> Reply:
        """Per person."""
        share = 1 / self.people
        rows = [R * share**0.5 for R in self.rows]
        products, grams = ([each * share for each in sums] for sums in (self.products, self.grams))
        return Reply(self.people, rows, products, grams, self.num_products)


def used_terms(query: Query, count: int) -> list[int]:
    """Which of the terms a query looks at.

    Args:
        query: see Query.
        count: how many terms there are.
    """
    weights = [each.weights for each in query.rows]
    weights += [energy for each in query.products for energy in each.energies]
    every = any(each.grams for each in query.products)
    return [i for i in range(count) if every or any(each[i] for each in weights)]


def evaluate(query: Query, J: Jacobian, used: list[int], n: int, seed: int) -> Accumulator:
    """The answer to a query for one person.

    Args:
        query: see Query.
        J: of the terms in `used`, in that order.
        used: see used_terms.
        n: coordinates.
        seed: of random combinations.
    """
    place = {term: i for i, term in enumerate(used)}
    whole = query.rows and all(each.random is None for each in query.rows) and not query.products
    if whole and J.shape[0] > n:
        dense = J.split(J.matmat(torch.eye(n).to(J.like)).double())
        parts = [[dense[place[i]] * w**0.5 for i, w in enumerate(each.weights) if w] for each in query.rows]
        return Accumulator([thin_factor(each).cpu() for each in parts], people=1, num_products=n)
    draw = torch.Generator().manual_seed(seed)
    rows = [factor(each, J, place, n, draw) for each in query.rows]
    num_products = sum(len(R) for R in rows)
    products: list[Tensor] = []
    grams: list[Tensor] = []
    for each in query.products:
        energies = [{place[i]: w for i, w in enumerate(weights) if w} for weights in each.energies]
        if not each.V.shape[1] or not (each.grams or any(energies)):
            products += [torch.zeros_like(each.V) for _ in energies]
            grams = [each.V.new_zeros(0, 0) for _ in used] if each.grams else grams
            continue
        JV = J.split(J.matmat(each.V.to(J.like)))
        num_products += each.V.shape[1] * (1 + sum(map(bool, energies)))
        for weights in energies:
            GV = J.adjoint_of({i: JV[i] * w for i, w in weights.items()}) if weights else torch.zeros_like(each.V)
            products.append(GV.double().cpu())
        if each.grams:
            grams = [(part.T @ part).cpu() for part in (part.double() for part in JV)]
    return Accumulator(rows, products, grams, 1, num_products)


def factor(query: FactorQuery, J: Jacobian, place: Mapping[int, int], n: int, draw: torch.Generator) -> Tensor:
    """R (r, n) with R^T R equal to an energy of one person, or to an estimate of it.

    Args:
        query: which energy.
        J: of some terms.
        place: of a term, by number, among the parts of J.
        n: coordinates.
        draw: makes random combinations.
    """
    weights = {place[i]: w**0.5 for i, w in enumerate(query.weights) if w}
    if query.random is None:
        R = [J.adjoint_of({i: torch.eye(J.sizes[i]).to(J.like) * w}).T for i, w in weights.items()]
    else:
        scale = query.random**-0.5
        random = {i: torch.randn(J.sizes[i], query.random, generator=draw) * (w * scale) for i, w in weights.items()}
        R = [J.adjoint_of({i: Y.to(J.like) for i, Y in random.items()}).T] if random else []
    return (torch.cat(R) if R else J.like.new_zeros(0, n)).double().cpu()


def wanted_energy(query: Query, answer: Accumulator, problem: Problem) -> float:
    """A person's energy of the activated terms, or an estimate of it, from rows that were asked of these alone.

    Args:
        query: what was asked.
        answer: of this person.
        problem: whose weights count.

    Returns:
        The trace; 0 where the query has no such rows.
    """
    split, total = len(problem.weights), 0.0
    for each, R in zip(query.rows, answer.rows, strict=True):
        if any(each.weights[:split]) and not any(each.weights[split:]):
            scale = next(w / asked for w, asked in zip(problem.weights, each.weights, strict=False) if asked)
            total += float(R.square().sum()) * scale
    return total
