"""One HTML page and its parts: one file, no request to anywhere, light and dark, narrow and wide."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

CSS = """
:root{color-scheme:light dark;--ink:#1e293b;--soft:#475569;--paper:#fff;--line:#dbe2ea;--box:#f4f6f9;--accent:#b93c0a}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf2;--soft:#aab6c5;--paper:#12161d;--line:#333d4b;--box:#1b212b;
--accent:#fb9a5b}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:1rem/1.55 system-ui,sans-serif}
main,header,nav,footer{max-width:62rem;margin:0 auto;padding:0 1rem}
header{padding-top:2rem}h1{margin:0;font-size:1.7rem;line-height:1.2}
.lead{font-size:1.15rem;margin:.6rem 0 1rem;overflow-wrap:anywhere}
h2{margin:2.2rem 0 .6rem;font-size:1.15rem}h3{margin:1.6rem 0 .4rem;font-size:1rem}
nav{font-size:.9rem}nav a{display:inline-block;margin-right:1rem;padding:.2rem 0}a{color:var(--accent)}
a:focus-visible,summary:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
figure{margin:1rem 0}
img{display:block;max-width:100%;height:auto;background:#fff;border-radius:6px}
figcaption{color:var(--soft);font-size:.9rem;margin-top:.3rem}
table{border-collapse:collapse;width:100%;max-width:46rem}
th,td{text-align:left;vertical-align:top;padding:.3rem 1rem .3rem 0;border-bottom:1px solid var(--line);
font-weight:normal;overflow-wrap:anywhere}th{color:var(--soft);width:42%}td{font-variant-numeric:tabular-nums}
pre{background:var(--box);border-radius:6px;padding:.8rem;margin:.5rem 0;white-space:pre-wrap;overflow-wrap:anywhere;
font-size:.85rem}summary{cursor:pointer;padding:.25rem 0}
footer{color:var(--soft);font-size:.85rem;margin-top:3rem;padding-bottom:2rem}
@media print{nav{display:none}}
"""

Section = tuple[str, str]
"""Heading and HTML body."""


def table(rows: Mapping[str, object], caption: str) -> str:
    """Two columns of HTML: name, value.

    Args:
        rows: name -> value.
        caption: what it is, for those who can't see where it stands.

    Returns:
        HTML, escaped.

    Example:
        >>> table({"a < b": 0.12345}, "Figures")
        '<table aria-label="Figures"><tr><th scope="row">a &lt; b</th><td>0.123</td></tr></table>'
    """
    cells = (
        f'<tr><th scope="row">{html.escape(str(name))}</th><td>{html.escape(number(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f'<table aria-label="{html.escape(caption)}">{"".join(cells)}</table>'


def number(value: object) -> str:
    """Floats with three digits, everything else as it is.

    >>> number(0.12345), number(12345)
    ('0.123', '12345')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def picture(data: bytes, alt: str, caption: str = "") -> str:
    """A PNG inside the page.

    Args:
        data: the PNG.
        alt: what it shows, for those who can't see it.
        caption: a line below.

    Returns:
        HTML, escaped.

    Example:
        >>> picture(b"png", "A face")
        '<figure><img alt="A face" src="data:image/png;base64,cG5n"></figure>'
    """
    shown = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{shown}{below}</figure>"


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A self-contained page: title, one sentence, sections with a row of links to them.

    Args:
        title: one line.
        lead: one sentence.
        sections: in order.

    Returns:
        HTML.
    """
    names = [f"s{i}" for i in range(len(sections))]
    links = "".join(
        f'<a href="#{n}">{html.escape(heading)}</a>' for n, (heading, _) in zip(names, sections, strict=True)
    )
    parts = "".join(
        f'<section aria-labelledby="{n}"><h2 id="{n}">{html.escape(heading)}</h2>{body}</section>'
        for n, (heading, body) in zip(names, sections, strict=True)
    )
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><style>{CSS}</style></head><body>
<header><h1>{html.escape(title)}</h1><p class="lead">{html.escape(lead)}</p></header>
<nav aria-label="On this page">{links}</nav><main>{parts}</main>
<footer>Made by ice_lightning {version("ice_lightning")}. This page asks nothing from anywhere.</footer></body></html>
"""


def provenance(command: str, config: str, facts: Mapping[str, object]) -> Section:
    """Settings, where it came from, and how to do it again.

    Args:
        command: that repeats the run, "" for none.
        config: YAML, "" for none.
        facts: where it came from, by headings.

    Returns:
        A section of a page.
    """
    again = f"<p>To do it again:</p><pre>{html.escape(command)}</pre>" if command else ""
    settings = f"<details><summary>config.yaml</summary><pre>{html.escape(config)}</pre></details>" if config else ""
    return "Settings and provenance", again + (table(facts, "Provenance") if facts else "") + settings


SOURCE = {
    "generator": "generator",
    "generator_sha256": "SHA-256 of its file",
    "criterion": "criterion",
    "seed": "people of the search from seed",
    "versions": "found with",
}
"""What a subspace's provenance says, by keys and headings."""


def source_of(made: Mapping[str, Any]) -> dict[str, object]:
    """What a subspace's provenance says, by the headings of SOURCE.

    >>> source_of({"criterion": "hair_color", "seed": 0, "config": {}})
    {'criterion': 'hair_color', 'people of the search from seed': 0}
    """
    facts = {heading: made[key] for key, heading in SOURCE.items() if key in made}
    if "versions" in made:
        facts["found with"] = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return facts
