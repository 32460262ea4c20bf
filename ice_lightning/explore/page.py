"""The explorer's page, in Gradio: pictures and scores on one side, the person and the sliders on the other."""

from __future__ import annotations

import base64
import html
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from itertools import groupby
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ice_lightning.checks import IceError, one_of
from ice_lightning.explore.guard import Guard
from ice_lightning.explore.model import (
    SEEDS,
    Drawn,
    Explorer,
    archive,
    caption,
    check_person,
    drawn,
    edit,
    encoded,
    person,
    pixels,
    state,
)
from ice_lightning.explore.own import Background
from ice_lightning.population import POPULATION
from ice_lightning.reports.figures import difference
from ice_lightning.wording import percent, words

CSS = """
.gradio-container{max-width:76rem!important;margin:0 auto!important;overflow:visible!important}
.app{padding:.5rem clamp(.6rem,3vw,2rem)!important}
@media (min-height:600px){#side{position:sticky;top:0;z-index:100;align-self:flex-start;padding:.5rem 0;
background:var(--body-background-fill)}}
#view .html-container{padding:0!important}
.pictures{display:grid;grid-template-columns:repeat(3,1fr);gap:.4rem}
.pictures figure{position:relative;margin:0;aspect-ratio:1}.pictures .edit{grid-area:span 2/span 2}
.pictures img{position:absolute;width:100%;height:100%;margin:0;object-fit:cover;border-radius:6px}
.pictures figcaption{position:absolute;left:.3rem;bottom:.3rem;padding:0 .4rem;border-radius:4px;font-size:.75rem;
background:#000a;color:#fff}
.scores{width:100%;margin:.4rem 0 0;border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
.scores :is(th,td){padding:.1rem .2rem;text-align:right;white-space:nowrap}
.scores th{text-align:left!important;font-weight:400}
.scores thead{color:var(--body-text-color-subdued);font-size:.75rem}
.scores .bar{width:45%}.bar div{position:relative;height:.5rem;border-radius:3px;background:var(--border-color-primary)}
.bar i{position:absolute;inset:0 auto 0 0;border-radius:3px;background:var(--body-text-color-subdued)}
.bar b{position:absolute;top:-.15rem;bottom:-.15rem;width:2px;background:var(--body-text-color)}
input[type=range]::-webkit-slider-runnable-track{background:var(--border-color-primary)!important}
input[type=range]::-webkit-slider-thumb{background:var(--color-accent)!important}
input[type=range]::-moz-range-progress{background:none!important}
input[type=range]::-moz-range-thumb{background:var(--color-accent)!important}
.scores .flips i{background:var(--color-accent)}.scores .flips :is(th,td){font-weight:600}
"""
LEGEND = (
    f"Sliders count standard deviations of {POPULATION} people along each direction. They end where a change is plain "
    "to see, or at 3. A person moves along the average's directions until their own are found, and then on held paths "
    "along these, on which what the criterion suppresses stays still."
)
THEME = gr.themes.Base(
    primary_hue="orange", spacing_size="sm", radius_size="md", font=["system-ui", "sans-serif"], font_mono=["monospace"]
).set(body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_400")  # Gradio's own are too pale
LOOKS = 1.0
"""Seconds after which the page asks whether somebody moves in another way by now."""
NO_PRESET = "none"
"""The preset that leaves all sliders at 0."""
SAVE = """uri => { const a = document.createElement("a"); a.href = uri; a.download = "edit.zip"; a.click() }"""
"""JavaScript that offers the zip file of an address for download."""


def uri(data: bytes, kind: str) -> str:
    """An address that holds a whole file (RFC 2397).

    Args:
        data: the file's content.
        kind: its media type.

    Returns:
        data:...

    Example:
        >>> uri(b"hi", "text/plain")
        'data:text/plain;base64,aGk='
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def view(explorer: Explorer, original: Drawn, shown: Drawn, state: str = "") -> str:
    """Pictures and scores as HTML.

    Args:
        explorer: what is shown.
        original: a person.
        shown: the same person, moved.
        state: how they were moved, which stands on the edit; "" for nothing to say.

    Returns:
        Elements of a page, without its head.
    """
    pictures = {
        "edit": pixels(shown.image),
        "original": pixels(original.image),
        "difference": difference(shown.image, original.image),
    }
    mark = f" <b>{html.escape(words(state))}</b>" if state else ""
    figures = "".join(
        f'<figure class="{name}"><img decoding="sync" alt="{name} of the person" '
        f'src="{uri(encoded(image, "JPEG", quality=95, subsampling=0), "image/jpeg")}">'
        f"<figcaption>{name}{mark if name == 'edit' else ''}</figcaption></figure>"
        for name, image in pictures.items()
    )
    rows = "".join(
        f"<tr{' class=flips' if (before < 0.5) != (after < 0.5) else ''}>"
        f'<th scope="row">{html.escape(words(name))}</th><td class="bar"><div>'
        f'<i style="width:{100 * after:.1f}%"></i><b style="left:{100 * before:.1f}%"></b></div></td>'
        f"<td>{percent(before)} %</td><td>{percent(after)} %</td></tr>"
        for name, before, after in zip(
            explorer.classifiers, original.scores.tolist(), shown.scores.tolist(), strict=True
        )
    )
    head = "<th>probability of</th><td></td><td>before</td><td>after</td>"
    table = f'<table class="scores"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>' if rows else ""
    return f'<div class="pictures">{figures}</div>{table}'


def shows_user_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose IceError is raised as the gr.Error that appears on the page."""

    @wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except IceError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return call


def page(explorer: Explorer) -> gr.Blocks:
    """The page; its endpoint /frame takes a picture's name or "", a seed, and a value for each slider, in order."""
    one_at_a_time = threading.Lock()  # two frames at once take longer than one after the other
    background = Background(explorer.finders) if explorer.finders else None
    presets = _presets(explorer)
    zeros = [0.0] * len(explorer.sliders)

    @lru_cache(maxsize=64)
    def original(name: str, seed: int) -> Drawn:
        return drawn(explorer, person(explorer, name, seed))

    def both(name: Any, seed: Any, moves: Sequence[Any]) -> tuple[Drawn, Drawn, str]:
        with one_at_a_time:
            before = original(*(who := check_person(explorer, name, seed)))
            known = background.of(who, before.u) if background else None
            how = state(explorer, moves, known)
            return before, drawn(explorer, edit(explorer, before.u, moves, known)), how

    @shows_user_errors
    def frame(name: Any, seed: Any, *moves: Any) -> str:
        return view(explorer, *both(name, seed, moves))

    @shows_user_errors
    def refresh(name: Any, seed: Any, *rest: Any) -> tuple[Any, Any]:
        """Another frame where somebody moves in another way than `rest[0]` says by now."""
        seen, *moves = rest
        if background is None or seed is None:
            return gr.skip(), gr.skip()
        who = check_person(explorer, name, seed)
        how = state(explorer, moves, background.of(who, person(explorer, *who), first=False))
        if how == seen:
            return gr.skip(), gr.skip()
        before, shown, how = both(name, seed, moves)
        return view(explorer, before, shown, how), how

    @shows_user_errors
    def set_all(name: Any, seed: Any, preset: Any) -> list[Any]:
        values = presets[one_of("preset", preset, presets)]
        return [frame(name, seed, *values), *values]

    @shows_user_errors
    def clear(name: Any, seed: Any) -> list[Any]:
        return [frame(name, seed, *zeros), NO_PRESET, *zeros]

    @shows_user_errors
    def by_seed(seed: Any, *moves: Any) -> tuple[Any, Any]:
        return (gr.skip(), gr.skip()) if seed is None else (frame("", seed, *moves), "")  # None while it is typed

    @shows_user_errors
    def following(seed: Any, *moves: Any) -> tuple[str, str, int]:
        seed = (check_person(explorer, "", seed)[1] + 1) % SEEDS
        return frame("", seed, *moves), "", seed

    @shows_user_errors
    def saved(name: Any, seed: Any, *moves: Any) -> str:
        shown = both(name, seed, moves)[1]
        title = ", ".join([name or f"seed {seed}", *filter(None, [caption(explorer, moves)])])
        return uri(archive(explorer, shown, title), "application/zip")

    # No preprocessing: Gradio's own follows paths and addresses in what it is sent. Each function checks its values.
    quick: Any = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last", "preprocess": False}
    undocumented: Any = {**quick, "api_visibility": "undocumented"}
    private: Any = {**quick, "api_visibility": "private"}
    with gr.Blocks(title="ice_lightning explorer", analytics_enabled=False) as blocks, gr.Row():
        with gr.Column(min_width=340, elem_id="side"):
            shown = gr.HTML(frame("", 0, *zeros), elem_id="view", apply_default_css=False)
        with gr.Column(min_width=340):
            with gr.Row():
                names = [("by seed", ""), *((name, name) for name in explorer.people)]
                name = gr.Dropdown(names, value="", label="Person", min_width=150, visible=bool(explorer.people))
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=SEEDS - 1, min_width=100)
                preset = gr.Dropdown(list(presets), value=NO_PRESET, label="Preset", min_width=220)
            with gr.Row():
                next_one = gr.Button("Next person", size="sm", min_width=80)
                reset = gr.Button("Reset", size="sm", min_width=80)
                save = gr.Button("Save the edit", size="sm", min_width=80)
            sliders = _sliders(explorer)
            gr.Markdown(LEGEND)
        link = gr.Textbox(visible="hidden")
        how = gr.Textbox(visible="hidden")
        choice = [name, seed]
        moving = [name.select, *(slider.input for slider in sliders)]
        gr.on(moving, frame, [*choice, *sliders], shown, api_name="frame", **undocumented)
        seed.input(by_seed, [seed, *sliders], [shown, name], **private)
        preset.select(set_all, [*choice, preset], [shown, *sliders], **private)
        reset.click(clear, choice, [shown, preset, *sliders], **private)
        next_one.click(following, [seed, *sliders], [shown, *choice], **private)
        save.click(saved, [*choice, *sliders], link, **private).then(
            None, link, None, js=SAVE, api_visibility="private"
        )
        if background:
            tick = gr.Timer(LOOKS).tick
            tick(refresh, [*choice, how, *sliders], [shown, how], api_name="refresh", **undocumented)
    return blocks


def _presets(explorer: Explorer) -> dict[str, list[float]]:
    """Values of all sliders by name: the strongest direction of each subspace, either way to where it is visible."""
    presets = {NO_PRESET: [0.0] * len(explorer.sliders)}
    for _, group in groupby(enumerate(explorer.sliders), lambda pair: pair[1].subspace):
        i, slider = next(group)
        for move in (-slider.visible, slider.visible):
            presets[f"{slider.name} at {move:+g}"] = [move if j == i else 0.0 for j in range(len(explorer.sliders))]
    return presets


def _sliders(explorer: Explorer) -> list[gr.Slider]:
    """A slider for each direction, folded by subspace."""
    sliders = []
    for number, (subspace, group) in enumerate(groupby(explorer.sliders, lambda slider: slider.subspace)):
        with gr.Accordion(subspace, open=number < 3):
            sliders += [gr.Slider(-s.limit, s.limit, 0, step=0.1, label=s.name, buttons=[]) for s in group]
    return sliders


def serve(explorer: Explorer, port: int, auth: tuple[str, str] | None = None, wait: bool = True) -> gr.Blocks:
    """Serve the page on 127.0.0.1.

    Args:
        explorer: what to show.
        port: must be free.
        auth: user and password that are asked for; None lets in everyone on this machine.
        wait: until interrupted; else the page is served until the returned blocks are closed.

    Returns:
        The page, which is served until it is closed.
    """
    blocks = page(explorer)
    blocks.launch(
        server_name="127.0.0.1", server_port=port, auth=auth, prevent_thread_lock=not wait, share=False, quiet=True,
        ssr_mode=False, mcp_server=False, pwa=False, enable_monitoring=False, run_history=False, footer_links=[],
        css=CSS, theme=THEME,
        app_kwargs={
            "middleware": [
                Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),  # no rebound names
                Middleware(Guard),
            ]
        },
    )  # fmt: skip
    return blocks
