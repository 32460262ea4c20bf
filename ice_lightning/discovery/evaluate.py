"""What a person's Jacobians say to an ask, and the sums of that over people."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ice_lightning.jacobians.linearize import Linear
from ice_lightning.solvers.dense import thin_factor
from ice_lightning.solvers.problem import Problem, Query, Reply


@dataclass
class Accumulator:
    """What has been added up over a group of people, on the CPU: sums of several GPUs come together there.

    Attributes:
        rows: see Reply, as are products and grams; here sums, not means.
        products: (n, b) each.
        grams: (b, b) each.
        people: how many.
        spent: products with a Jacobian that the last one took.
    """

    rows: list[Tensor] = field(default_factory=list)
    products: list[Tensor] = field(default_factory=list)
    grams: list[Tensor] = field(default_factory=list)
    people: int = 0
    spent: int = 0

    def add(self, other: Accumulator) -> None:
        """Add someone, or a group."""
        if not self.people:
            self.rows, self.products, self.grams = other.rows, other.products, other.grams
        elif other.people:
            self.rows = [thin_factor(list(pair)) for pair in zip(self.rows, other.rows, strict=True)]
            self.products = [a + b for a, b in zip(self.products, other.products, strict=True)]
            self.grams = [a + b for a, b in zip(self.grams, other.grams, strict=True)]
        self.people += other.people
        self.spent = max(self.spent, other.spent)

    def mean(self) -> Reply:
        """Per person."""
        share = 1 / self.people
        rows = [R * share**0.5 for R in self.rows]
        products, grams = ([each * share for each in sums] for sums in (self.products, self.grams))
        return Reply(self.people, rows, products, grams, self.spent)


def used_terms(ask: Query, count: int) -> list[int]:
    """Which of the terms an ask looks at."""
    weights = [each.weights for each in ask.rows] + [each.weights for each in ask.products]
    return [i for i in range(count) if ask.grams is not None or any(each[i] for each in weights)]


def evaluate(ask: Query, linear: Linear, used: list[int], n: int, seed: int) -> Accumulator:
    """What is asked of one person.

    Args:
        ask: see there.
        linear: the Jacobians of the terms in `used`, in that order.
        used: see used_terms.
        n: coordinates.
        seed: of random combinations.
    """
    place, spent = {term: i for i, term in enumerate(used)}, 0
    sizes = [part.shape[1] for part in linear.parts]
    like = linear.parts[0]
    if ask.rows and all(each.random is None for each in ask.rows) and not ask.products and sum(sizes) > n:
        J = torch.cat(linear.push(torch.eye(n).to(like))).double().split(sizes)
        parts = [[J[place[i]] * w**0.5 for i, w in enumerate(each.weights) if w] for each in ask.rows]
        return Accumulator([thin_factor(each).cpu() for each in parts], people=1, spent=n)
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for each in ask.rows:
        weights = {place[i]: w**0.5 for i, w in enumerate(each.weights) if w}
        if each.random is None:
            found = [linear.pull({i: torch.eye(sizes[i]).to(like) * w}).T for i, w in weights.items()]
        else:
            scale = each.random**-0.5
            random = {i: torch.randn(sizes[i], each.random, generator=draw) * (w * scale) for i, w in weights.items()}
            found = [linear.pull({i: Y.to(like) for i, Y in random.items()}).T] if random else []
        spent += sum(len(R) for R in found)
        rows.append((torch.cat(found) if found else like.new_zeros(0, n)).double().cpu())
    moved: dict[int, list[Tensor]] = {}
    products = []
    for wanted in ask.products:
        V, weights = wanted.V, {i: w for i, w in enumerate(wanted.weights) if w}
        if not weights or not V.shape[1]:
            products.append(torch.zeros_like(V))
            continue
        if id(V) not in moved:
            moved[id(V)] = linear.push(V.to(like))
            spent += V.shape[1]
        products.append(linear.pull({place[i]: moved[id(V)][place[i]] * w for i, w in weights.items()}).double().cpu())
        spent += V.shape[1]
    grams = []
    if ask.grams is not None:
        if id(ask.grams) not in moved:
            moved[id(ask.grams)] = linear.push(ask.grams.to(like))
            spent += ask.grams.shape[1]
        grams = [(JQ.T @ JQ).cpu() for JQ in (part.double() for part in moved[id(ask.grams)])]
    return Accumulator(rows, products, grams, 1, spent)


def wanted_energy(ask: Query, told: Accumulator, problem: Problem) -> float:
    """A person's energy of the activated terms, or an estimate of it, from rows that were asked of these alone."""
    split, total = len(problem.weights), 0.0
    for each, R in zip(ask.rows, told.rows, strict=True):
        if any(each.weights[:split]) and not any(each.weights[split:]):
            scale = next(w / asked for w, asked in zip(problem.weights, each.weights, strict=False) if asked)
            total += float(R.square().sum()) * scale
    return total
