"""The tables of README.md about people's own directions, from own/.

python experiments/real_faces/own_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from own import OUT, PRESETS, painted

HEADS = ("preset", "people", "ratios looser", "average", "own", "own by average", "own by average at 1.5",
         "another's", "2nd: average", "2nd: own", "second outlines: average", "own", "readings' choice",
         "random: median, most", "same way", "moves most beside")  # fmt: skip
SIDES = ("plus", "minus")


def both(row: dict[str, Any], key: str, target: float = 0.5) -> str:
    """A ratio to either side, and how many people get there."""
    there = " / ".join(f"{100 * row[f'{side} {target}']['there']:.0f}" for side in SIDES)
    return " / ".join(f"{row[f'{side} {target}'][key]:.2f}" for side in SIDES) + f" ({there} %)"


def intervals(found: dict[str, list[float]], target: float) -> str:
    """How many times the average's ratio, to either side, with intervals."""
    cells = (found[f"{side} {target}"] for side in SIDES)
    return " / ".join(f"{middle:.2f} ({low:.2f} to {high:.2f})" for middle, low, high in cells)


def line(preset: str, row: dict[str, Any]) -> str:
    """A preset's row."""
    key, measured = "ratio beyond" if painted(PRESETS[preset]) else "ratio", row["measured"]
    average, own, chance = measured["average"], measured["own"], sorted(row["random"])
    outlines = row.get("second outlines")
    cells = (
        preset, str(measured["search"]["of"]), " / ".join(row["chosen"].values()), both(average["0"], key),
        f"**{both(own['0'], key)}**", intervals(measured["own by average"], 0.5),
        intervals(measured["own by average"], 1.5), both(measured["another's"], key), both(average["1"], key),
        both(own["1"], key), *(both(outlines[kind], key) if outlines else "" for kind in ("average", "own")),
        both(row["clearest"], key) if "clearest" in row else "", f"{chance[len(chance) // 2]:.2f}, {chance[-1]:.2f}",
        " / ".join(f"{each['0']['same way']:.2f}" for each in (average, own)), ", ".join(filter(None, own["worst"])),
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print a table for each generator."""
    for file in sorted(OUT.glob("*.json"), reverse=True):
        rows: dict[str, dict[str, Any]] = json.loads(Path(file).read_text())
        print(f"\n**{file.stem}**\n\n| " + " | ".join(HEADS) + " |\n|" + "---|" * len(HEADS))
        for preset, row in rows.items():
            if "measured" in row:
                print(line(preset, row))


if __name__ == "__main__":
    main()
