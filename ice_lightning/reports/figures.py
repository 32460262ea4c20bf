"""Figures, in one style, from arrays and numbers alone."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ice_lightning.explanation.verdict import ClassifierVerdict
from ice_lightning.wording import words

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "savefig.dpi": 110,
}
ACCENT, MUTED, INK = "#c2410c", "#94a3b8", "#1e293b"
FULL_CHANGE = 0.6
"""RGB distance that a difference map draws in its brightest colour."""
COLOURS = "magma"
"""Of difference maps, see matplotlib's colormaps."""


def traversal(
    images: Tensor, headings: Sequence[str], title: str, labels: Sequence[str] = (), marks: Sequence[Sequence[str]] = ()
) -> Figure:
    """People in rows, strengths in columns, the original in the middle, a difference map beside.

    Args:
        images: (N, K, 3, H, W) in 0..1; column K // 2 is the original.
        headings: (K,) of the columns.
        title: one line.
        labels: (N,) of the rows, each of a line or several; none where the rows need no name.
        marks: (N, K), a word in a dashed frame on each image that needs one, "" on others; none where none does.

    Returns:
        A figure.
    """
    n, k = images.shape[:2]
    margin = max((0.085 * len(line) + 0.15 for label in labels for line in label.splitlines()), default=0.0)
    width, height = 1.5 * (k + 1) + 0.9 + margin, 1.5 * n + 0.95
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        grid = figure.add_gridspec(
            n, k + 2, width_ratios=[1] * (k + 1) + [0.09], wspace=0.04, hspace=0.04,
            left=(margin + 0.1) / width, right=0.93, bottom=0.01, top=1 - 0.85 / height,
        )  # fmt: skip
        figure.suptitle(verbatim(title), x=0.1 / width, ha="left", fontweight="bold", fontsize=13)
        for row in range(n):
            cells = [figure.add_subplot(grid[row, column]) for column in range(k + 1)]
            shown = _faces(cells, images[row])
            for axes, mark in zip(cells, marks[row] if marks else (), strict=False):
                _mark(axes, mark)
            if row == 0:
                for axes, heading in zip(cells, [*headings, "difference"], strict=True):
                    axes.set_title(heading, fontsize=11, fontweight="normal")
            if labels:
                cells[0].set_ylabel(verbatim(labels[row]), rotation=0, ha="right", va="center", labelpad=6)
        bar = figure.colorbar(shown, cax=figure.add_subplot(grid[:, k + 1]))
        bar.outline.set_visible(False)
        bar.ax.set_ylabel("RGB distance, first to last", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    return figure


def headings(strengths: Sequence[float]) -> list[str]:
    """What stands above the columns of a traversal whose middle is the original.

    >>> headings([-1.5, 0.0, 1.5])
    ['-1.5', 'original', '+1.5']
    """
    return ["original" if i == len(strengths) // 2 else f"{s:+.3g}" for i, s in enumerate(strengths)]


def overview(tiles: Mapping[str, Tensor], title: str, columns: int = 2) -> Figure:
    """Many subspaces at a glance: under each name one person, to both sides of the original, and the difference.

    Args:
        tiles: name -> (K, 3, H, W) in 0..1; image K // 2 is the original. All have the same K.
        title: one line.
        columns: tiles side by side.

    Returns:
        A figure.
    """
    k = len(next(iter(tiles.values())))
    rows = -(-len(tiles) // columns)
    width, height = columns * (1.2 * (k + 1) + 0.3), 1.5 * rows + 0.5
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        figure.suptitle(verbatim(title), x=0.1 / width, ha="left", fontweight="bold", fontsize=13)
        outer = figure.add_gridspec(
            rows, columns, wspace=0.05, hspace=0.28, left=0.1 / width, right=1 - 0.1 / width, bottom=0.1 / height,
            top=1 - 0.75 / height,
        )  # fmt: skip
        for index, (name, images) in enumerate(tiles.items()):
            inner = outer[index // columns, index % columns].subgridspec(1, k + 1, wspace=0.04)
            cells = [figure.add_subplot(inner[0, column]) for column in range(k + 1)]
            _faces(cells, images)
            cells[0].set_title(verbatim(name), loc="left", fontsize=11)
    return figure


def rows(pictures: Sequence[tuple[str, Tensor]], title: str) -> Figure:
    """Pictures of several sources one below another.

    Args:
        pictures: the name of a row, and its pictures (K, 3, H, W) in 0..1. All rows have the same K.
        title: one line.

    Returns:
        A figure.
    """
    n, k = len(pictures), len(pictures[0][1])
    margin = max(0.085 * len(name) + 0.25 for name, _ in pictures)
    width, height = k + margin + 0.1, n + 0.6
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        figure.suptitle(verbatim(title), x=0.1 / width, ha="left", fontweight="bold", fontsize=13)
        grid = figure.add_gridspec(
            n, k, wspace=0.04, hspace=0.04, left=margin / width, right=1 - 0.1 / width, bottom=0.1 / height,
            top=1 - 0.5 / height,
        )  # fmt: skip
        for row, (name, images) in enumerate(pictures):
            cells = [figure.add_subplot(grid[row, column]) for column in range(k)]
            for axes, image in zip(cells, images, strict=True):
                axes.imshow(image.permute(1, 2, 0).cpu().numpy())
                _frame(axes, None)
            cells[0].set_ylabel(verbatim(name), rotation=0, ha="right", va="center", labelpad=6)
    return figure


def _faces(cells: Sequence[Any], images: Tensor) -> Any:
    """One person's images (K, 3, H, W) in K cells, the original framed, and in the last cell what changed."""
    for index, (axes, image) in enumerate(zip(cells, images, strict=False)):
        axes.imshow(image.permute(1, 2, 0).cpu().numpy())
        _frame(axes, ACCENT if index == len(images) // 2 else None)
    _frame(cells[-1], None)
    return _difference_map(cells[-1], images[0], images[-1])


def rgb_distance(first: Tensor, last: Tensor) -> NDArray[np.float32]:
    """By how much each pixel differs.

    Args:
        first: (3, H, W) in 0..1.
        last: the same.

    Returns:
        (H, W), from 0 to the root of 3.

    Example:
        >>> import torch
        >>> float(rgb_distance(torch.zeros(3, 1, 1), torch.tensor([[[0.3]], [[0.4]], [[0.0]]]))[0, 0].round(3))
        0.5
    """
    distance: NDArray[np.float32] = (last - first).square().sum(0).sqrt().cpu().numpy()
    return distance


def difference(first: Tensor, last: Tensor) -> NDArray[np.uint8]:
    """A difference map as an image, in the colours of all of them.

    Args:
        first: (3, H, W) in 0..1.
        last: the same.

    Returns:
        (H, W, 3).

    Example:
        >>> import torch
        >>> difference(torch.zeros(3, 1, 1), torch.zeros(3, 1, 1)).tolist()
        [[[0, 0, 3]]]
    """
    shades = matplotlib.colormaps[COLOURS](rgb_distance(first, last) / FULL_CHANGE, bytes=True)
    return np.ascontiguousarray(shades[..., :3])


def _difference_map(axes: Any, first: Tensor, last: Tensor) -> Any:
    """Draw what differs between two images (3, H, W)."""
    return axes.imshow(rgb_distance(first, last), cmap=COLOURS, vmin=0, vmax=FULL_CHANGE)


def _frame(axes: Any, colour: str | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(colour is not None)
        spine.set_color(colour or "none")
        spine.set_linewidth(2.5)


def _mark(axes: Any, mark: str) -> None:
    """A word in a dashed frame, unless it is ""."""
    if mark:
        _frame(axes, ACCENT)
        for spine in axes.spines.values():
            spine.set_linestyle((0, (3, 2)))
        axes.text(
            0.5, 0.03, verbatim(mark), transform=axes.transAxes, ha="center", va="bottom", fontsize=8, color="white",
            bbox={"facecolor": ACCENT, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip


def counterfactuals(
    pairs: Tensor, labels: Sequence[str], title: str, columns: int = 2,
    headings: Sequence[str] = ("original", "counterfactual", "difference"),
) -> Figure:  # fmt: skip
    """People beside their counterfactuals and what differs, several people in a row.

    Args:
        pairs: (N, 2, 3, H, W) in 0..1: original, counterfactual.
        labels: (N,) under the people.
        title: one line.
        columns: people in a row.
        headings: of the three images of a person.

    Returns:
        A figure.
    """
    rows = -(-len(pairs) // columns)
    width, height = columns * 5.0 + 0.2, rows * 1.95 + 0.85
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        figure.suptitle(verbatim(title), x=0.1 / width, ha="left", fontweight="bold", fontsize=13)
        outer = figure.add_gridspec(
            rows, columns, wspace=0.05, hspace=0.24, left=0.1 / width, right=1 - 0.1 / width, bottom=0.3 / height,
            top=1 - 0.7 / height,
        )  # fmt: skip
        for index, pair in enumerate(pairs):
            inner = outer[index // columns, index % columns].subgridspec(1, 3, wspace=0.03)
            cells = [figure.add_subplot(inner[0, column]) for column in range(3)]
            for axes, image in zip(cells, pair, strict=False):
                axes.imshow(image.permute(1, 2, 0).cpu().numpy())
            _difference_map(cells[2], pair[0], pair[1])
            for axes in cells:
                _frame(axes, None)
            cells[0].set_xlabel(labels[index], loc="left", fontsize=10)
            if index < columns:
                for axes, heading in zip(cells, headings, strict=True):
                    axes.set_title(heading, fontsize=10, fontweight="normal")
    return figure


def verdict(judged: ClassifierVerdict) -> Figure:
    """Flip rates of the named subspaces and of random ones; how often the former beat the latter; what they reach.

    Args:
        judged: of one classifier.
    """
    subspaces = judged.subspaces
    names = [words(each.criterion) for each in subspaces]
    places = list(range(len(names)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 2.1 + 0.55 * len(names)), layout="constrained")
        figure.suptitle(
            verbatim(f"What {judged.classifier} looks at"), x=0.01, ha="left", fontweight="bold", fontsize=13
        )
        left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=[2.1, 1.2, 0.9])
        colours = [ACCENT if each.counts else MUTED for each in subspaces]
        left.barh(places, [100 * each.flips.rate for each in subspaces], color=colours, height=0.6)
        for place, each in zip(places, subspaces, strict=True):
            left.plot([100 * bound for bound in (each.flips.low, each.flips.high)], [place] * 2, color="black", lw=1.5)
        for control, (marker, label) in {
            "weights": ("x", "random weights"),
            "unrestricted": ("d", "everything"),
        }.items():
            shown = [(p, 100 * each.controls[control].rate) for p, each in zip(places, subspaces, strict=True)
                     if control in each.controls]  # fmt: skip
            if shown:
                ys, xs = zip(*shown, strict=True)
                left.plot(xs, ys, marker, color=INK, ms=6, mew=1.5, mfc="none", ls="", label=label)
        middle.axvline(0.5, color=MUTED, lw=1)
        first = next((place for place, each in enumerate(subspaces) if each.significance is not None), None)
        for place, each in zip(places, subspaces, strict=True):
            if (random := each.significance) is None:
                continue
            rates, scores = random.random_rates, random.random_scores
            dots = left.plot([100 * rate for rate in rates], [place + 0.38] * len(rates), "o", color=INK, ms=3.5,
                             alpha=0.5, mew=0)  # fmt: skip
            dots[0].set_label("random subspaces" if place == first else "_")
            middle.plot(scores, [place + 0.2] * len(scores), "o", color=INK, ms=3.5, alpha=0.5, mew=0)
            middle.plot([random.detectable] * 2, [place - 0.3, place + 0.3], color=INK, lw=1.2, ls=":")
            middle.plot(random.score, place, "o", color=ACCENT if each.counts else MUTED, ms=10)
            p = "" if math.isnan(each.p) else f"p {each.p:.2g}" if each.p >= 1e-3 else "p < 0.001"
            middle.annotate(p, (1.02, place), xycoords=("axes fraction", "data"), fontsize=9, va="center")
        left.set_yticks(places, [verbatim(name) for name in names])
        left.invert_yaxis()
        left.set_xlim(0, 103)
        left.set_xlabel(f"flipped, % of {judged.people} people")
        if handles := left.get_legend_handles_labels()[0]:
            figure.legend(handles=handles, frameon=False, fontsize=9, loc="upper right", ncols=3)
        middle.set_xlim(-0.04, 1.04)
        middle.set_xlabel("beats random subspaces;\ndotted: what would count")
        right.plot([100 * share for share in judged.sufficiency], places, "-o", color=ACCENT)
        right.set_xlim(0, 103)
        right.set_xlabel("flipped by this one\nor those above, %")
        for axes in (left, middle, right):
            axes.grid(axis="x", alpha=0.25)
        for axes in (middle, right):
            axes.tick_params(left=False)
    return figure


def verbatim(text: str) -> str:
    r"""A name from outside as it is, of which dollars make no formula.

    >>> print(verbatim("5 $ or 6 $"))
    5 \$ or 6 \$
    """
    return text.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
