"""The explorer's page, in Gradio: pictures and scores on one side, the person and the sliders on the other."""

from __future__ import annotations

import base64
import html
import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from itertools import groupby
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ice_lightning.checks import IceError
from ice_lightning.explorer import (
    SEEDS, Drawn, Explorer, archive, difference, drawn, edit, encoded, moves_said, person, pixels,
)  # fmt: skip
from ice_lightning.guard import Guard
from ice_lightning.spreads import POPULATION

CSS = """
.gradio-container{max-width:76rem!important}
#view{position:sticky;top:0;z-index:5;align-self:flex-start;background:var(--body-background-fill)}
.pictures{display:grid;grid-template-columns:2fr 1fr;gap:.4rem}
.pictures figure{position:relative;margin:0;aspect-ratio:1}.pictures .edit{grid-row:span 2}
.pictures img{position:absolute;width:100%;height:100%;object-fit:cover;border-radius:6px}
.pictures figcaption{position:absolute;left:.3rem;bottom:.3rem;padding:0 .4rem;border-radius:4px;font-size:.75rem;
background:#000a;color:#fff}
.scores{width:100%;margin:.5rem 0 0;border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
.scores :is(th,td){padding:.15rem .3rem;border:0;text-align:right;white-space:nowrap}
.scores th{text-align:left;font-weight:400}.scores .bar{width:45%}
.bar div{position:relative;height:.55rem;border-radius:3px;background:var(--border-color-primary)}
.bar i{position:absolute;inset:0 auto 0 0;border-radius:3px;background:var(--body-text-color-subdued)}
.bar b{position:absolute;top:-.15rem;bottom:-.15rem;width:2px;background:var(--body-text-color)}
.scores .flips i{background:#c2410c}.scores .flips :is(th,td){font-weight:600}
"""
LEGEND = (
    f"Sliders count standard deviations of {POPULATION} people along each direction. They end where a change is plain "
    "to see, or at 3."
)
SAVE = """uri => { const a = document.createElement("a"); a.href = uri; a.download = "edit.zip"; a.click() }"""


def uri(data: bytes, kind: str) -> str:
    """A file inside the page."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def view(explorer: Explorer, original: Drawn, shown: Drawn) -> str:
    """Pictures and scores as HTML."""
    pictures = {
        "edit": pixels(shown.image),
        "original": pixels(original.image),
        "difference": difference(shown.image, original.image),
    }
    figures = "".join(
        f'<figure class="{name}"><img decoding="sync" alt="{name} of the person" '
        f'src="{uri(encoded(image, "JPEG", quality=95, subsampling=0), "image/jpeg")}">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, image in pictures.items()
    )
    rows = "".join(
        f'<tr{" class=flips" if (before < 0.5) != (after < 0.5) else ""}>'
        f'<th scope="row">{html.escape(name.replace("_", " "))}</th><td class="bar"><div>'
        f'<i style="width:{100 * after:.1f}%"></i><b style="left:{100 * before:.1f}%"></b></div></td>'
        f"<td>{100 * before:.0f} %</td><td>{100 * after:.0f} %</td></tr>"
        for name, before, after in zip(
            explorer.classifiers, original.scores.tolist(), shown.scores.tolist(), strict=True
        )
    )
    table = f'<table class="scores" aria-label="Probabilities before and after">{rows}</table>' if rows else ""
    return f'<div class="pictures">{figures}</div>{table}'


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose bad input is told on the page in its sentence."""

    @wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except IceError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return call


def page(explorer: Explorer) -> gr.Blocks:
    """The page; its one named endpoint, /frame, takes a picture's name or "", a seed, and the sliders in their order."""
    alone = threading.Lock()  # two frames at once take longer than one after the other
    count = len(explorer.sliders)

    @lru_cache(maxsize=64)
    def original(name: str, seed: int) -> Drawn:
        return drawn(explorer, person(explorer, name, seed))

    def both(name: str, seed: int, moves: tuple[float, ...]) -> tuple[Drawn, Drawn]:
        with alone:
            before = original(name or "", 0 if name else seed)
            return before, drawn(explorer, edit(explorer, before.u, moves))

    @told
    def frame(name: str, seed: int, *moves: float) -> str:
        return view(explorer, *both(name, seed, moves))

    @told
    def preset(name: str, seed: int, moves: str) -> list[Any]:
        index, sign = (int(part) for part in moves.split()) if moves else (0, 0)
        values = [0.0] * count
        values[index] = sign * explorer.sliders[index].visible
        return [frame(name, seed, *values), *values]

    @told
    def another(seed: int, *moves: float) -> tuple[str, int, str]:
        seed = ((seed or 0) + 1) % SEEDS
        return "", seed, frame("", seed, *moves)

    @told
    def saved(name: str, seed: int, *moves: float) -> str:
        said = ", ".join([name or f"seed {seed}", *filter(None, [moves_said(explorer, moves)])])
        return uri(archive(explorer, both(name, seed, moves)[1], said), "application/zip")

    live: Any = {"queue": False, "show_progress": "hidden", "trigger_mode": "always_last"}
    with gr.Blocks(title="ice_lightning explorer", analytics_enabled=False) as blocks, gr.Row():
        with gr.Column(min_width=340):
            shown = gr.HTML(frame("", 0, *[0.0] * count), elem_id="view")
        with gr.Column(min_width=340):
            with gr.Row():
                pictures = [("drawn by seed", ""), *((name, name) for name in explorer.people)]
                name = gr.Dropdown(pictures, value="", label="Person", min_width=120, visible=bool(explorer.people))
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=SEEDS - 1, min_width=120)
                presets = gr.Dropdown(_presets(explorer), value="", label="Preset", min_width=180)
            with gr.Row():
                next_one = gr.Button("Next person", size="sm", min_width=100)
                reset = gr.Button("Reset", size="sm", min_width=100)
                save = gr.Button("Save the edit", size="sm", min_width=100)
            sliders = _sliders(explorer)
            gr.Markdown(LEGEND)
        link = gr.Textbox(visible="hidden")
        inputs = [name, seed, *sliders]
        moving = [name.input, seed.input, *(slider.input for slider in sliders), *(s.release for s in sliders)]
        gr.on(moving, frame, inputs, shown, api_name="frame", **live)
        presets.input(preset, [name, seed, presets], [shown, *sliders], api_visibility="private", **live)
        reset.click(lambda: "", None, presets, api_visibility="private", **live).then(
            preset, [name, seed, presets], [shown, *sliders], api_visibility="private", **live
        )
        next_one.click(another, [seed, *sliders], [name, seed, shown], api_visibility="private", **live)
        save.click(saved, inputs, link, api_visibility="private", **live).then(
            None, link, None, js=SAVE, api_visibility="private"
        )
    return blocks


def _presets(explorer: Explorer) -> list[tuple[str, str]]:
    """Labels and values of the presets: the strongest direction of each subspace, to both sides."""
    firsts = [next(group)[0] for _, group in groupby(enumerate(explorer.sliders), lambda pair: pair[1].subspace)]
    choices = [
        (f"{explorer.sliders[i].name} at {sign * explorer.sliders[i].visible:+.1f}", f"{i} {sign}")
        for i in firsts
        for sign in (-1, 1)
    ]
    return [("none", ""), *choices]


def _sliders(explorer: Explorer) -> list[gr.Slider]:
    """A slider for each direction, folded by subspace."""
    sliders = []
    for number, (subspace, group) in enumerate(groupby(explorer.sliders, lambda slider: slider.subspace)):
        with gr.Accordion(subspace, open=number < 3):
            sliders += [gr.Slider(-s.limit, s.limit, 0, step=0.1, label=s.name, buttons=[]) for s in group]
    return sliders


def serve(explorer: Explorer, port: int, auth: tuple[str, str] | None = None, wait: bool = True) -> gr.Blocks:
    """Answer on 127.0.0.1 until interrupted, or with `wait` off until the returned blocks are closed.

    Args:
        explorer: what to show.
        port: must be free.
        auth: user and password that are asked for.
        wait: see above.
    """
    blocks = page(explorer)
    blocks.launch(
        server_name="127.0.0.1", server_port=port, auth=auth, prevent_thread_lock=not wait, share=False, quiet=True,
        ssr_mode=False, mcp_server=False, pwa=False, enable_monitoring=False, run_history=False, footer_links=[],
        css=CSS, theme=gr.themes.Base(primary_hue="orange", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        app_kwargs={
            "middleware": [
                Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),  # no rebound names
                Middleware(Guard),
            ]
        },
    )  # fmt: skip
    return blocks
