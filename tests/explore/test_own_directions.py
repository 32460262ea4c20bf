"""The explorer's search in the background, on people who are their own image: x_0 activated, x_1 and a wall kept."""

import json
import time

import pytest
import torch
from test_explore import call, free_port
from toys import N, problem_for

from ice_lightning.explore.model import Explorer, Slider, edit, state
from ice_lightning.explore.own import AVERAGE, HELD, OWN, Background, Finder, Interrupted, Known, work

UNIT, LIMIT = 0.5, 4.0


def sloped(x):
    return x[:, 1:2] + x[:, 3:4] * x[:, 0:1]


def wall(x):
    return 30 * (x[:, :1] - 1).clamp_min(0)


PROBLEMS = {"hair": problem_for(lambda x: x[:, :1], sloped, 0), "mouth": problem_for(lambda x: x[:, 2:3], sloped, 2)}
WALLED = {"hair": problem_for(lambda x: x[:, :1], wall, 0)}


def shown(problems):
    finders = {name: Finder(lambda problem=problem: problem, (UNIT * LIMIT,)) for name, problem in problems.items()}
    sliders = tuple(Slider(f"{name} 0", name, 0, UNIT, 1.0, LIMIT) for name in problems)
    basis = UNIT * torch.stack([problem.average.X[:, 0] for problem in problems.values()], 1)
    ada, bob = torch.zeros(2, N, dtype=torch.float64)
    ada[3], bob[3] = 0.5, -1.0
    generator = next(iter(problems.values())).generator
    return Explorer(generator, "w", sliders, basis, {}, {"ada": ada, "bob": bob}, finders)


def test_everyone_moves_along_the_average_then_their_own_then_held():
    explorer = shown(PROBLEMS)
    u = explorer.people["ada"][None]
    known = Known(u)
    todo = work(explorer.finders, known)

    def states():
        return [state(explorer, moves, known) for moves in ([1, 0], [-1, 0], [0, 1], [0, 0])]

    assert states() == [AVERAGE] * 4
    torch.testing.assert_close(edit(explorer, u, [1, 2], known), u + explorer.basis @ torch.tensor([1.0, 2.0]).double())
    next(todo)
    assert states() == [OWN, OWN, AVERAGE, AVERAGE]
    hair = known.at["hair"].edit(None, 0, 1 * UNIT) - u
    torch.testing.assert_close(edit(explorer, u, [1, 2], known), u + hair + 2 * explorer.basis[:, 1])
    next(todo)
    assert states() == [OWN, OWN, OWN, OWN]
    next(todo)
    assert states() == [HELD, OWN, OWN, OWN]
    next(todo)
    assert states() == [HELD, HELD, OWN, OWN], "the first slider first"
    assert sum(1 for _ in todo) == 2
    assert states() == [HELD] * 4
    both = [known.at[name].held().edit(None, 0, move * UNIT) - u for name, move in (("hair", -1), ("mouth", 2))]
    torch.testing.assert_close(edit(explorer, u, [-1, 2], known), u + sum(both))


def test_it_is_said_from_where_on_somebody_is_not_held():
    explorer = shown(WALLED)
    known = Known(explorer.people["ada"][None])
    list(work(explorer.finders, known))
    assert [state(explorer, [move], known) for move in (1.5, 4, 1e9, -4)] == [HELD] + ["not held: rest"] * 2 + [HELD]


def test_a_known_path_is_followed_without_looking_at_anyone(monkeypatch):
    """Else a frame would wait for a pass through the networks."""
    explorer = shown(PROBLEMS)
    known = Known(explorer.people["ada"][None])
    list(work(explorer.finders, known))
    monkeypatch.setattr(type(PROBLEMS["hair"]), "look_at", None)
    assert edit(explorer, known.u, [2, -2], known).isfinite().all()


def test_somebody_who_cannot_be_searched_keeps_the_average():
    explorer = shown(PROBLEMS)
    u = explorer.people["ada"][None].clone()
    u[0, 4] = -2  # has no hair, see toys.Faces
    known = Known(u)
    assert sum(1 for _ in work(explorer.finders, known)) == 2
    assert state(explorer, [1, 0], known) == AVERAGE
    torch.testing.assert_close(edit(explorer, u, [1, 0], known), u + explorer.basis[:, 0])


def eventually(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_background_finds_everything_of_whoever_is_on_the_screen():
    explorer = shown(PROBLEMS)
    background = Background(explorer.finders)
    first = background.of(("ada", 0), explorer.people["ada"][None])
    second = background.of(("bob", 0), explorer.people["bob"][None])
    eventually(lambda: second.todo is None)
    assert state(explorer, [0, 0], second) == HELD
    assert background.of(("ada", 0), first.u) is first
    eventually(lambda: first.todo is None)
    assert state(explorer, [0, 0], first) == HELD
    slopes = [float(known.at["hair"].directions[0, 1, 0]) for known in (first, second)]
    assert slopes[0] < 0 < slopes[1], "each has their own"


def test_somebody_else_comes_first_and_an_interrupted_path_is_taken_again():
    explorer = shown(PROBLEMS)
    known, asked = Known(explorer.people["ada"][None]), []

    def between():
        asked.append(1)
        if len(asked) == 3:
            raise Interrupted

    todo = work(explorer.finders, known, between)
    for _ in range(3):
        next(todo)
    assert state(explorer, [1, 0], known) == OWN, "the third step was interrupted"
    next(todo)
    assert state(explorer, [1, 0], known) == HELD


def test_a_background_ends_when_it_is_closed():
    """Else the interpreter's end would abort a thread within torch."""
    explorer = shown(PROBLEMS)
    background = Background(explorer.finders)
    known = background.of(("ada", 0), explorer.people["ada"][None])
    background.close()
    assert not background.thread.is_alive()
    with pytest.raises(Interrupted):
        background.check(known)


@pytest.fixture
def port():
    from ice_lightning.explore.page import serve

    number = free_port()
    blocks = serve(shown(PROBLEMS), number, wait=False)
    yield number
    blocks.close(verbose=False)


def test_the_page_is_told_when_somebody_moves_in_another_way(port):
    assert call(port, "ada", 0, 1, 0)[0] == 200
    seen = []

    def held():
        status, _, body = call(port, "ada", 0, seen[-1] if seen else "", 1, 0, function="refresh")
        assert status == 200
        picture, how = json.loads(body)["data"]
        if isinstance(how, str):
            assert f"<b>{how}</b>" in picture
            seen.append(how)
        else:
            assert not isinstance(picture, str)
        return seen[-1] == HELD

    eventually(held)
    assert sorted(seen, key=[AVERAGE, OWN, HELD].index) == seen and len(set(seen)) == len(seen)
    again = json.loads(call(port, "ada", 0, HELD, 1, 0, function="refresh")[2])["data"]
    assert not any(isinstance(each, str) for each in again), "nothing is drawn anew"
