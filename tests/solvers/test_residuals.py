"""What a search says of itself, against n x n matrices in float64."""

import pytest
import reference
import torch
from reference import answer

from ice_lightning.checks import IceError
from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.krylov import BlockKrylov
from ice_lightning.solvers.problem import Problem, Reply
from ice_lightning.solvers.result import Solution
from ice_lightning.subspace import principal_angles

N, PEOPLE, TOP = 200, 4, 8
SIZES = (120, 150, 60)
RATIOS = {"a": 1e-2, "b": 3e-2}
PROJECTIONS = ["soft", "early", "late", "mixed"]


def rows_like(draw, size, fall, turn):
    return [torch.randn(size, N, generator=draw, dtype=torch.float64) * fall @ turn for _ in range(PEOPLE)]


def turned(draw, by=1.0, turn=None):
    noise = by * torch.randn(N, N, generator=draw, dtype=torch.float64) / N**0.5
    return torch.linalg.qr(((0 if turn is None else turn) + noise).T).Q.T


def some_people(wanted, seed=1):
    """Terms of which the suppressed ones see what is strongest in the activated one, and leave `wanted` of it."""
    draw = torch.Generator().manual_seed(seed)
    turn = turned(draw)

    def fall(below, decay):
        tail = torch.logspace(0, -decay, N - TOP, dtype=torch.float64)
        return torch.cat([torch.logspace(0, -0.2, TOP, dtype=torch.float64), below * tail])

    A = rows_like(draw, SIZES[0], fall(wanted**0.5, 6), turn)
    a = rows_like(draw, SIZES[1], fall(0.03, 2), turn)
    b = rows_like(draw, SIZES[2], fall(0.05, 2), turned(draw, 0.3, turn))
    return list(zip(A, a, b, strict=True))


def asked(projection, **more):
    late = ("b",) if projection == "mixed" else ()
    # n says when whole Jacobians are cheaper: never here, where the point is what a search stops at.
    return Problem(10**6, (1.0,), RATIOS, projection, late, 1e-2, None, SIZES, PEOPLE)._replace(**more)


def energies(people):
    return [sum(person[i].T @ person[i] for person in people) / len(people) for i in range(len(people[0]))]


def recomputed(problem, found, G):
    """The largest residual of the pairs, with the true P."""
    A, *S = G
    X, ratios = found.pairs, list(problem.ratios.values())
    if problem.projection == "soft":
        tops = [torch.linalg.eigvalsh(each)[-1] for each in S]
        B = torch.eye(N, dtype=A.dtype) + sum(each / (r * top) for each, r, top in zip(S, ratios, tops, strict=True))
        rest = A @ X - B @ X * found.result.values
        size = (rest * found.norm.inverse(rest)).sum(0).sqrt()
        return float((size / (found.result.values * found.norm.embed(X).norm(dim=0))).max())
    first = {"early": len(S), "mixed": 1, "late": 0}[problem.projection]
    eye = torch.eye(N, dtype=A.dtype)
    P = reference.bad_projector(S[:first], ratios[:first]) if first else eye
    every = reference.bad_projector(S, ratios)
    AX = P @ (A @ (P @ X))
    values = (X * (A @ X)).sum(0)
    size = (AX - X * values).norm(dim=0) / values
    moved = (every @ X - X + found.removed @ (found.removed.T @ X)).norm(dim=0)
    left = (X - found.removed @ (found.removed.T @ X)).norm(dim=0)
    return float(
        size.max() if problem.projection == "early" else (torch.maximum(size, moved).cummax(0).values / left).max()
    )


@pytest.mark.parametrize("tolerance", [0.08, 1e-5])
@pytest.mark.parametrize("wanted", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_residual_is_that_of_what_is_returned(projection, wanted, tolerance):
    people = some_people(wanted)
    problem = asked(projection)
    found, _ = answer(BlockKrylov(tolerance=tolerance, passes=60), problem, people)
    V = found.result.vectors
    assert found.residual == pytest.approx(recomputed(problem, found, energies(people)), abs=0.1 * tolerance)
    assert (found.residual <= tolerance) == (not found.stopped_early)
    if projection in ("early", "soft"):
        torch.testing.assert_close(found.pairs, V)
    if projection != "soft":  # what is returned is what is left of the pairs
        left = found.pairs - found.removed @ (found.removed.T @ found.pairs)
        assert principal_angles(V, left).max() < 1e-6
    assert not found.stopped_early
    whole = answer(FullJacobian(), problem._replace(n=N), people)[0].result
    assert abs(len(found.result.values) - len(whole.values)) <= 1
    if 1 - whole.values[1] / whole.values[0] > 0.1:
        assert principal_angles(V[:, :1], whole.vectors[:, :1]).rad2deg().max() < 2


def slow(seed):
    """A few features, mostly suppressed, and bad directions whose energies fall slowly through the ratio."""
    draw, n = torch.Generator().manual_seed(seed), 500
    turn = torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64)).Q

    def rows(size, decay):
        fall = torch.logspace(0, -decay, n, dtype=torch.float64)
        return torch.randn(size, n, generator=draw, dtype=torch.float64) * fall @ turn

    return [rows(18, 6), rows(2000, 5)], Problem(n, (1.0,), {"s": 1e-3}, "early", (), 1e-2, None, (18, 2000), 1)


@pytest.mark.parametrize("seed", [0, 3])
def test_bad_directions_are_followed_as_far_as_they_matter(seed):
    person, problem = slow(seed)
    found, _ = answer(BlockKrylov(), problem._replace(n=10**6), [person], seed=seed)
    whole = answer(FullJacobian(), problem, [person])[0].result
    assert not found.stopped_early
    true = recomputed(problem, found, energies([person]))
    assert found.residual == pytest.approx(true, abs=8e-3)
    assert len(found.result.values) == len(whole.values)
    assert principal_angles(found.result.vectors[:, :1], whole.vectors[:, :1]).rad2deg() < 2


@pytest.mark.parametrize("seed", [0, 3])
def test_a_search_that_was_cut_short_knows_how_bad_its_projection_is(seed):
    # The activated term is exact, so that nothing but bad directions is missing.
    person, problem = slow(seed)
    found, _ = answer(BlockKrylov(passes=4), problem._replace(n=10**6), [person], seed=seed)
    true = recomputed(problem, found, energies([person]))
    assert true > 0.08
    assert "after 4 passes" in found.stopped_early
    assert true / 3 < found.residual < 3 * true


@pytest.mark.parametrize("seed", [2, 3])
def test_a_residual_counts_what_is_not_known_of_the_charges(seed):
    """The charges refer to largest eigenvalues, which a search that was cut short knows as lower bounds only."""
    people, problem = some_people(1e-2, seed), asked("soft")
    found, _ = answer(BlockKrylov(rows=4, tolerance=0.01, passes=8), problem, people)
    true = recomputed(problem, found, energies(people))
    assert true <= found.residual < 2 * true


def inside(seed, people=4, beside=0.0):
    """Five suppressed directions that lie within the twenty activated ones, but for a part `beside` of each."""
    draw = torch.Generator().manual_seed(seed)

    def orthogonal(n):
        return torch.linalg.qr(torch.randn(n, n, generator=draw, dtype=torch.float64)).Q

    turn, mix = orthogonal(N), orthogonal(20)
    a = torch.cat([torch.logspace(0, -0.5, 20), 0.03 * torch.logspace(0, -1, N - 20)]).double()
    s = torch.cat([torch.ones(5), 0.02 * torch.logspace(0, -1, N - 5)]).double()
    rows = torch.cat([mix @ turn[:20], turn[20:]])
    rows[:5] = torch.nn.functional.normalize(rows[:5] + beside * turn[30:35], dim=1)
    S = s[:, None] * rows
    return [[orthogonal(N) @ (a[:, None] * turn), orthogonal(N) @ S] for _ in range(people)]


@pytest.mark.parametrize("seed", [1, 2])
def test_what_late_terms_cover_is_no_direction_made_of_errors(seed):
    people, problem = inside(seed), asked("late", ratios={"s": 1e-2}, sizes=(N, N))
    found, _ = answer(BlockKrylov(), problem, people)
    whole = answer(FullJacobian(), problem._replace(n=N), people)[0].result
    assert len(whole.values) == 15  # of 20
    assert len(found.result.values) == 15
    assert not found.stopped_early
    assert principal_angles(found.result.vectors, whole.vectors).max().rad2deg() < 2


@pytest.mark.parametrize("seed", [2, 3])
def test_what_late_terms_nearly_cover_is_said_to_be_in_doubt(seed):
    people, problem = inside(seed, beside=5e-4), asked("late", ratios={"s": 1e-2}, sizes=(N, N))
    found, _ = answer(BlockKrylov(passes=4), problem, people)
    assert len(found.result.values) > 15  # directions of which a thousandth is left, or an error as large
    assert found.stopped_early == "what late terms leave of a direction can't be told from an error"


@pytest.mark.parametrize("wanted", [1e-4, 1e-6])
@pytest.mark.parametrize("seed", [3, 6, 8])
def test_a_first_direction_that_is_charged_much_is_followed_under_soft(wanted, seed):
    # Its residual is small in the pencil's norm, in which it is far longer than in plain coordinates.
    draw = torch.Generator().manual_seed(seed)
    turn = turned(draw)

    def fall(below):
        tail = torch.logspace(0, -2, N - TOP, dtype=torch.float64)
        return torch.cat([torch.logspace(0, -0.2, TOP, dtype=torch.float64), below * tail])

    parts = (rows_like(draw, SIZES[0], fall(below), turn) for below in (wanted**0.5, 0.02))
    people = list(zip(*parts, strict=True))
    problem = asked("soft", ratios={"s": 1e-2}, sizes=SIZES[:1] * 2)
    found, _ = answer(BlockKrylov(), problem, people, seed=seed)
    whole = answer(FullJacobian(), problem._replace(n=N), people)[0].result
    assert not found.stopped_early
    assert whole.values[1] < 0.9 * whole.values[0]
    assert principal_angles(found.result.vectors[:, :1], whole.vectors[:, :1]).rad2deg() < 2
    short, _ = answer(BlockKrylov(passes=8), problem, people, seed=seed)
    close = principal_angles(short.result.vectors[:, :1], whole.vectors[:, :1]).rad2deg() < 2
    assert close or short.stopped_early


def plateau(draw, rank, spread, people=1, top=None):
    """Activated directions that are nearly equally strong, and three suppressed ones elsewhere."""
    turn = torch.linalg.qr(torch.randn(N, N, generator=draw, dtype=torch.float64)).Q
    flat = 1 + spread * (2 * torch.rand(rank, generator=draw, dtype=torch.float64) - 1)
    a = torch.cat([flat, 0.02 * torch.logspace(0, -2, N - rank, dtype=torch.float64)])
    if top:
        a[0] = top
    s = torch.zeros(N, dtype=torch.float64)
    s[rank:-3], s[-3:] = 0.01 * torch.logspace(0, -1, N - 3 - rank, dtype=torch.float64), 1

    def rows(values):
        rotation = torch.linalg.qr(torch.randn(N, N, generator=draw, dtype=torch.float64)).Q
        return rotation @ (values.sqrt()[:, None] * turn)

    return [[rows(a), rows(s)] for _ in range(people)]


@pytest.mark.parametrize("rank, spread, rows", [(60, 0.05, 64), (20, 0.0, 4)], ids=["nearly equal", "equal"])
@pytest.mark.parametrize("projection", ["soft", "early", "late"])
def test_directions_that_random_rows_do_not_tell_apart_are_all_found(projection, rank, spread, rows):
    # The residuals of those that are found are below the tolerance wherever they lie among them.
    people = plateau(torch.Generator().manual_seed(1), rank, spread)
    problem = asked(projection, ratios={"s": 0.1}, sizes=(N, N), activate_ratio=0.3, people=1)
    found, _ = answer(BlockKrylov(rows=rows), problem, people)
    assert len(found.result.values) == rank
    assert not found.stopped_early


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("projection", ["soft", "early", "late"])
def test_a_first_direction_over_many_that_are_nearly_as_strong_is_found(projection, seed):
    people = plateau(torch.Generator().manual_seed(seed), 120, 0.01, top=1.15)
    problem = asked(projection, ratios={"s": 0.1}, sizes=(N, N), activate_ratio=0.3, people=1)
    found, _ = answer(BlockKrylov(rows=4), problem, people)
    whole = answer(FullJacobian(), problem._replace(n=N), people)[0].result
    assert principal_angles(found.result.vectors[:, :1], whole.vectors[:, :1]).rad2deg() < 2


def test_what_is_left_of_a_pair_carries_the_errors_of_those_before_it():
    # Of the fifth direction 0.04 is left: what remains is a combination of all of them, and so is its error.
    draw = torch.Generator().manual_seed(24)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    turn, mix = torch.linalg.qr(normal(N, N)).Q, torch.linalg.qr(normal(6, 6)).Q
    bad = mix[:1] @ turn[:6]
    a = torch.cat([torch.logspace(0, -0.1, 6), 0.03 * torch.logspace(0, -1, N - 6)]).double()
    s = torch.cat([torch.ones(1), 0.02 * torch.logspace(0, -1, N - 1)]).double()
    other = torch.linalg.qr(torch.cat([bad, normal(N - 1, N)]).T).Q.T
    people = [[normal(150, N) * a @ turn, normal(150, N) * s @ other] for _ in range(4)]
    problem = asked("late", ratios={"s": 1e-2}, sizes=(150, 150), activate_ratio=0.1)
    found, _ = answer(BlockKrylov(), problem, people)
    whole = answer(FullJacobian(), problem._replace(n=N), people)[0].result
    assert len(found.result.values) == len(whole.values)
    assert principal_angles(found.result.vectors, whole.vectors).max().rad2deg() < 15


def test_a_bad_direction_that_no_random_row_shows_is_found():
    people = some_people(1e-2)
    e = torch.linalg.eigh(energies(people)[0]).eigenvectors[:, 60:61]  # where nothing is activated
    top = float(torch.linalg.matrix_norm(energies(people)[1], 2))
    hidden = [[A, torch.cat([a - a @ e @ e.T, (0.2 * top) ** 0.5 * e.T]), b - b @ e @ e.T] for A, a, b in people]
    problem = asked("early", sizes=(SIZES[0], SIZES[1] + 1, SIZES[2]))
    found, _ = answer(BlockKrylov(), problem, hidden, sketch=lambda R: R - R @ e @ e.T)
    assert not found.stopped_early
    assert (found.removed.T @ e).norm() > 0.999


@pytest.mark.parametrize("above", [1e-9, -1e-9])
def test_an_eigenvalue_at_its_ratio_is_said(above):
    # Energies on the axes; the activated term sees the axis at the ratio together with what is left.
    S = torch.full((N,), 1e-5, dtype=torch.float64)
    S[:5], S[5] = 1, 1e-2 * (1 + above)
    A = torch.diag(torch.logspace(0, -2, N, dtype=torch.float64))
    A[6, 5] = A[6, 6]
    problem = asked("early", ratios={"s": 1e-2}, sizes=(None, None))
    found, _ = answer(BlockKrylov(), problem, [[A, torch.diag(S.sqrt())]])
    assert found.stopped_early.startswith("an eigenvalue too close to its ratio")
    assert "(s 0.01)" in found.stopped_early
    A[6, 5] = 0  # and where it doesn't matter to what is left, nothing needs to be said
    A[5, 5] = 0
    found, _ = answer(BlockKrylov(), problem, [[A, torch.diag(S.sqrt())]])
    assert not found.stopped_early


def thin(problem, factors):
    """Drive a search with (r_i, n) factors of the mean energies of everyone."""
    draw, solver = torch.Generator().manual_seed(0), BlockKrylov()
    state = solver.init(problem)
    while not isinstance(state, Solution):
        rows, products, grams = [], [], []
        for each in state.query.rows:
            R = torch.cat([F * w**0.5 for F, w in zip(factors, each.weights, strict=True) if w])
            count = (each.random or 0) * problem.people
            random = torch.randn(count, len(R), generator=draw, dtype=R.dtype) @ R * max(1, count) ** -0.5
            rows.append(random if count else R)
        for each in state.query.products:
            FV = [F @ each.V for F in factors]
            products += [
                sum(F.T @ part * w for F, part, w in zip(factors, FV, weights, strict=True))
                for weights in each.energies
            ]
            grams = [part.T @ part for part in FV] if each.grams else grams
        state = solver.step(problem, state, [Reply(problem.people, rows, products, grams, 1)])
    return state


@pytest.mark.parametrize(
    "n, people, sizes",
    [
        pytest.param(1200, 60, (None, None), id="many features"),
        pytest.param(9088, 1000, (20, 30), id="few features of many, wide"),
        pytest.param(9088, 1000, (None, None), id="many features of many, wide", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("projection", ["early", "late", "mixed"])
def test_wide_latents_and_many_people_have_an_answer(projection, n, people, sizes):
    draw = torch.Generator().manual_seed(2)
    turn = torch.linalg.qr(torch.randn(n, 60, generator=draw, dtype=torch.float64)).Q.T
    mix = torch.linalg.qr(torch.randn(60, 60, generator=draw, dtype=torch.float64)).Q
    A = torch.logspace(0, -2, 60, dtype=torch.float64)[:, None] * turn
    S = torch.logspace(0, -3, 60, dtype=torch.float64)[:, None] * (mix @ turn)
    late = ("s",) if projection == "mixed" else ()
    problem = Problem(n, (1.0,), {"s": 1e-2}, projection, late, 1e-1, None, sizes, people)
    found = thin(problem, [A, S])
    assert not found.stopped_early
    small = [A @ turn.T, S @ turn.T]
    whole = answer(FullJacobian(), problem._replace(n=60), [small])[0].result
    assert len(found.result.values) == len(whole.values)
    assert principal_angles(turn @ found.result.vectors[:, :1], whole.vectors[:, :1]).rad2deg() < 2


def test_too_wide_for_whole_jacobians_is_said_before_the_first_product():
    with pytest.raises(IceError, match=r"at most 6000 coordinates .* solver=exact, got 9088: take solver=krylov"):
        FullJacobian().init(asked("early", n=9088))


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_the_explained_energy_is_a_share_with_its_error(projection):
    # One direction carries nearly all of what is activated, as mean colours do, of one person.
    draw = torch.Generator().manual_seed(3)
    fall = torch.logspace(0, -4, N, dtype=torch.float64)
    A = 0.1 * torch.randn(100, N, generator=draw, dtype=torch.float64) * fall
    u, v = (torch.randn(k, generator=draw, dtype=torch.float64) for k in (100, N))
    person = [A + u[:, None] * v, torch.randn(80, N, generator=draw, dtype=torch.float64) * fall]
    problem = Problem(10**6, (1.0,), {"s": 1e-1}, projection, (), 1e-2, 1, (100, 80), 1)
    misses, errors = [], []
    for seed in range(20):
        found, _ = answer(BlockKrylov(), problem, [person], seed=seed)
        basis = torch.linalg.qr(found.coefficients).Q
        inside = float((found.factors[0] @ basis).square().sum())
        span = torch.linalg.qr(found.result.vectors).Q
        true = float((person[0] @ span).square().sum() / person[0].square().sum())
        assert inside == pytest.approx(float((person[0] @ span).square().sum()), rel=1e-9)
        assert 0 <= inside / (inside + found.rest) <= 1
        misses.append(inside / (inside + found.rest) - true)
        errors.append(inside * found.rest_error / (inside + found.rest) ** 2)
    misses, errors = torch.tensor(misses), torch.tensor(errors)
    spread = float(misses.square().mean().sqrt())
    assert spread < 2 * float(errors.mean()) + 1e-6
    assert float(errors.mean()) < 3 * spread + 1e-6
