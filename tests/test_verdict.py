"""verdict.py on populations whose answer is known."""

import json
import math
import warnings
from dataclasses import replace

import pytest
import torch

from ice_lightning import report
from ice_lightning.checks import IceError
from ice_lightning.save_explanation import finished, write, write_verdicts
from ice_lightning.verdict import FILE, interval, judge, load_explained, sentence, summary, verdicts

N = 200


def explained(folder, criterion, flips, chance=0, classifier="c", number=None):
    """Of 200 people the first `flips` flip, and `chance` in a random subspace."""
    number = torch.arange(N) if number is None else number
    rows = {
        "number": number,
        "before": torch.where(number % 2 == 0, 1.0, -1.0),
        "flipped": number < flips,
        "effort": torch.linspace(0, 1, len(number)),
        "random_flipped": number < chance,
        "oracles": torch.where(number < 50, 1.0, -1.0)[:, None],
    }
    facts = {"classifier": classifier, "criterion": criterion, "directions": 3, "oracles": ["glasses"], "settings": {}}
    write(folder / criterion / FILE, rows, facts)
    return load_explained(folder / criterion)


def test_an_interval_is_about_that_of_a_binomial():
    low, high = interval(torch.arange(N) < 60)
    half = 1.96 * math.sqrt(0.3 * 0.7 / N)
    assert (low, high) == (pytest.approx(0.3 - half, abs=0.01), pytest.approx(0.3 + half, abs=0.01))


def test_nobody_and_everybody_have_an_interval():
    """Wilson's bound for 0 of n: z^2 / (n + z^2)."""
    assert interval(torch.zeros(16)) == (0.0, pytest.approx(0.1936, abs=1e-3))
    assert interval(torch.ones(16)) == (pytest.approx(0.8064, abs=1e-3), 1.0)


def test_a_subspace_counts_when_it_clears_the_random_control(tmp_path):
    assert summary(explained(tmp_path, "a", 60, 10))["counts"]
    assert not summary(explained(tmp_path, "b", 60, 50))["counts"]


def test_without_a_random_control_nothing_is_claimed_or_drawn_of_chance(tmp_path):
    run = explained(tmp_path, "a", 60)
    judged = judge([replace(run, rows={name: rows for name, rows in run.rows.items() if "random" not in name})])
    assert "is open: no random subspaces were tried" in judged["sentence"]
    assert not judged["subspaces"][0]["counts"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report.png(report.verdict(judged))


def test_slices_have_their_own_denominators(tmp_path):
    slices = summary(explained(tmp_path, "a", 60, 10))["slices"]
    assert (slices["glasses"]["rate"], slices["glasses"]["of"]) == (1.0, 50)
    assert (slices["not glasses"]["rate"], slices["not glasses"]["of"]) == (pytest.approx(10 / 150), 150)
    assert slices["called positive"]["of"] == 100


def test_subspaces_are_ranked_above_chance(tmp_path):
    judged = judge(
        [explained(tmp_path, "a", 100, 90), explained(tmp_path, "b", 60, 0), explained(tmp_path, "c", 80, 4)]
    )
    assert [each["criterion"] for each in judged["subspaces"]] == ["c", "b", "a"]
    assert judged["sufficiency"] == [0.4, 0.4, 0.5]


def test_the_sentence_names_what_counts(tmp_path):
    judged = judge([explained(tmp_path, "hair_color", 142, 6, "smiling_biased"), explained(tmp_path, "gaze", 6, 6)])
    assert judged["sentence"].startswith("smiling_biased flips with hair color for 71 % (")
    assert judged["sentence"].endswith("of 200 people, where a random subspace with as much image change flips 3 %.")
    assert "gaze" not in judged["sentence"]
    judged["subspaces"] = judged["subspaces"][1:]
    assert "flips with nothing that was named more often than with random subspaces" in sentence(judged)


def test_other_people_are_refused(tmp_path):
    one, other = explained(tmp_path, "a", 3), explained(tmp_path, "b", 3, number=torch.arange(1, N + 1))
    with pytest.raises(IceError, match="the people of a in b, got others: give all runs"):
        judge([one, other])


def test_a_folder_has_a_verdict_for_each_classifier(tmp_path):
    explained(tmp_path / "0", "a", 60, 10, "one")
    explained(tmp_path / "1", "a", 20, 10, "other")
    judged = verdicts(tmp_path)
    assert [each["classifier"] for each in judged] == ["one", "other"]
    write_verdicts(tmp_path, judged, tmp_path)
    assert json.loads((tmp_path / "verdict.json").read_text())[0]["subspaces"][0]["rate"] == 0.3
    assert (tmp_path / "verdict.html").read_text().count("data:image/png;base64") == 2
    with pytest.raises(IceError, match="finished explanations below"):
        verdicts(tmp_path / "0" / "nothing")


def test_the_verdict_figure_has_a_bar_for_each_subspace(tmp_path):
    judged = judge([explained(tmp_path, "a", 100, 10), explained(tmp_path, "b", 60, 0)])
    left, _ = report.verdict(judged).axes
    assert [bar.get_width() for bar in left.patches] == [50.0, 30.0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]


def test_finished_people_are_read_again_unless_settings_differ(tmp_path):
    run = explained(tmp_path, "a", 3)
    folder = tmp_path / "a"
    assert set(finished(folder, {})) == set(range(N))
    assert torch.equal(finished(folder, {})[7]["effort"], run.rows["effort"][7:8])
    (folder / "people").mkdir()
    (folder / "people" / "000000000.safetensors").write_bytes(b"half a file")
    assert len(finished(folder, {})) == N
    with pytest.raises(IceError, match=r"the same settings \(method\.bound: 2\), got people found with None"):
        finished(folder, {"method.bound": 2})
