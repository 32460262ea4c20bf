"""The HTML pages of runs.

A page reads as its answer first (a sentence, a figure, pictures), then evidence, then settings and where it came from.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from ice_lightning.discovery.metrics import DiscoveryMetrics, RunMetrics
from ice_lightning.edits import Moved
from ice_lightning.explanation.metrics import ExplanationMetrics
from ice_lightning.explanation.verdict import BUDGET, ClassifierVerdict, SubspaceVerdict
from ice_lightning.metrics import Proportion
from ice_lightning.reports.page import number, page, picture, provenance, table
from ice_lightning.solvers.stability import Stability
from ice_lightning.wording import percent, words


def energy_text(metrics: DiscoveryMetrics) -> str:
    """The explained energy, with its standard error where part of it is estimated."""
    share, error = metrics.explained_energy, metrics.explained_energy_error
    return f"{share:.3g}" + (f" ± {error:.1g}" if error else "")


def stability_text(stability: Stability | None) -> str:
    """By how much halves of the people disagree, in words.

    >>> stability_text(Stability((2.0, 40.0), 4))
    'subspaces of halves of 4 people differ by 2° where they agree most, by 40° in the next pair'
    """
    if stability is None:
        return "not measured: fewer than 8 people"
    first, *more = stability.angles
    others = "".join(f", by {angle:.0f}° in the next pair" for angle in more)
    halves = f"halves of {stability.people_per_half} people"
    return f"subspaces of {halves} differ by {first:.0f}° where they agree most{others}"


def rate_text(share: Proportion) -> str:
    """A rate, its interval and denominator in words.

    >>> rate_text(Proportion(0.995, 0.972, 0.9991, 200))
    '99.5 % (97.2 to 99.9) of 200'
    """
    return f"{percent(share.rate, 1)} % ({percent(share.low, 1)} to {percent(share.high, 1)}) of {share.of}"


SHOWN = {
    "traversal": "Four people in rows, the original framed in the middle, the strongest direction to both sides; "
    "on the right, what changed.",
    "spectrum": "Energy of each direction; in colour those that are kept.",
    "people": "How much each person contributes, and by how much halves of the people disagree.",
}
"""What the pictures of a discovery show."""
OWN = (
    "Four people in rows, the original framed in the middle, each along their own strongest direction to both sides, "
    "to where the change is plain to see; on the right, what changed."
)
"""The same of a traversal whose people have directions of their own."""


def discovery_page(
    name: str,
    description: str,
    pictures: Mapping[str, bytes],
    metrics: RunMetrics,
    config: str,
    source: Mapping[str, object] | None = None,
    command: str = "",
    moved: Sequence[Moved] = (),
) -> str:
    """The page of a discovery run.

    Args:
        name: of the criterion.
        description: one line.
        pictures: traversal, spectrum, people -> PNG.
        metrics: as in metrics.json.
        config: YAML that repeats the run.
        source: where it came from, by headings.
        command: that repeats the run.
        moved: people along directions of their own in the traversal; none where they move along the average's.

    Returns:
        HTML.
    """
    found = metrics.found
    captions = SHOWN | ({"traversal": OWN} if moved else {})
    facts = {
        "directions kept": found.rank,
        "directions cut off": f"{found.suppressed_rank} of {found.coordinates} coordinates that may move",
        "energy kept": energy_text(found),
        "people used": found.people_used,
        "people left out": ", ".join(f"{n} for want of {what}" for what, n in found.skipped_for_want_of.items())
        or "none",
        "odd people": ", ".join(map(str, found.odd_people)) or "none",
        "stability": stability_text(found.stability),
        "search": f"{found.products_per_person} products a person in {found.passes} passes"
        + (f"; {found.stopped_early}" if found.stopped_early else ""),
        "peak memory": f"{metrics.peak_memory_mb:.0f} MB",
    }
    seconds = {stage: f"{value:.1f} s" for stage, value in metrics.seconds.items()}
    drawn = {key: picture(data, f"{name}: {captions[key]}", captions[key]) for key, data in pictures.items()}
    leakage = "The worst direction's share of a suppressed term's largest energy."
    evidence = drawn.get("spectrum", "") + drawn.get("people", "") + table(facts, "What was found")
    evidence += f"<h3>Leakage</h3><p>{leakage}</p>{table(found.leakage, 'Leakage')}"
    evidence += f"<h3>Time</h3>{table(seconds, 'Seconds by stage')}"
    lead = f"{description} {found.rank} directions from {found.people_used} people."
    sections = [("What it changes", drawn.get("traversal", "") + moved_table(moved)), ("Evidence", evidence)]
    return page(words(name), lead, [*sections, provenance(command, config, source or {})])


def moved_table(moved: Sequence[Moved]) -> str:
    """How people's own first directions came out, a line for each; "" for nobody."""
    if not moved:
        return ""
    rows = {f"person {i}, from the top": moved_text(each) for i, each in enumerate(moved)}
    about = (
        "How near what a person's own direction changes is to what the average's does (1 is the same), how far what is "
        "activated moves by what is suppressed, each in deviations, and the residual of the search."
    )
    return f"<h3>Their own directions</h3><p>{about}</p>{table(rows, 'Their own directions')}"


def moved_text(moved: Moved) -> str:
    """A person's own direction, in words.

    >>> moved_text(Moved(1.2, True, "", 0.98, 5.1, 0.08, None))
    'agreement 0.98; 5.1 times as far; residual 0.08; drawn to ±1.2'
    >>> moved_text(Moved(1.2, False, "a finite image", None, None, None, None))
    "the average's direction, for want of a finite image; drawn to ±1.2"
    """
    drawn = f"drawn to ±{moved.strength:.2g}"
    if moved.agreement is None or moved.residual is None:
        return f"the average's direction, for want of {moved.why}; {drawn}"
    far = "nothing suppressed moves" if moved.clean is None else f"{moved.clean:.2g} times as far"
    return f"agreement {moved.agreement:.2f}; {far}; residual {moved.residual:.2g}; {drawn}"


def comparison_page(
    data: bytes, found: Mapping[str, RunMetrics], links: Mapping[str, str], shared: str, command: str = ""
) -> str:
    """The page of a sweep of discoveries.

    Args:
        data: PNG of every run's strongest direction on the same person.
        found: what tells a run from the others -> its metrics.json.
        links: the same -> where its own page lies, from this one.
        shared: the settings that they have in common.
        command: that repeats the sweep.

    Returns:
        HTML.
    """
    caption = "The strongest direction of each run, to both sides of the same person, whom none of the searches saw."
    body = ""
    for name, metrics in found.items():
        facts = {
            "directions kept": metrics.found.rank,
            "energy kept": energy_text(metrics.found),
            "worst leakage": max(metrics.found.leakage.values(), default=0.0),
            "people used": metrics.found.people_used,
            "stability": stability_text(metrics.found.stability),
            "seconds": f"{sum(metrics.seconds.values()):.0f}",
        }
        label = html.escape(name)
        body += f'<h3><a href="{html.escape(links[name])}">{label}</a></h3>{table(facts, name)}'
    lead = f"{len(found)} runs side by side" + (f", all with {shared}." if shared else ".")
    seen = picture(data, f"{caption} Runs: {', '.join(found)}.", caption)
    return page("Comparison", lead, [("What each changes", seen), ("Run by run", body), provenance(command, "", {})])


UNSLICED = "Not looked at, since the subspace doesn't count as a whole."


def against_random(found: SubspaceVerdict) -> dict[str, object]:
    """How a subspace fares against whole random ones, by headings."""
    random = found.significance
    if random is None:
        return {"against random subspaces": found.why_not}
    low, high = random.difference_interval
    interval = "" if math.isnan(low) else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    needed = "" if math.isnan(random.detectable) else f"; {random.detectable:.2f} would have counted"
    verdict = "counts" if found.counts else "does not count"
    spread = f"{percent(min(random.random_rates))} to {percent(max(random.random_rates))} %"
    return {
        "against random subspaces": f"{verdict}: {found.why_not}" if found.why_not else verdict,
        "score against them": f"{random.score:.2f} (chance is 0.5{needed})",
        "p": "none" if math.isnan(found.p) else f"{found.p:.2g}",
        "rank": f"{random.rank} of {random.controls + 1}, on {random.people} people",
        "random subspaces flip": f"{percent(random.random_rate, 1)} % in the mean, {spread}",
        "difference to their mean": f"{100 * random.difference:+.1f} points{interval}",
    }


def explanation_page(
    title: str,
    lead: str,
    pictures: Mapping[str, bytes],
    metrics: ExplanationMetrics,
    config: str,
    source: Mapping[str, object] | None = None,
    command: str = "",
) -> str:
    """The page of an explanation run.

    Args:
        title: one line.
        lead: one sentence.
        pictures: caption -> PNG.
        metrics: as in metrics.json.
        config: YAML that repeats the run.
        source: where it came from, by headings.
        command: that repeats the run.

    Returns:
        HTML.
    """
    found, unknown = metrics.found, metrics.unknown
    left_out = f"{len(unknown)} without a finite score: {', '.join(map(str, unknown))}" if unknown else "none"
    rates: dict[str, object] = {"flipped": rate_text(found.flips), "people left out": left_out}
    rates |= against_random(found)
    if (own := found.own) is not None and own.residual is not None:
        rates["own directions"] = own.sentence
        rates["their residual, and agreement with the average's"] = (
            f"{own.residual:.2g} and {own.agreement:.2f} in the median"
        )
    if (clean := found.clean) is not None:
        chance = "" if clean.random is None else f"; random subspaces {percent(clean.random, 1)} %"
        rates["clean: nothing else moved"] = rate_text(clean.named) + chance
        if clean.excess is not None and clean.own is not None:
            far = f"{clean.excess:.2g} deviations in the median, the own change {clean.own:.2g}"
            rates["what moved most beside it"] = f"{clean.reading} most often; {far}"
        rates |= {f"clean, control: {name}": rate_text(each) for name, each in clean.controls.items()}
    if found.held is not None:
        rates["flips that are held moves"] = rate_text(found.held)
    rates |= {f"control: {name}": rate_text(each) for name, each in found.controls.items()}
    measured = {
        words(name): f"{number(each.value)} ({each.over}: {each.of})" for name, each in metrics.measured.items()
    }
    caption = "Originals beside their counterfactuals and what differs, from the least effort to the greatest."
    shown = "".join(picture(data, f"{title}: {caption}", caption) for data in pictures.values())
    shown = shown or "<p>Nobody flips.</p>"
    slices = {name: rate_text(each) for name, each in found.slices.items()}
    evidence = table(rates, "How many change sides")
    parts = table(slices, "In parts of the population") if slices else f"<p>{UNSLICED}</p>"
    evidence += f"<h3>In parts of the population</h3>{parts}"
    evidence += f"<h3>What changes with it</h3>{table(measured, 'What changes with it')}"
    sections = [("Who changes sides, and how", shown), ("Evidence", evidence)]
    return page(title, lead, [*sections, provenance(command, config, source or {})])


def verdict_page(
    judged: Sequence[ClassifierVerdict],
    pictures: Mapping[str, bytes],
    people: Mapping[tuple[str, str], bytes] | None = None,
    command: str = "",
) -> str:
    """The page of a sweep's verdicts.

    Args:
        judged: a verdict for each classifier.
        pictures: classifier -> PNG of its bars.
        people: (classifier, criterion) -> PNG of its counterfactuals.
        command: that judges again.

    Returns:
        HTML.
    """
    sections = []
    for each in judged:
        name = each.classifier
        bars = "; ".join(f"{words(s.criterion)} {rate_text(s.flips)}" for s in each.subspaces)
        caption = (
            "Share of people who flip, with 95 % intervals, each random subspace a dot, in colour what does more than "
            "these; how often it beats one of them, beside what they score; and what several reach together."
        )
        body = "" if len(judged) == 1 else f"<p>{html.escape(each.sentence)}</p>"  # the only one leads the page
        body += picture(pictures[name], f"Flip rates of {name}: {bars}", caption)
        for subspace in each.subspaces:
            body += subspace_part(name, subspace, (people or {}).get((name, subspace.criterion)))
        if (rest := each.unexplained) is not None:
            body += (
                f"<p>Within an image change of {BUDGET:g} (root mean square), {html.escape(rate_text(rest))} "
                "people flip only where every coordinate may move: nothing that was named explains these.</p>"
            )
        sections.append((words(name), body))
    lead = " ".join(each.sentence for each in judged) if len(judged) == 1 else "What each classifier looks at."
    return page("Verdict", lead, [*sections, provenance(command, "", {})] if command else sections)


def subspace_part(classifier: str, found: SubspaceVerdict, shown: bytes | None) -> str:
    """What a verdict's page says of one subspace.

    Args:
        classifier: its name.
        found: within the subspace.
        shown: PNG of counterfactuals, drawn where the subspace counts; None where there is none.

    Returns:
        HTML.
    """
    criterion = words(found.criterion)
    heading, body = html.escape(criterion), ""
    if shown is not None and found.counts:
        caption = f"{classifier}: who flips with {criterion}, from the least effort to the greatest."
        body = f"<h3>With {heading}</h3>" + picture(shown, caption, caption)
    rates: dict[str, object] = {"everyone": rate_text(found.flips), **against_random(found)}
    rates |= {part: rate_text(each) for part, each in found.slices.items()}
    rates |= {f"control: {control}": rate_text(each) for control, each in found.controls.items()}
    return body + f"<details><summary>{heading}, in numbers</summary>{table(rates, found.criterion)}</details>"
