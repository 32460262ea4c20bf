"""A subspace at people, on features that are known by heart: an activated x_0 along a person's own slope, x_1 kept."""

import logging

import pytest
import torch
from toys import N, problem_for

from ice_lightning.checks import IceError
from ice_lightning.edits import subspace_at
from ice_lightning.traversal import visible_strengths


def sloped(x):
    """x_1 must stay, of which x_0 takes x_3 along: everyone's own direction is another mixture of the two."""
    return x[:, 1:2] + x[:, 3:4] * x[:, 0:1]


HAIR = problem_for(lambda x: x[:, :1], sloped, 0)
MOUTH = problem_for(lambda x: x[:, 2:3], sloped, 2)


def people(*slopes):
    u = torch.zeros(len(slopes), N, dtype=torch.float64)
    u[:, 3] = torch.tensor(slopes)
    return u


def at(problem, u):
    return subspace_at(problem, u, 1, {"criterion": "x"})


def test_everyone_moves_along_a_direction_of_their_own():
    u = people(0.0, 0.5, -2.0)
    found = at(HAIR, u)
    assert found.local.own.all() and not any(found.local.why)
    for person, slope in zip(found.directions[:, :, 0], u[:, 3], strict=True):
        assert float(person[0]) > 0.3
        assert float(person[1]) == pytest.approx(-float(slope) * float(person[0]), abs=1e-3)
    moved = found.edit(direction=0, strength=0.5)
    torch.testing.assert_close(moved - u, 0.5 * found.directions[:, :, 0])


def test_everyone_has_a_strength():
    u = people(0.0, 0.5)
    found = at(HAIR, u)
    moved = found.edit(u, strength=torch.tensor([1.0, -2.0]))
    torch.testing.assert_close((moved - u).norm(dim=1), torch.tensor([1.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(found.held().edit(strength=torch.tensor([0.0, 1.0]))[0], u[0])
    with pytest.raises(IceError, match="one strength, or one for each of 2 people, got a Tensor of shape"):
        found.edit(u, strength=torch.ones(3))
    with pytest.raises(IceError, match=r"a strength as a number or a Tensor \(N,\), got 'x'"):
        found.edit(u, strength="x")
    with pytest.raises(IceError, match=r"a strength as a number or a Tensor \(N,\), got 'x'"):
        found.walk(0, "x")
    with pytest.raises(IceError, match="a direction from 0 to 0, got 1: nobody has more"):
        found.edit(u, 1)


def test_somebody_else_is_refused():
    u = people(0.0, 0.5)
    found = at(HAIR, u)
    with pytest.raises(IceError, match=r"the people whose directions these are, got somebody else as person 1: ask"):
        found.edit(people(0.0, 0.4))
    with pytest.raises(IceError, match=r"the 2 people whose directions these are, got latents of shape \(1, 5\)"):
        found.edit(u[:1])
    with pytest.raises(IceError, match="the 2 people whose directions these are, got a list"):
        found.edit([0.0])


def test_who_cannot_be_searched_moves_along_the_average_and_is_named(caplog):
    u = people(0.5, 0.5, 0.5)
    u[0, 0], u[1, 4] = torch.nan, -2.0
    with caplog.at_level(logging.WARNING, "ice_lightning"):
        found = at(HAIR, u)
    assert found.local.why == ("a finite image", "hair", "")
    assert found.local.own.tolist() == [False, False, True]
    assert not found.offered[:2].any() and found.offered[2].all()
    assert caplog.messages == [
        "2 of 3 people have no directions of their own (1 for want of a finite image, 1 for want of hair) "
        "and move along the average's"
    ]
    for mover in (found, found.held()):
        moved = mover.edit(u, strength=2.0)
        torch.testing.assert_close(moved[1] - u[1], 2 * torch.eye(N, dtype=torch.float64)[0])
        assert moved[0].isnan().tolist() == [True] + [False] * 4
    rows = found.held().moved(0, torch.ones(3))
    assert [row.why for row in rows] == list(found.local.why)
    assert rows[1].agreement is rows[1].reach is None and rows[2].agreement == pytest.approx(1, abs=1e-3)


def test_edits_compose():
    """The second is that of whom the first has made, and keeps what it is held to keep."""
    u = people(0.5, -1.0)
    first = at(HAIR, u).held()
    u1 = first.edit(direction=0, strength=1.0)
    second = at(MOUTH, u1)
    u2 = second.held().edit(direction=0, strength=1.5)
    assert (u2 - u1)[:, 2].tolist() == pytest.approx([1.5, 1.5], rel=0.02)
    torch.testing.assert_close(u2[:, 0], u1[:, 0], atol=0.02, rtol=0)
    with pytest.raises(IceError, match="somebody else as person 0, 1"):
        second.edit(u)


def wall(x):
    """Beyond x_0 = 1 nothing can make up for it."""
    return 30 * (x[:, :1] - 1).clamp_min(0)


def test_it_is_said_how_far_somebody_is_held_and_what_is_in_the_way():
    kept = {"free": lambda x: x[:, 2:3]}
    found = at(problem_for(lambda x: x[:, :1], wall, 0, **kept), people(0.0)).held()
    with torch.inference_mode():  # or whatever the caller is in
        walked = found.walk(0, 2.0)
    minus, plus = found.reach(0, 0)
    assert minus == (-2.0, None, "")
    assert plus == (1.0, 1.5, "rest")
    (row,) = found.moved(0, walked.strengths[:, -1])
    assert row.reach == (minus, plus)
    assert row.to_json()["reach"]["plus"] == {"held_up_to": 1.0, "not_held_at": 1.5, "stopped_by": "rest"}
    assert found.straight().moved(0, walked.strengths[:, -1])[0].reach is None


def test_a_walk_searches_each_path_once(monkeypatch):
    from ice_lightning.edits import at as module

    asked = []
    hold = module.hold
    monkeypatch.setattr(module, "hold", lambda *given: asked.append(hold(*given)) or asked[-1])
    found = at(HAIR, people(0.5, 0.0)).held()
    walked = found.walk(0, torch.tensor([1.0, 2.0]))
    found.edit(strength=torch.tensor([0.3, -0.7]))
    assert sorted(path.moves[-1].asked for path in asked) == [-2.0, -1.0, 1.0, 2.0]
    assert walked.strengths.tolist() == [[-1.0, -0.5, 0.0, 0.5, 1.0], [-2.0, -1.0, 0.0, 1.0, 2.0]]
    assert walked.images.shape == (2, 5, 3, 1, N)


def test_everyone_is_drawn_to_where_their_change_is_plain_to_see():
    u = people(0.0, 0.5) + 0.5
    found = at(HAIR, u)
    strengths = visible_strengths(HAIR.generator, found, u, 0, 0.2)
    for i, strength in enumerate(strengths.tolist()):
        alone = at(HAIR, u[i : i + 1])
        assert float(visible_strengths(HAIR.generator, alone, u[i : i + 1], 0, 0.2)) == pytest.approx(strength)
    assert strengths[0] != pytest.approx(float(strengths[1]), rel=0.1)
