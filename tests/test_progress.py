import ast
import logging
import re
import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
from lightning_utilities.core.rank_zero import rank_zero_only

import ice_lightning
from ice_lightning import progress
from ice_lightning.launch import quiet
from ice_lightning.progress import LOG, Steps, is_rank_zero, shown_log, steps
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


def test_a_discovery_in_a_terminal(compose, small, capsys, monkeypatch):
    """Every pass begins the bar anew, which draws it at once."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    quick = (
        small(32),
        "space=z",
        "latents.count=1",
        "criterion=paper/skin_color",
        "criterion.suppress.residual.ratio=0.2",
    )
    passes = run(compose(*quick)).metrics["passes"]
    told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert f"pass {passes}: " in told
    assert "person 1 of 1" in told


@pytest.mark.parametrize("rank,lines", [(0, ["one", "two", "ice_lightning: three"]), (1, ["ice_lightning: three"])])
def test_one_rank_speaks_and_each_tells_its_error(capsys, monkeypatch, rank, lines):
    monkeypatch.setattr(rank_zero_only, "rank", rank, raising=False)
    before = list(LOG.handlers), LOG.level, LOG.propagate
    with shown_log(), shown_log():  # which shows each line once all the same
        LOG.info("one")
        LOG.warning("two")
        LOG.error("three")
    assert capsys.readouterr().err.splitlines() == lines
    assert (LOG.handlers, LOG.level, LOG.propagate) == before


@pytest.mark.parametrize("name", progress.RANKS)
def test_before_lightning_is_there_the_launcher_knows_the_rank(monkeypatch, name):
    monkeypatch.delitem(progress.sys.modules, "lightning_utilities.core.rank_zero")
    for each in progress.RANKS:
        monkeypatch.delenv(each, raising=False)
    assert is_rank_zero()
    monkeypatch.setenv(name, "2")
    assert not is_rank_zero()


def test_needless_warnings_are_left_out_for_a_while(recwarn):
    log = logging.getLogger(pl.__name__)
    level = log.level
    with quiet():
        warnings.warn("The dataloader has few num_workers", stacklevel=1)
        assert log.level == logging.WARNING
    assert log.level == level
    assert not recwarn.list


RESULTS = {"run.show", "tasks.compare", "synthetic.__main__", "checkpoints.__main__", "loggers.dashboard", "progress"}
"""What prints: programs their results, and the log's own handler."""


def test_nothing_else_prints():
    root = Path(ice_lightning.__file__).parent
    for path in root.rglob("*.py"):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                calls = [each.func for each in ast.walk(function) if isinstance(each, ast.Call)]
                if any(isinstance(each, ast.Name) and each.id == "print" for each in calls):
                    assert {name, f"{name}.{function.name}"} & RESULTS, f"{name}.{function.name} prints"
