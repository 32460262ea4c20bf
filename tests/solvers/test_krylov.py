import itertools

import pytest
import torch
from reference import answer

from ice_lightning.checks import IceError
from ice_lightning.solvers import soft
from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.inner_product import InnerProduct
from ice_lightning.solvers.krylov import BlockKrylov
from ice_lightning.solvers.problem import Problem
from ice_lightning.solvers.stability import halvings
from ice_lightning.subspace import principal_angles

N = 150
SIZES = (3, 100, 10, 75)
"""Rows per person of one activated term, and of three that are suppressed."""
PEOPLE = 12


def problem(projection="soft", rank=None, sizes=SIZES):
    names = ("a", "b", "c")[: len(sizes) - 1]
    late = ("b",) if projection == "mixed" else ()
    ratios = dict(zip(names, (1e-2, 1e-3, 1e-1), strict=False))
    return Problem(N, (1.0,), ratios, projection, late, 1e-2, rank, sizes, PEOPLE)


@pytest.fixture(scope="module")
def people():
    """Rows whose energies fall by six orders over the coordinates, alike in all people but not the same."""
    draw = torch.Generator().manual_seed(1)

    def term(size):
        fall = torch.logspace(0, -3, N, dtype=torch.float64)[torch.randperm(N, generator=draw)]
        turn = torch.linalg.qr(torch.randn(N, N, generator=draw, dtype=torch.float64)).Q
        return [torch.randn(size, N, generator=draw, dtype=torch.float64) * fall @ turn for _ in range(PEOPLE)]

    return list(zip(*(term(size) for size in SIZES), strict=True))


@pytest.mark.parametrize("projection", ["soft", "early", "late", "mixed"])
def test_products_find_what_whole_jacobians_find(people, projection):
    whole, _ = answer(FullJacobian(), problem(projection), people)
    # As many products as it wants: the point is that what it stops at is right.
    wide = problem(projection)._replace(n=10**6)
    found, _ = answer(BlockKrylov(tolerance=1e-2), wide, people)
    assert found.residual <= 1e-2
    assert not found.stopped_early
    assert len(found.result.values) == len(whole.result.values)
    assert principal_angles(found.result.vectors, whole.result.vectors).max() < 0.05
    torch.testing.assert_close(found.result.values, whole.result.values, rtol=1e-2, atol=0)
    ours, theirs = ([(R @ each.coefficients).norm() for R in each.factors] for each in (found, whole))
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=2e-2, atol=0)


def test_a_soft_search_ends_with_one_product_forward_for_each_direction(people):
    wide = problem()._replace(n=10**6)
    found, steps = answer(BlockKrylov(), wide, people, groups=4)
    assert steps[-1][1][0].num_products == len(found.result.values)


def test_a_soft_search_knows_the_largest_eigenvalues(people):
    found, _ = answer(BlockKrylov(), problem()._replace(n=10**6), people)
    for i in (1, 2, 3):
        energy = sum(person[i].T @ person[i] for person in people) / PEOPLE
        largest = float(torch.linalg.eigvalsh(energy)[-1])
        assert float(torch.linalg.matrix_norm(found.factors[i], 2) ** 2) == pytest.approx(largest, rel=1e-2)


def test_a_smaller_ratio_has_more_random_rows():
    many = problem(sizes=(3, 100, 100, 100))  # ratios of 1e-2, 1e-3 and 1e-1
    assert soft.dealt(many, 60) == [17, 39, 4]
    assert soft.dealt(many, 4) == [4, 4, 4]


def test_a_smaller_tolerance_gives_a_smaller_angle(people):
    whole, _ = answer(FullJacobian(), problem(), people)
    wide = problem()._replace(n=10**6)
    angles = []
    for tolerance in (0.5, 1e-6):
        found, _ = answer(BlockKrylov(tolerance=tolerance, passes=60), wide, people)
        angles.append(principal_angles(found.result.vectors, whole.result.vectors).max().item())
    assert angles[1] < 1e-5 < angles[0]


def test_small_terms_alone_take_one_pass_and_are_exact(people):
    only = [[person[0], person[2]] for person in people]
    small = problem(sizes=(3, 10))
    found, said = answer(BlockKrylov(), small, only)
    whole, _ = answer(FullJacobian(), small, only)
    assert len(said) == 1
    torch.testing.assert_close(found.result.vectors, whole.result.vectors)


def test_a_slow_spectrum_ends_in_whole_jacobians_and_says_so():
    draw = torch.Generator().manual_seed(2)
    sizes = (100, *SIZES[1:])
    flat = [[torch.randn(size, N, generator=draw, dtype=torch.float64) for size in sizes] for _ in range(4)]
    found, _ = answer(BlockKrylov(rows=8, tolerance=1e-4), problem(sizes=sizes), flat)
    whole, _ = answer(FullJacobian(), problem(sizes=sizes), flat)
    why = found.stopped_early
    assert why.startswith("whole Jacobians take fewer products")
    assert "(activate_ratio 0.01, a 0.01, b 0.001, c 0.1)" in why
    torch.testing.assert_close(found.result.vectors, whole.result.vectors)


def test_too_few_passes_leave_what_there_is_and_say_so(people):
    wide = problem()._replace(n=10**6)
    found, said = answer(BlockKrylov(rows=4, tolerance=1e-6, passes=4), wide, people)
    assert len(said) == 4
    assert "after 4 passes" in found.stopped_early
    assert len(found.result.values)


@pytest.mark.parametrize("projection", ["soft", "early", "late"])
def test_the_angles_of_halves_are_those_of_halves_that_are_searched_alone(people, projection):
    few = problem(projection, rank=6)
    found, _ = answer(BlockKrylov(), few._replace(n=10**6), people, groups=4)
    whole, _ = answer(FullJacobian(), few, people, groups=4)
    groups, true = [people[g::4] for g in range(4)], []
    for one, other in halvings(groups):
        ends = [answer(FullJacobian(), few, [each for group in half for each in group])[0] for half in (one, other)]
        true.append(principal_angles(*(end.result.vectors for end in ends)).rad2deg().sort().values[:3])
    true = torch.stack(true)
    for end in (found, whole):
        figure = end.stability
        assert figure.people_per_half == PEOPLE // 2
        for ours, theirs in zip(figure.angles, true.mean(0).tolist(), strict=True):
            assert ours == pytest.approx(theirs, abs=5 if theirs < 45 else 8)


@pytest.mark.parametrize("projection", ["soft", "early", "late", "mixed"])
def test_a_state_is_read_from_a_file_and_gone_on_from(people, projection, tmp_path):
    solver, wide = BlockKrylov(), problem(projection)._replace(n=10**6)
    found, steps = answer(solver, wide, people, groups=4)
    assert len({type(state) for state, _ in steps}) >= 3
    for number in {len(steps) // 2, len(steps) - 1}:
        state = steps[number][0]
        torch.save(state, tmp_path / "state")
        again = torch.load(tmp_path / "state")  # which executes nothing but what is on torch's list
        for _, replies in steps[number:]:
            again = solver.step(wide, again, replies)
        assert torch.equal(again.result.vectors, found.result.vectors)
        assert again.stability == found.stability


@pytest.mark.parametrize("projection", ["soft", "early"])
def test_a_step_leaves_the_state_before_it_as_it_was(people, projection):
    solver, wide = BlockKrylov(), problem(projection)._replace(n=10**6)
    _, steps = answer(solver, wide, people)
    for (state, replies), (after, _) in itertools.pairwise(steps):
        for _ in range(2):
            again = solver.step(wide, state, replies)
            assert type(again) is type(after)
            assert all(torch.equal(a.V, b.V) for a, b in zip(again.query.products, after.query.products, strict=True))


def test_the_rank_is_capped(people):
    found, _ = answer(BlockKrylov(), problem(rank=2)._replace(n=10**6), people)
    assert found.result.vectors.shape == (N, 2)


def test_the_metric_equals_its_dense_form(people):
    M = people[0][3][:20]
    B, dense = InnerProduct(M), torch.eye(N, dtype=torch.float64) + M.T @ M
    W = torch.randn(N, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(B.inverse(W), torch.linalg.solve(dense, W))
    D = B.orthonormal(W[:, :3], W[:, :0])
    E = B.orthonormal(torch.cat([W, W[:, :1]], 1), D)
    both = torch.cat([D, E], 1)
    torch.testing.assert_close(both.T @ dense @ both, torch.eye(7, dtype=torch.float64))


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"rows": 0}, "solver.rows of at least 1, got 0"),
        ({"passes": 3}, "solver.passes of at least 4, got 3"),
        ({"tolerance": 0.0}, "solver.tolerance"),
        ({"chunk": 0}, "solver.chunk of at least 1, got 0"),
    ],
)
def test_settings_that_cannot_end_are_refused(settings, sentence):
    with pytest.raises(IceError, match=sentence):
        BlockKrylov(**settings)
