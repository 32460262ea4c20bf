"""verdict.py on populations whose answer is known."""

import json
import math
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ice_lightning.checks import IceError, Mismatch
from ice_lightning.explanation.rows import FILE, ROWS, Header, Rows, finished, load_explained, write
from ice_lightning.explanation.verdict import BUDGET, judge, summary, verdicts
from ice_lightning.reports import figures, pages
from ice_lightning.reports.verdict import write_verdicts

N, M = 200, 20


def explained(folder, criterion, flips, chance=0, classifier="c", number=None, **more):
    """Of 200 people the first `flips` flip; in random subspaces the last `chance` and a few, with as much change."""
    number = torch.arange(N) if number is None else number
    place = torch.arange(len(number))
    control = N - chance - torch.arange(M) % 5
    flipped = place < flips
    rows = {
        "number": number,
        "before": torch.where(number % 2 == 0, 1.0, -1.0),
        "flipped": flipped,
        "change": torch.where(flipped, 0.03, torch.nan),
        "effort": torch.linspace(0, 1, len(number)),
        "random_tried": torch.ones(len(number), dtype=torch.bool),
        "random_flipped": place[:, None] >= control,
        "random_change": torch.where(place[:, None] >= control, 0.03, torch.nan),
        "oracles": torch.where(number < 50, 1.0, -1.0)[:, None],
    } | more
    header = Header(classifier, criterion, 3, ("glasses",), {})
    write(folder / criterion / FILE, Rows.from_tensors(rows), header)
    return load_explained(folder / criterion)


def test_a_subspace_counts_when_it_does_more_than_whole_random_ones(tmp_path):
    found = summary(explained(tmp_path, "a", 60, 10))
    assert found.counts
    assert (found.flips.rate, found.flips.of) == (0.3, 200)
    assert found.significance.random_rate == pytest.approx((10 + 2) / N)
    assert found.significance.rank == 1
    assert not summary(explained(tmp_path, "b", 12, 10)).counts


def test_effort_is_the_median_of_those_who_flip(tmp_path):
    run = explained(tmp_path, "a", 4)
    assert summary(run).effort == pytest.approx(float(run.rows.named.effort[:4].median()), abs=0.01)
    assert summary(explained(tmp_path, "b", 0)).effort is None


def test_a_failure_of_the_named_search_is_nobodys_budget(tmp_path):
    """Who doesn't flip with the named one loses to every control that flips, whatever its closest move would change."""
    run = explained(tmp_path, "a", 0, 40)
    named = replace(run.rows.named, change=torch.full((N,), 9.0))
    far = replace(run, rows=replace(run.rows, named=named))
    assert summary(run).significance.score == summary(far).significance.score < 0.5


@pytest.mark.parametrize(
    "controls,why", [(0, "no random subspaces were tried"), (1, "1 random"), (9, "9 random subspaces are too few")]
)
def test_with_too_few_random_subspaces_nothing_counts_and_it_says_why(tmp_path, controls, why):
    run = explained(tmp_path, "a", 60)
    random = run.rows.random
    some = replace(random, flipped=random.flipped[:, :controls], change=random.change[:, :controls])
    judged = judge([replace(run, rows=replace(run.rows, random=some if controls else None))])
    assert f"is open: {why}" in judged.sentence
    assert not judged.subspaces[0].counts
    page = pages.verdict_page([judged], {"c": b""})
    assert why in page
    assert "nan" not in page
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.png(figures.verdict(judged))


def test_several_subspaces_of_a_classifier_are_tested_together(tmp_path):
    """The same outcomes count alone and, by Holm, not among six."""
    p = summary(explained(tmp_path, "a", 26, 10)).p
    assert 0.05 / 6 < p < 0.05
    judged = judge([explained(tmp_path, name, 26, 10) for name in "abcdef"])
    assert [each.counts for each in judged.subspaces] == [False] * 6
    assert judged.subspaces[0].p == pytest.approx(6 * p)
    alone = summary(explained(tmp_path, "a", 26, 10)).significance.detectable
    assert judged.subspaces[0].significance.detectable > alone


def test_slices_are_looked_at_only_where_the_subspace_counts(tmp_path):
    slices = summary(explained(tmp_path, "a", 60, 10)).slices
    assert (slices["glasses"].rate, slices["glasses"].of) == (1.0, 50)
    assert (slices["not glasses"].rate, slices["not glasses"].of) == (pytest.approx(10 / 150), 150)
    assert slices["called positive"].of == 100
    judged = judge([explained(tmp_path, "b", 60, 10), explained(tmp_path, "c", 0, 10)])
    assert judged.subspaces[0].slices
    assert not judged.subspaces[1].slices


def test_subspaces_are_ordered_by_how_often_they_beat_random_ones(tmp_path):
    judged = judge(
        [explained(tmp_path, "a", 100, 90), explained(tmp_path, "b", 60, 0), explained(tmp_path, "c", 80, 4)]
    )
    assert [each.criterion for each in judged.subspaces] == ["c", "b", "a"]
    assert judged.sufficiency == (0.4, 0.4, 0.5)


def test_people_without_a_finite_score_are_in_no_denominator(tmp_path):
    before = torch.where(torch.arange(N) < 20, torch.nan, 1.0)
    judged = judge([explained(tmp_path, "a", 60, 10, before=before)])
    assert judged.people == 180
    assert judged.subspaces[0].flips.of == 180
    assert judged.subspaces[0].significance.people == 180
    assert judged.sufficiency == (pytest.approx(40 / 180),)
    assert "of 180 people" in judged.sentence


def test_random_subspaces_are_compared_on_those_to_whom_they_were_applied(tmp_path):
    found = summary(explained(tmp_path, "a", 60, 10, random_tried=torch.arange(N) < 100))
    assert found.flips.rate == 0.3
    assert found.significance.people == 100
    assert found.significance.difference == pytest.approx(0.6)


def test_what_nothing_named_explains_is_said(tmp_path):
    """Of 200 the unrestricted search flips 150, 120 within the budget; the named ones 60, 50 of them within it."""
    place = torch.arange(N)
    free = {
        "unrestricted_flipped": place < 150,
        "unrestricted_change": torch.where(place < 120, BUDGET / 2, 2 * BUDGET),
    }
    change = torch.where(place < 50, BUDGET / 2, 2 * BUDGET)
    judged = judge([explained(tmp_path, "a", 60, 10, change=change, **free)])
    assert (judged.unexplained.rate, judged.unexplained.of) == (pytest.approx(70 / 200), 200)
    assert "35.0 % (" in pages.verdict_page([judged], {"c": b""})
    assert judge([explained(tmp_path, "b", 60, 10)]).unexplained is None


def test_the_sentence_names_what_counts(tmp_path):
    judged = judge([explained(tmp_path, "hair_color", 142, 6, "smiling_biased"), explained(tmp_path, "gaze", 6, 6)])
    assert judged.sentence.startswith("smiling_biased flips with hair color for 71 % (")
    assert "of 200 people, beating 20 random subspaces in " in judged.sentence
    assert judged.sentence.endswith("they flip 4 %).")
    assert "gaze" not in judged.sentence
    nothing = replace(judged, subspaces=judged.subspaces[1:])
    assert "flips with nothing that was named more than with random subspaces" in nothing.sentence


def test_other_people_are_refused(tmp_path):
    one, other = explained(tmp_path, "a", 3), explained(tmp_path, "b", 3, number=torch.arange(1, N + 1))
    with pytest.raises(IceError, match="the people of a in b, got others: give all runs"):
        judge([one, other])


def test_people_of_another_seed_are_refused_though_their_numbers_agree(tmp_path):
    one = explained(tmp_path, "a", 3)
    other = explained(tmp_path, "b", 3, before=one.rows.before.roll(1))
    with pytest.raises(IceError, match="the people of a in b, got others: give all runs"):
        judge([one, other])


def test_nobody_to_compare_is_said(tmp_path):
    before = torch.where(torch.arange(N) < 10, torch.nan, 1.0)
    judged = judge([explained(tmp_path, "a", 60, before=before, random_tried=torch.arange(N) < 10)])
    assert "is open: nobody to whom they were applied has a finite score" in judged.sentence


def test_rows_of_an_older_version_are_refused(tmp_path):
    run = explained(tmp_path, "a", 3)
    header = {"classifier": "c", "criterion": "a", "directions": 3, "oracles": [], "settings": {}}
    save_file(run.rows.to_tensors(), run.folder / FILE, metadata={"explanation": json.dumps(header)})
    for read in (lambda: load_explained(run.folder), lambda: finished(run.folder, {})):
        with pytest.raises(Mismatch, match=r"rows of version 3, got version 1, which lacks .* explain again"):
            read()


def test_a_folder_has_a_verdict_for_each_classifier(tmp_path):
    explained(tmp_path / "0", "a", 60, 10, "one")
    explained(tmp_path / "1", "a", 20, 10, "other")
    judged = verdicts(tmp_path)
    assert [each.classifier for each in judged] == ["one", "other"]
    write_verdicts(tmp_path, judged, tmp_path)
    kept = json.loads((tmp_path / "verdict.json").read_text())[0]
    assert (kept["rows"], kept["subspaces"][0]["rate"], kept["subspaces"][0]["counts"]) == (ROWS, 0.3, True)
    assert len(kept["subspaces"][0]["random"]["random_rates"]) == M
    assert (tmp_path / "verdict.html").read_text().count("data:image/png;base64") == 2
    with pytest.raises(IceError, match="finished explanations below"):
        verdicts(tmp_path / "0" / "nothing")


def test_the_verdict_figure_has_a_bar_for_each_subspace(tmp_path):
    judged = judge([explained(tmp_path, "a", 100, 10), explained(tmp_path, "b", 60, 0)])
    left, middle, _ = figures.verdict(judged).axes
    assert [bar.get_width() for bar in left.patches] == [50.0, 30.0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]
    shown = [line.get_xdata() for line in middle.lines]
    assert any(len(x) == M for x in shown)
    assert any(x[0] == judged.subspaces[0].significance.score for x in shown if len(x) == 1)


def test_finished_people_are_read_again_unless_settings_differ(tmp_path):
    run = explained(tmp_path, "a", 3)
    folder = tmp_path / "a"
    assert set(finished(folder, {})) == set(range(N))
    assert torch.equal(finished(folder, {})[7].named.effort, run.rows.named.effort[7:8])
    (folder / "people").mkdir()
    (folder / "people" / "000000000.safetensors").write_bytes(b"half a file")
    assert len(finished(folder, {})) == N
    with pytest.raises(Mismatch, match=r"the same settings \(counterfactual\.bound: 2\), got people found with None"):
        finished(folder, {"counterfactual.bound": 2})


def test_a_p_value_of_nothing_is_not_a_number(tmp_path):
    run = explained(tmp_path, "a", 3)
    assert math.isnan(summary(replace(run, rows=replace(run.rows, random=None))).p)


def test_rows_come_back_from_their_file_under_the_names_they_always_had(tmp_path):
    """Of everything that an explanation keeps, and of the columns alone that a verdict reads."""
    n, m, k = 3, 2, 4
    yes, some = torch.ones(n, dtype=torch.bool), torch.rand(n)
    outcome = {"flipped": yes, "effort": some, "change": some}
    columns = {"number": torch.arange(n), "before": some, "oracles": torch.rand(n, 1), **outcome}
    columns |= {f"{kind}_{name}": column for kind in ("weights", "unrestricted") for name, column in outcome.items()}
    columns |= {"u": torch.rand(n, 5), "t": torch.rand(n, k), "after": some, "evaluations": torch.arange(n)}
    columns |= {"end": torch.rand(n, 5), "held_found": yes, "held_straight": some}
    columns |= {"own_found": yes, "own_residual": some, "own_agreement": torch.rand(n, k)}
    columns |= {"clean_named": yes, "clean_own": some, "clean_excess": torch.rand(n, 7), "clean_random": yes[:, None]}
    columns |= {"random_tried": yes, "random_flipped": yes[:, None].expand(n, m), "random_change": torch.rand(n, m)}
    columns |= {"random_t": torch.rand(n, m, k)}
    columns = {name: column.clone() for name, column in columns.items()}
    write(tmp_path / FILE, Rows.from_tensors(columns), Header("c", "a", k, ("glasses",), {"x": 1}))
    assert set(load_file(tmp_path / FILE)) == set(columns)
    read = load_explained(tmp_path).rows
    assert all(torch.equal(read.to_tensors()[name], column) for name, column in columns.items())
    assert read.select(slice(1, 2)).random.t.shape == (1, m, k)
    few = Rows.from_tensors({name: columns[name] for name in ("number", "before", "oracles", "flipped", "change")})
    assert few.moves is few.random is few.weights is few.own is few.holding is few.clean is None
    assert few.named.effort.isnan().all()
