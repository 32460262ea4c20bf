"""A person's own subspace beside the dense pencil of their Jacobians."""

import pytest
import torch
from reference import answer, reply, soft

from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.krylov import BlockKrylov
from ice_lightning.solvers.local import PRIOR, TOLERANCE, Average, search
from ice_lightning.solvers.problem import WANTED, Problem
from ice_lightning.subspace import principal_angles

N, PEOPLE, K = 150, 12, 4
SIZES = (60, 100, 10, 75)
RATIOS = {"a": 1e-2, "b": 1e-3, "c": 1e-1}


def problem(projection="soft", sizes=SIZES):
    return Problem(N, (1.0,), RATIOS, projection, (), 1e-2, 8, sizes, PEOPLE)


def made(alike, sizes=SIZES, seed=1):
    """Rows of people who share a part of every term and have the rest for themselves."""
    draw = torch.Generator().manual_seed(seed)

    def rows(size):
        fall = torch.logspace(0, -3, N, dtype=torch.float64)[torch.randperm(N, generator=draw)]
        turn = torch.linalg.qr(torch.randn(N, N, generator=draw, dtype=torch.float64)).Q
        common = torch.randn(size, N, generator=draw, dtype=torch.float64)
        own = [torch.randn(size, N, generator=draw, dtype=torch.float64) for _ in range(PEOPLE)]
        return [(alike * common + (1 - alike) * each) * fall @ turn for each in own]

    return list(zip(*(rows(size) for size in sizes), strict=True))


def alone(person):
    """What answers for one person."""
    draw = torch.Generator().manual_seed(0)
    return lambda query: reply(query, [person], draw)


def averaged(people, asked, solver=None):
    """What a search over people leaves."""
    solver = solver or FullJacobian()
    return Average.of(answer(solver, asked._replace(n=10**6 if isinstance(solver, BlockKrylov) else N), people)[0])


def dense(person, average):
    """Values and vectors of the person's pencil with the prior, by scipy."""
    A = person[0].T @ person[0]
    S = [person[i].T @ person[i] * charge for i, charge in average.charges.items()]
    S.append(average.M.T @ average.M * PRIOR)
    # `soft` divides by ratio and largest eigenvalue, which here are the charges already.
    tops = [float(torch.linalg.eigvalsh(each)[-1]) for each in S]
    values, vectors = soft(A.numpy(), [each.numpy() for each in S], [1 / top for top in tops], 1e-12)
    return torch.from_numpy(values.copy()), torch.from_numpy(vectors.copy())


@pytest.mark.parametrize("solver", [BlockKrylov(), FullJacobian()], ids=["krylov", "exact"])
@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sizes", [SIZES, (5, 100, 10, 75), (5, 10, 20, 7)], ids=["many", "few wanted", "all few"])
def test_own_directions_are_those_of_the_own_pencil(solver, alike, sizes):
    people, asked = made(alike, sizes), problem(sizes=sizes)
    average = averaged(people, asked, solver)
    for person in people[:3]:
        found = search(asked, average, alone(person), K)
        values, vectors = dense(person, average)
        assert found.residual <= TOLERANCE
        assert found.values.sum() >= 0.97 * values[:K].sum()
        assert principal_angles(found.V, vectors[:, :1]).max().rad2deg() < 12
        assert found.agreement[0] > 0.8, "the first moves what the average's first moves, the same way"


@pytest.mark.parametrize("projection", ["early", "late", "soft"])
def test_every_projection_leaves_the_charges_and_deviations_of_its_people(projection):
    people, asked = made(0.5), problem(projection)
    for solver in (BlockKrylov(), FullJacobian()):
        average = averaged(people, asked, solver)
        for i, ratio in asked.suppressed.items():
            energy = sum(person[i].T @ person[i] for person in people) / len(people)
            top = float(torch.linalg.eigvalsh(energy)[-1])
            assert average.charges[i] == pytest.approx(1 / (ratio * top), rel=0.05)
            assert average.deviations[i] == pytest.approx(float(energy.trace()) ** 0.5, rel=0.1)
        wanted = sum(float(person[0].square().sum()) for person in people) / len(people)
        assert average.deviations[WANTED] == pytest.approx(wanted**0.5, rel=0.1)


def test_changes_are_those_of_the_persons_own_features():
    people, asked = made(0.5), problem()
    average = averaged(people, asked)
    found = search(asked, average, alone(people[0]), K)
    for i, rows in enumerate(people[0]):
        assert torch.allclose(found.changes[i], (rows @ found.V).norm(dim=0))
    wanted = found.changes[0] / average.deviations[WANTED]
    worst = max(float(found.changes[i, 0]) / average.deviations[i] for i in asked.suppressed)
    assert found.clean(asked, average.deviations)[0] == pytest.approx(float(wanted[0]) / worst)


def test_a_region_that_a_person_hardly_has_is_not_blown_up():
    people, asked = made(0.5), problem()
    average = averaged(people, asked)
    person = list(people[0])
    person[2] = person[2] * 1e-4
    without = [*person[:2], person[2] * 0, *person[3:]]
    found, other = (search(asked, average, alone(each), K) for each in (person, without))
    assert principal_angles(found.V[:, :1], other.V[:, :1]).max().rad2deg() < 1


def test_signs_and_order_follow_the_average():
    people, asked = made(0.8), problem()
    average = averaged(people, asked)
    other = Average(-average.X[:, [1, 0, 2, 3]], average.charges, average.M, average.deviations)
    one, two = (search(asked, each, alone(people[0]), K) for each in (average, other))
    swapped = -two.V[:, [1, 0, 2, 3]]
    assert ((one.V * swapped).sum(0) > 0.99).all()


def test_someone_whose_wanted_terms_have_fewer_features_has_fewer_directions():
    people, asked = made(0.5, (3, 100, 10, 75)), problem(sizes=(3, 100, 10, 75))
    found = search(asked, averaged(people, asked), alone(people[0]), 8)
    assert found.V.shape[1] == 3


def test_someone_in_whom_nothing_is_activated_has_no_direction():
    people, asked = made(0.5), problem()
    average = averaged(people, asked)
    found = search(asked, average, alone([people[0][0] * 0, *people[0][1:]]), K)
    assert found.V.shape[1] == 0
    assert found.residual == float("inf")


@pytest.mark.parametrize("term", [0, 1, 2], ids=["activated", "suppressed", "few features"])
def test_derivatives_that_are_not_finite_are_no_directions(term):
    people, asked = made(0.5, (60, 100, 5, 75)), problem(sizes=(60, 100, 5, 75))
    person = list(people[0])
    person[term] = person[term].clone().index_fill(0, torch.tensor([0]), torch.nan)
    found = search(asked, averaged(people, asked), alone(person), K)
    assert found.V.shape[1] == 0
    assert found.residual != found.residual
