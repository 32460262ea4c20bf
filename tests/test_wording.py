import math

import pytest

from ice_lightning.wording import percent, probability, words


@pytest.mark.parametrize("people", [1, 7, 64, 200, 500, 10_000])
def test_a_rate_that_is_not_all_is_not_read_as_all_nor_one_that_is_not_none_as_none(people):
    """Of every number of people that may flip, with whatever is asked for at least."""
    for decimals in (0, 1):
        for flips in range(people + 1):
            text = percent(flips / people, decimals)
            assert (float(text) == 100) == (flips == people), text
            assert (float(text) == 0) == (flips == 0), text


def test_decimals_stand_only_where_whole_percents_would_say_something_else():
    shares = {0.71: "71", 0.994: "99", 0.995: "99.5", 0.9996: "99.96", 0.004: "0.4", 0.006: "1", 0.0: "0", 1.0: "100"}
    assert {share: percent(share) for share in shares} == shares
    assert percent(0.5, 1) == "50.0"
    assert percent(math.nan) == "nan"
    assert percent(1e-12) == "0.000000"


def test_small_p_values_are_said_by_a_bound():
    assert [probability(p) for p in (0.5, 0.0361, 0.001, 0.00099)] == ["p = 0.5", "p = 0.036", "p = 0.001", "p < 0.001"]


def test_names_are_written_without_underscores():
    assert words("smiling_biased_hair") == "smiling biased hair"
