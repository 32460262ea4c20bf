"""The tables of README.md, from results/.

python experiments/local/table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from study import FIRST, STRENGTHS, summary

HERE = Path(__file__).parent


def first(cell: dict[str, Any], count: int, target: float) -> dict[str, float]:
    """The summary of the first people of a cell alone."""
    people = {key: torch.tensor(column[:count]) for key, column in cell["people"].items() if key not in LABELS}
    return summary(people | {"there": people["there"].bool()}, target)


LABELS = ("worst", "target")


def both(row: dict[str, Any], target: float, key: str = "ratio beyond") -> str:
    """A ratio to either side."""
    return " / ".join(f"{row[f'{side} {target}'][key]:.1f}" for side in ("plus", "minus"))


def better(average: dict[str, Any], own: dict[str, Any], target: float) -> str:
    """In how many people the own direction moves less beside its own reading, to either side."""
    counts = []
    for side in ("plus", "minus"):
        pairs = zip(*(row[f"{side} {target}"]["people"]["beyond"] for row in (average, own)), strict=True)
        counts.append(sum(b < a for a, b in pairs))
    return " / ".join(map(str, counts))


def metrics() -> None:
    """Print both metrics beside each other, on the people who were measured in both."""
    print("\n| preset | directions | euclidean | at 1.5 | away | population | at 1.5 | away |\n|" + "---|" * 8)
    for file in sorted((HERE / "results" / "euclidean").glob("*.json")):
        both_ways = [json.loads((HERE / "results" / g / file.name).read_text()) for g in ("euclidean", "population")]
        count = min(each["search"]["of"] for each in both_ways)
        for kind in ("average", "local"):
            line = [file.stem, kind.replace("local", "own")]
            for each in both_ways:
                row = each["straight"][kind]["0"]
                few = {f"{s} {t}": first(row[f"{s} {t}"], count, t) for s in SIDES for t in STRENGTHS}
                there = " / ".join(f"{100 * few[f'{s} 1.5']['there']:.0f}" for s in SIDES)
                away = ", ".join(f"{few[f'plus {t}']['far']:.1f}" for t in STRENGTHS)
                line += [both(few, 0.5), f"{both(few, 1.5)} ({there} % there)", away]
            print("| " + " | ".join(line) + " |")


def main() -> None:
    """Print the tables."""
    metrics()
    for folder in sorted((HERE / "results").iterdir()):
        if not folder.is_dir():
            continue
        rest = sorted({file.stem for file in folder.glob("*.json")} - set(FIRST))
        files = {name: folder / f"{name}.json" for name in (*FIRST, *rest)}
        results = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
        results = {name: each for name, each in results.items() if "straight" in each}
        print(f"\n### {folder.name}\n")
        heads = ["preset", "renderer's own", "average", "own", "own better in", "average at 1.5", "own at 1.5", "there",
                 "2nd: average", "2nd: own", "same way", "products"]  # fmt: skip
        print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for name, each in results.items():
            a, o = each["straight"]["average"], each["straight"]["local"]
            ideal = max(each["ideal"].values(), key=lambda row: min(row[f"{s} 0.5"]["ratio"] for s in SIDES))
            there = " / ".join(f"{100 * x['0'][f'{s} 1.5']['there']:.0f}" for x in (a, o) for s in ("minus",))
            line = [name, both(ideal, 0.5, "ratio"), both(a["0"], 0.5), f"**{both(o['0'], 0.5)}**",
                    f"{better(a['0'], o['0'], 0.5)} of {each['search']['of']}", both(a["0"], 1.5),
                    f"**{both(o['0'], 1.5)}**", f"{there} %", both(a["1"], 0.5) if "1" in a else "",
                    both(o["1"], 0.5) if "1" in o else "", f"{a['0']['same way']:.2f} / {o['0']['same way']:.2f}",
                    f"{sum(each['search']['products']) / each['search']['of']:.0f}"]  # fmt: skip
            print("| " + " | ".join(line) + " |")
        print(
            "\n| preset | people | own at 0.5 | held at 0.5 | own at 1.5 | held at 1.5 | seconds a path | stopped by |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for name, each in results.items():
            if "held" not in each:
                continue
            held, own = each["held"], each["straight"]["local"]["0"]
            count = len(held["plus 0.5"]["people"]["own"])
            line = [name, str(count)]
            for target in STRENGTHS:
                few = {f"{s} {target}": first(own[f"{s} {target}"], count, target) for s in SIDES}
                line += [both(few, target), f"**{both(held, target)}**"]
            stopped = [term for s in SIDES for term in held[f"{s} paths"]["stopped by"] if term]
            seconds = sum(held[f"{s} paths"]["seconds"] for s in SIDES) / 2
            counts = ", ".join(f"{term} {stopped.count(term)}" for term in dict.fromkeys(stopped))
            print("| " + " | ".join([*line, f"{seconds:.0f}", counts]) + " |")


SIDES = ("plus", "minus")

if __name__ == "__main__":
    main()
