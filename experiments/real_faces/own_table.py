"""The tables of README.md about people's own directions, from own/.

python experiments/real_faces/own_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from own import OUT, PRESETS, painted

HEADS = ("preset", "ratios looser", "average", "own", "average at 1.5", "own at 1.5", "2nd: average", "2nd: own",
         "readings' choice", "random: median, most", "same way", "moves most beside")  # fmt: skip


def both(row: dict[str, Any], target: float, key: str) -> str:
    """A ratio to either side."""
    return " / ".join(f"{row[f'{side} {target}'][key]:.2f}" for side in ("plus", "minus"))


def line(preset: str, row: dict[str, Any]) -> str:
    """A preset's row."""
    key = "ratio beyond" if painted(PRESETS[preset]) else "ratio"
    average, own = (row["measured"][kind] for kind in ("average", "own"))
    chance = sorted(row["random"])
    cells = (
        preset, " / ".join(row["chosen"].values()), both(average["0"], 0.5, key), f"**{both(own['0'], 0.5, key)}**",
        both(average["0"], 1.5, key), both(own["0"], 1.5, key), both(average["1"], 0.5, key), both(own["1"], 0.5, key),
        both(row["clearest"], 0.5, key), f"{chance[len(chance) // 2]:.2f}, {chance[-1]:.2f}",
        " / ".join(f"{each['0']['same way']:.2f}" for each in (average, own)),
        ", ".join(name for name in own["worst"] if name),
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
