"""Named against whole random subspaces, on outcomes whose answer is known."""

import math

import pytest
import torch

from ice_lightning.explanation.significance import beats, compare, holm
from ice_lightning.metrics import proportion
from ice_lightning.population import radius

T = torch.tensor


def linear(k, people, subspaces, seed, dim=64):
    """Outcomes in whole random subspaces of a linear classifier and a linear image: (N, M) bool and changes."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    pixels, w = normal(300, dim) / 8, torch.nn.functional.normalize(normal(dim), dim=0)
    score = (normal(people, dim) @ w).abs()
    flipped, change = [], []
    for _ in range(subspaces):
        g = (B := torch.linalg.qr(normal(dim, k)).Q).T @ w
        need = score / g.norm()
        flipped.append(need <= radius(k))
        change.append(need * (pixels @ (B @ g) / g.norm()).square().mean().sqrt())
    return torch.stack(flipped, 1), torch.stack(change, 1)


def test_scores_are_those_of_the_definition():
    yes, no = T([True]), T([False])
    assert beats(yes, T([0.1]), no, T([0.0])).item() == 1
    assert beats(no, T([0.0]), yes, T([0.1])).item() == 0
    assert beats(no, T([0.1]), no, T([0.2])).item() == 0.5
    assert beats(yes, T([0.1]), yes, T([0.2])).item() == 1
    assert beats(yes, T([0.2]), yes, T([0.2])).item() == 0.5
    assert beats(no, T([math.nan]), no, T([math.nan])).item() == 0.5


def test_a_comparison_by_hand():
    """Three people, two controls: the named one beats both for the first, one for the second, none for the third."""
    flipped, change = T([True, True, False]), T([0.1, 0.3, math.nan])
    random = T([[False, True], [True, False], [True, False]])
    changes = T([[math.nan, 0.2], [0.2, math.nan], [0.5, math.nan]])
    found = compare(flipped, change, random, changes)
    assert found.score == pytest.approx((2 + 1 + 0.5) / 6)
    # Control 0 against 1: loses, wins, wins; the other way round.
    assert found.random_scores == pytest.approx([2 / 3, 1 / 3])
    assert found.random_rates == pytest.approx([2 / 3, 1 / 3])
    assert found.difference == pytest.approx(2 / 3 - 1 / 2)
    # Against both others: the named one has 3.5 of 6, control 0 has 2 + (0 + 1 + 1), control 1 has 1 + (0 + 0 + 0.5).
    assert found.rank == 2


def test_one_who_beats_all_ranks_first_and_one_who_beats_none_last():
    flipped, change = linear(4, 60, 21, 0)
    everyone, nobody = torch.ones(60, dtype=torch.bool), torch.zeros(60, dtype=torch.bool)
    best = compare(everyone, torch.zeros(60), flipped[:, 1:], change[:, 1:])
    worst = compare(nobody, torch.zeros(60), flipped[:, 1:], change[:, 1:])
    assert (best.rank, best.score, worst.rank) == (1, 1.0, 21)
    assert best.p < 0.05 < worst.p


@pytest.mark.parametrize("k", [2, 8])
def test_a_random_subspace_in_place_of_the_named_one_seldom_counts(k):
    """The null by construction; of 300 at most 5 %, and 2.6 standard errors."""
    p, ranks = [], []
    for seed in range(300):
        flipped, change = linear(k, 64, 21, 1000 + seed)
        found = compare(flipped[:, 0], change[:, 0], flipped[:, 1:], change[:, 1:])
        p.append(found.p)
        ranks.append(found.rank)
    allowed = 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 300)
    assert sum(each <= 0.05 for each in p) / 300 <= allowed
    assert sum(each == 1 for each in ranks) / 300 <= allowed
    assert sum(each <= 0.0125 for each in p) / 300 <= 0.0125 + 2.6 * math.sqrt(0.0125 / 300)


def test_a_one_sided_filter_would_have_counted_them():
    """Counting a random flip only where it takes no more change, while a named one always counts, is no fair rule."""
    alarms = 0
    for seed in range(20):
        flipped, change = linear(8, 200, 2, seed)
        named, random = proportion(flipped[:, 0]), proportion(flipped[:, 1] & (change[:, 1] <= change[:, 0]))
        alarms += named.low > random.high
    assert alarms >= 8


def test_more_people_do_not_make_a_random_subspace_count():
    """A control redrawn for every person tests against the average random subspace, which half of them beat."""
    alarms = [
        compare(f[:, 0], c[:, 0], f[:, 1:], c[:, 1:]).p <= 0.05 for f, c in (linear(2, 2000, 21, s) for s in range(60))
    ]
    assert sum(alarms) <= 8


def test_controls_that_never_flip_leave_the_people_to_speak():
    """Three flips of 64 where no control flips anyone are no proof, twenty are."""
    none, changes = torch.zeros(64, 20, dtype=torch.bool), torch.full((64, 20), torch.nan)
    p = [compare(torch.arange(64) < n, torch.full((64,), 0.1), none, changes).p for n in (0, 3, 20)]
    assert p[0] == pytest.approx(0.5)
    assert p[2] < 1e-3 < 0.01 < p[1]


def test_what_everyone_agrees_in_is_sure_but_not_endlessly():
    """All flip and no control flips anyone: no spread at all, and the clearest case there is."""
    none, changes = torch.zeros(64, 20, dtype=torch.bool), torch.full((64, 20), torch.nan)
    everyone = compare(torch.ones(64, dtype=torch.bool), torch.rand(64), none, changes)
    assert everyone.score == 1
    assert everyone.rank == 1
    assert everyone.p < 1e-3
    low, high = everyone.difference_interval
    assert low < everyone.difference == 1 == high


@pytest.mark.parametrize("controls", [10, 20, 100])
def test_what_is_detectable_has_just_the_p_value_that_counts(controls):
    """A score that lies at it, made of people who beat all controls or lose to all."""
    flipped, change = linear(4, 4000, controls, 5)
    flips = torch.ones_like(flipped)
    least = compare(flips[:, 0], change[:, 0], flips, change).detectable
    if math.isnan(least):  # beating all of ten is not always enough
        assert compare(flips[:, 0], torch.zeros(4000), flips, change).p > 0.05
        return
    below, above = (
        compare(flips[:, 0], torch.where(torch.arange(4000) < round(share * 4000), 0.0, torch.inf), flips, change).p
        for share in (least - 0.02, min(1.0, least + 0.02))
    )
    assert below > 0.05
    assert above <= 0.05


@pytest.mark.parametrize("people", [3, 6, 12, 24, 48])
def test_nothing_is_called_detectable_that_would_not_count(people):
    """Few people who all agree: what they say is as sure as it can be, and may not be enough."""
    flips, change = torch.ones(people, 10, dtype=torch.bool), torch.arange(1.0, 11).expand(people, 10)
    some = torch.arange(10)[torch.argsort(torch.rand(people, 10, generator=torch.Generator().manual_seed(0)), 1)] + 1.0
    for each in (change, some):
        found = compare(flips[:, 0], torch.zeros(people), flips, each)
        assert found.score == 1
        assert (found.p > 0.05) == math.isnan(found.detectable)


def test_a_score_that_is_detectable_counts_whoever_the_people_are():
    draw, reached = torch.Generator().manual_seed(0), 0
    for _ in range(400):
        n, m = (int(torch.randint(low, high, (), generator=draw)) for low, high in ((1, 60), (10, 50)))
        often, alike = torch.rand(2, generator=draw).tolist()
        flipped = torch.rand(n, m, generator=draw) < often * (torch.rand(m, generator=draw) if alike < 0.5 else 1)
        named = torch.rand(n, generator=draw) < 0.5 + 0.5 * alike
        found = compare(named, 0.5 * torch.rand(n, generator=draw), flipped, torch.rand(n, m, generator=draw))
        if found.score >= found.detectable:  # which no score is to NaN
            reached += 1
            assert found.p <= 0.05
    assert reached > 40


def test_who_does_not_lead_does_not_count_whatever_the_tail():
    """One random subspace of a hundred far ahead of the rest: the named one is as strong, and second to it."""
    flipped, change = linear(4, 64, 100, 3)
    found = compare(flipped[:, 0], change[:, 0], flipped[:, 1:], change[:, 1:])
    assert found.leads == (found.rank <= 5)
    few = compare(flipped[:, 0], change[:, 0], flipped[:, 1:11], change[:, 1:11])
    assert few.leads == (few.rank == 1)


def test_the_interval_of_the_difference_covers_over_people_and_controls():
    """Controls of flip rates that vary from 0.1 to 0.5, a named one of 0.6: the true difference is 0.3."""
    draw, covered, runs = torch.Generator().manual_seed(0), 0, 400
    for _ in range(runs):
        rates = 0.1 + 0.4 * torch.rand(20, generator=draw)
        random = torch.rand(64, 20, generator=draw) < rates
        named = torch.rand(64, generator=draw) < 0.6
        low, high = compare(named, torch.zeros(64), random, torch.zeros(64, 20)).difference_interval
        covered += low <= 0.3 <= high
    assert 0.93 <= covered / runs <= 0.99


def test_holm_is_that_of_the_textbook():
    """Holm 1979; NaN is nobody's comparison."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    after = holm([0.02, math.nan, 0.9])
    assert after[0] == pytest.approx(0.04)
    assert math.isnan(after[1])
    assert holm([0.8, 0.9]) == pytest.approx([1.0, 1.0])


def test_a_rate_has_wilsons_interval():
    """0 of n: z^2 / (n + z^2); and a published value, 81 of 263 (Newcombe 1998, table I): 0.2553 to 0.3662."""
    none = proportion(torch.zeros(16, dtype=torch.bool))
    assert (none.rate, none.low, none.high, none.of) == (0, 0, pytest.approx(0.1936, abs=1e-4), 16)
    some = proportion(torch.arange(263) < 81)
    assert (some.low, some.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert math.isnan(proportion(torch.zeros(0, dtype=torch.bool)).rate)


@pytest.mark.parametrize("n,p", [(16, 0.05), (32, 0.1), (64, 0.05), (500, 0.01)])
def test_a_rates_interval_covers(n, p):
    """Exact coverage over the binomial, where percentile bootstraps fall to 0.81 to 0.96, misses all on one side."""
    covered = sum(
        math.comb(n, x) * p**x * (1 - p) ** (n - x)
        for x in range(min(n, 60) + 1)
        if (found := proportion(torch.arange(n) < x)).low <= p <= found.high
    )
    assert covered >= 0.93
