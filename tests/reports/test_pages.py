"""The HTML of runs, parsed: structure, alt texts, no request, contrast."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from ice_lightning.discovery.metrics import DiscoveryMetrics, RunMetrics
from ice_lightning.explanation import ClassifierVerdict, SubspaceVerdict
from ice_lightning.explanation.significance import Significance
from ice_lightning.metrics import Proportion
from ice_lightning.reports import pages
from ice_lightning.reports.page import CSS

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Outline(HTMLParser):
    """Tags in order, with their attributes, and whether each is closed."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.ids = [], [], set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        self.ids |= {given["id"]} if "id" in given else set()
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


RATE = Proportion(0.5, 0.4, 0.6, 20)
RANDOM = Significance(
    score=0.9, p=0.01, rank=1, controls=20, people=20, difference=0.4, difference_interval=(0.2, 0.6),
    random_rates=(0.0, 0.2), random_scores=(0.4, 0.6), detectable=0.7,
)  # fmt: skip
SUBSPACE = SubspaceVerdict(
    criterion="hair_<b>", directions=3, flips=RATE, effort=1.0, controls={"weights": RATE}, significance=RANDOM, p=0.01,
    counts=True, why_not="", slices={"smiling": RATE},
)  # fmt: skip
VERDICT = ClassifierVerdict("often_&<b>", 20, (SUBSPACE,), (0.5,))
FOUND = RunMetrics(DiscoveryMetrics(
    rank=2, eigenvalues=(2.0, 1.0), explained_energy=0.5, explained_energy_error=0.0, leakage={"hair_<b>": 0.1},
    suppressed_rank=1, latent_dim=9, coordinates=9, people_used=8, people_skipped=0, skipped_for_want_of={},
    energy_of_person={}, odd_people=(), stability=None, products_per_person=9, passes=3, residual=0.01,
    stop="converged", stopped_early="",
), {"products": 1.0}, 1.0)  # fmt: skip
COMMAND = "python -m ice_lightning.run 'a<b'"


@pytest.fixture(params=["verdict", "comparison"])
def page(request):
    if request.param == "comparison":
        runs = {"criterion=<b>": FOUND, "criterion=<often>": FOUND}
        return pages.comparison_page(b"png1", runs, dict.fromkeys(runs, "#s0"), "space=<b>", COMMAND)
    return pages.verdict_page([VERDICT], {"often_&<b>": b"png1"}, {("often_&<b>", "hair_<b>"): b"png2"}, COMMAND)


def test_a_page_is_well_formed_and_nothing_is_unescaped(page):
    outline = Outline(page)
    assert outline.open == []
    assert "<b>" not in page
    assert "<often>" not in page
    assert "a&lt;b" in page


def test_a_page_asks_for_nothing(page):
    for _, given in Outline(page).tags:
        for name in ("src", "href"):
            if name in given:
                assert given[name].startswith(("data:", "#"))
    assert "url(" not in CSS
    assert "@import" not in CSS
    assert "<script" not in page


def test_a_reader_who_sees_no_pictures_is_told_what_they_show(page):
    alts = [given["alt"] for tag, given in Outline(page).tags if tag == "img"]
    told = "criterion=<often>" if "<h1>Comparison" in page else "50.0 % (40.0 to 60.0) of 20"
    assert alts and told in alts[0]
    assert all(len(alt) > 20 for alt in alts)


def test_headings_and_links_form_an_outline(page):
    tags, ids = Outline(page).tags, Outline(page).ids
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    targets = [given["href"].removeprefix("#") for tag, given in tags if tag == "a"]
    assert targets
    assert set(targets) <= ids
    assert ("html", {"lang": "en"}) in tags


def luminance(colour):
    """Of #rgb or #rrggbb (WCAG 2.2, relative luminance)."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_can_be_read_in_light_and_dark():
    light, dark = (dict(re.findall(r"--(\w+):(#\w+)", part)) for part in CSS.split("prefers-color-scheme:dark"))
    for name, theme in (("light", light), ("dark", dark)):
        for text in ("ink", "soft", "accent"):
            for ground in ("paper", "box"):
                one, two = sorted((luminance(theme[text]), luminance(theme[ground])))
                assert (two + 0.05) / (one + 0.05) >= 4.5, f"{text} on {ground}, {name}"
