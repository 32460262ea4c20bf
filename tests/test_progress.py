import re

from ice_lightning import progress
from ice_lightning.progress import Steps, steps
from ice_lightning.run import run


def test_lines_say_how_far_it_is_and_how_long_it_takes(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown = Steps("people", 10, before=2)
    for done in range(3, 11):
        clock[0] += 2.0
        shown.at(done, f"{done // 2} flipped")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "people 5 of 10, 2 flipped, about 10 s left",
        "people 8 of 10, 4 flipped, about 4 s left",
        "people 10 of 10, 5 flipped",
    ]


def test_a_bar_in_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with steps("direction", 3) as shown:
        assert shown.console.is_terminal
        shown.at(3)
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "direction 3 of 3" in told
    assert "left" in told


def test_a_discovery_in_a_terminal(compose, capsys, monkeypatch):
    """Every pass begins the bar anew, which draws it at once."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    quick = ("space=w", "latents.count=1", "criterion=paper/skin_color", "criterion.suppress.residual.ratio=0.2")
    passes = run(compose(*quick)).metrics["passes"]
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert f"pass {passes}: " in told
    assert "person 1 of 1" in told
