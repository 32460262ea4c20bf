import pytest
import reference
import torch

from ice_lightning.discovery.evaluate import Accumulator, evaluate, used_terms, wanted_energy
from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.solvers.problem import FactorQuery, Problem, ProductQuery, Query

draw = torch.Generator().manual_seed(0)
SIZES, N = (2, 9, 4), 6
J = [torch.randn(size, N, generator=draw, dtype=torch.float64) for size in SIZES]
U = torch.randn(1, N, generator=draw, dtype=torch.float64)
V, Q = (torch.randn(N, k, generator=draw, dtype=torch.float64) for k in (3, 2))
PROBLEM = Problem(N, (2.0, 0.5), {"a": 0.1}, "soft", (), 0.01, None, SIZES, 1)

QUERIES = {
    "rows": Query((FactorQuery((1.0, 0.0, 0.0)), FactorQuery((0.0, 0.0, 3.0)))),
    "whole Jacobians": Query(tuple(FactorQuery(PROBLEM.only({i: 1.0})) for i in range(3))),
    "products that share a vector": Query(products=(ProductQuery(V, ((0.0, 2.0, 0.0), (0.0, 1.0, 3.0))),)),
    "nothing of some": Query(
        (FactorQuery((0.0, 0.0, 0.0)),),
        (ProductQuery(V, ((0.0, 0.0, 0.0),)), ProductQuery(V[:, :0], ((1.0, 0.0, 0.0),))),
    ),
    "Gram matrices of no vector": Query(products=(ProductQuery(V[:, :0], grams=True),)),
    "Gram matrices": Query(products=(ProductQuery(Q, grams=True),)),
    "products beside Gram matrices": Query(products=(ProductQuery(Q, ((1.0, 0.0, 2.0), (0.0, 0.0, 0.0)), grams=True),)),
}


def answer(query, seed=0):
    used = used_terms(query, 3)
    return evaluate(query, Jacobian(lambda u: [u @ J[i].T for i in used], U), used, N, seed)


@pytest.mark.parametrize("name", QUERIES)
def test_an_answer_is_what_dense_rows_say(name):
    query = QUERIES[name]
    expected = reference.reply(query, [J], draw)
    ours = answer(query).mean()
    for R, S in zip(ours.rows, expected.rows, strict=True):
        torch.testing.assert_close(R.T @ R, S.T @ S)
    torch.testing.assert_close(ours.products, expected.products)
    torch.testing.assert_close(ours.grams, expected.grams)


@pytest.mark.parametrize(
    "name, products",
    [
        ("rows", 2 + 4),
        ("whole Jacobians", N),
        ("products that share a vector", 3 + 2 * 3),  # one forward for both
        ("nothing of some", 0),
        ("Gram matrices of no vector", 0),
        ("Gram matrices", 2),
        ("products beside Gram matrices", 2 + 2),
    ],
)
def test_forward_products_are_shared(name, products):
    assert answer(QUERIES[name]).num_products == products


def test_random_rows_estimate_the_energy():
    weights = (1.0, 0.0, 3.0)
    R = answer(Query((FactorQuery(weights, 20_000),))).rows[0]
    G = J[0].T @ J[0] + 3 * J[2].T @ J[2]
    assert (R.T @ R - G).norm() < 0.05 * G.norm()


def test_random_rows_follow_from_the_seed():
    one, same, other = (answer(Query((FactorQuery((1.0, 1.0, 1.0), 5),)), seed).rows[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_the_wanted_energy_is_the_weighted_trace():
    expected = float(2 * J[0].square().sum() + 0.5 * J[1].square().sum())
    alone = Query(tuple(FactorQuery(PROBLEM.only({i: 1.0})) for i in range(3)))
    summed = Query((FactorQuery((2.0, 0.5, 0.0)), FactorQuery((0.0, 0.0, 1.0))))
    for query in (alone, summed):
        assert wanted_energy(query, answer(query), PROBLEM) == pytest.approx(expected)


def test_an_accumulator_adds_people_and_gives_their_mean():
    total, query = (
        Accumulator(),
        Query((FactorQuery((1.0, 1.0, 1.0)),), (ProductQuery(V, ((0.0, 1.0, 0.0),), grams=True),)),
    )
    for _ in range(2):
        total.add(answer(query))
    one, mean = answer(query), total.mean()
    assert mean.people == 2
    torch.testing.assert_close(mean.rows[0].T @ mean.rows[0], one.rows[0].T @ one.rows[0])
    torch.testing.assert_close(mean.products + mean.grams, one.products + one.grams)
