"""Figures of a search: its spectrum, and its people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure

from ice_lightning.reports.figures import ACCENT, MUTED, STYLE, verbatim
from ice_lightning.solvers.stability import Stability


def spectrum(
    values: Sequence[float], before: Sequence[float], kept: int, title: str, unit: str = "unit of latent"
) -> Figure:
    """Eigenvalues on a log scale, kept ones in colour, those before the projection as a line.

    Args:
        values: eigenvalues after the projection, descending.
        before: eigenvalues of the activated terms alone.
        kept: how many directions the subspace has.
        title: one line.
        unit: of a step.

    Returns:
        A figure.

    Example:
        >>> spectrum([2.0, 1.0], [3.0, 2.0], 1, "hair color").axes[0].get_yscale()
        'log'
    """
    shown = max(12, min(len(before), kept + 8))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.6), layout="constrained")
        axes = figure.subplots()
        above = [value for value in before[:shown] if value > 0]
        axes.plot(range(1, len(above) + 1), above, "-o", color=MUTED, ms=3.5, label="activated, nothing suppressed")
        axes.bar(range(1, kept + 1), values[:kept], color=ACCENT, width=0.7, label=f"kept: {kept}")
        rest = [value for value in values[kept:shown] if value > 0]
        axes.bar(range(kept + 1, kept + 1 + len(rest)), rest, color="#fed7aa", width=0.7, label="below the ratio")
        axes.set_yscale("log")
        axes.set_ylim(bottom=min(values[:kept]) / 30)
        axes.set_xlabel("direction")
        axes.set_ylabel(f"energy per {unit}²")
        axes.set_title(verbatim(title), loc="left")
        axes.legend(frameon=False)
        axes.grid(axis="y", alpha=0.25)
    return figure


def people(energies: Mapping[int, float], outliers: Sequence[int], stability: Stability | None, title: str) -> Figure:
    """Each person's energy, outliers by number; beside it, by how much halves of the people disagree.

    Args:
        energies: of the activated terms, by person.
        outliers: numbers of those far from the others.
        stability: None where people are too few to halve.
        title: one line.

    Returns:
        A figure.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        figure.suptitle(verbatim(title), x=0.01, ha="left", fontweight="bold", fontsize=13)
        left, right = figure.subplots(1, 2)
        numbers = list(energies)
        left.plot(numbers, [energies[i] for i in numbers], "o", color=MUTED, ms=5)
        left.plot(outliers, [energies[i] for i in outliers], "o", color=ACCENT, ms=7)
        for i in outliers:
            left.annotate(f"person {i}", (i, energies[i]), xytext=(6, -3), textcoords="offset points", fontsize=9)
        left.set_ylim(0, 1.12 * max(energies.values(), default=1.0) or 1.0)
        left.xaxis.get_major_locator().set_params(integer=True)
        left.set_xlabel("person")
        left.set_ylabel("activated energy")
        left.grid(axis="y", alpha=0.25)
        right.set_ylim(0, 90)
        right.set_yticks(range(0, 91, 15), [f"{angle}°" for angle in range(0, 91, 15)])
        right.set_ylabel("principal angle")
        if stability is None:
            right.text(
                0.5, 0.5, "fewer than 8 people:\nnot halved", transform=right.transAxes, ha="center", va="center"
            )
            right.set_xticks([])
        else:
            angles = stability.angles
            right.bar(range(1, len(angles) + 1), angles, color=ACCENT, width=0.7)
            right.set_xticks(range(1, len(angles) + 1))
            right.set_xlabel(f"first pairs of directions; halves of {stability.people_per_half} people")
        right.grid(axis="y", alpha=0.25)
    return figure
