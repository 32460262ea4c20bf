"""The tables of README.md about people's own directions, from own/.

python experiments/real_faces/own_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "own"
COLOURS = ("skin_color", "lip_color", "background")


def both(row: dict[str, Any], target: float, key: str) -> str:
    """A ratio to either side."""
    return " / ".join(f"{row[f'{side} {target}'][key]:.2f}" for side in ("plus", "minus"))


def main() -> None:
    """Print a table for each generator."""
    for file in sorted(OUT.glob("*.json")):
        print(f"\n**{file.stem}**\n")
        heads = ["preset", "looser", "average", "own", "at 1.5: average", "own", "2nd: average", "own",
                 "as readings would", "random", "away", "same way", "worst beside own"]  # fmt: skip
        print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for preset, row in json.loads(file.read_text()).items():
            if "measured" not in row:
                continue
            key = "ratio beyond" if preset in COLOURS else "ratio"
            average, own = (row["measured"][kind] for kind in ("average", "own"))
            chance = sorted(row["random"])
            cells = [
                preset, " / ".join(row["chosen"].values()), both(average["0"], 0.5, key),
                f"**{both(own['0'], 0.5, key)}**",
                both(average["0"], 1.5, key), both(own["0"], 1.5, key), both(average["1"], 0.5, key),
                both(own["1"], 0.5, key), both(row["clearest"], 0.5, key),
                f"{chance[len(chance) // 2]:.2f}, {chance[-1]:.2f}",
                " / ".join(f"{each['0']['plus 0.5']['far']:.1f}" for each in (average, own)),
                " / ".join(f"{each['0']['same way']:.2f}" for each in (average, own)),
                ", ".join(own["worst"]),
            ]  # fmt: skip
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
