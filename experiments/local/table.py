"""The tables of README.md, from results/.

python experiments/local/table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from relaxation import choice, cleanness
from study import FARTHEST, FIRST, STAGES, STRENGTHS, summary
from torch import Tensor

HERE = Path(__file__).parent


def some(cell: dict[str, Any], places: Tensor, target: float) -> dict[str, float]:
    """The summary of some people of a cell alone."""
    people = {key: torch.tensor(column)[places] for key, column in cell["people"].items() if key not in LABELS}
    return summary(people | {"there": people["there"].bool()}, target)


def first(cell: dict[str, Any], count: int, target: float) -> dict[str, float]:
    """The summary of the first people of a cell alone."""
    return some(cell, torch.arange(count), target)


def readable(each: dict[str, Any]) -> Tensor:
    """Places of the people in whom a preset's own reading can be taken: it moves along some direction."""
    cells = [kind["0"][f"{s} {t}"] for kind in each["straight"].values() for s in SIDES for t in STRENGTHS]
    return torch.tensor([cell["people"]["own"] for cell in cells]).amax(0).nonzero()[:, 0]


def ratios(row: dict[str, Any], places: Tensor, target: float) -> str:
    """The ratio of some people to either side."""
    few = {f"{s} {target}": some(row[f"{s} {target}"], places, target) for s in SIDES}
    return both(few, target)


def times(each: dict[str, Any], places: Tensor, target: float) -> str:
    """How many times the average's ratio the own one is, to either side, with 95 % intervals (bootstrap)."""
    draw, found = torch.Generator().manual_seed(0), []
    drawn = places[torch.randint(len(places), (BOOTSTRAPS, len(places)), generator=draw)]
    for side in SIDES:
        cells = [each["straight"][kind]["0"][f"{side} {target}"] for kind in ("local", "average")]
        middle = [some(cell, places, target)["ratio beyond"] for cell in cells]
        several = [[some(cell, row, target)["ratio beyond"] for row in drawn] for cell in cells]
        quotients = torch.tensor(several[0]) / torch.tensor(several[1])
        low, high = quotients.quantile(torch.tensor([0.025, 0.975])).tolist()
        found.append(f"{middle[0] / middle[1]:.1f} ({low:.1f} to {high:.1f})")
    return " / ".join(found)


def held_there(held: dict[str, Any], side: str, target: float) -> Tensor:
    """Places of the people who are held where a cell has read them."""
    strength = torch.tensor(held[f"{side} {target}"]["people"]["strength"])
    return (strength <= torch.tensor(held[f"{side} paths"]["held up to"]).abs() + 1e-3).nonzero()[:, 0]


LABELS, BOOTSTRAPS = ("worst", "target"), 1000


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


def relaxations() -> None:
    """Print how clean people's moves are with each relaxation, and which a preset should have."""
    rows = {file.stem: json.loads(file.read_text()) for file in sorted((HERE / "relaxation").glob("*.json"))}
    tried = sorted({key for row in rows.values() for key in row if key != "average"}, key=int)
    print(f"\n| preset | average | {' | '.join(tried)} | the preset's |\n|{'---|' * (len(tried) + 3)}")
    for name, row in rows.items():
        clean = [f"{cleanness(row[key]):.1f}" if key in row else "" for key in ("average", *tried)]
        print(f"| {name} | {' | '.join(clean)} | {choice(row)} |")


def main() -> None:
    """Print the tables."""
    relaxations()
    metrics()
    for folder in sorted((HERE / "results").iterdir()):
        if not folder.is_dir():
            continue
        rest = sorted({file.stem for file in folder.glob("*.json")} - set(FIRST))
        files = {name: folder / f"{name}.json" for name in (*FIRST, *rest)}
        results = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
        results = {name: each for name, each in results.items() if "straight" in each}
        print(f"\n### {folder.name}\n")
        heads = ["preset", "people", "renderer's own", "average", "own", "own by average", "own better in",
                 "average at 1.5",
                 "own at 1.5", "there", "2nd: average", "2nd: own", "same way", "products"]  # fmt: skip
        print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for name, each in results.items():
            a, o, places = each["straight"]["average"], each["straight"]["local"], readable(each)
            ideal = max(each["ideal"].values(), key=lambda row: min(row[f"{s} 0.5"]["ratio"] for s in SIDES))
            there = " / ".join(f"{100 * some(x['0']['minus 1.5'], places, 1.5)['there']:.0f}" for x in (a, o))
            line = [name, str(len(places)), both(ideal, 0.5, "ratio"), ratios(a["0"], places, 0.5),
                    f"**{ratios(o['0'], places, 0.5)}**", times(each, places, 0.5), better(a["0"], o["0"], 0.5),
                    ratios(a["0"], places, 1.5), f"**{ratios(o['0'], places, 1.5)}**", f"{there} %",
                    ratios(a["1"], places, 0.5) if "1" in a else "", ratios(o["1"], places, 0.5) if "1" in o else "",
                    f"{a['0']['same way']:.2f} / {o['0']['same way']:.2f}",
                    f"{sum(each['search']['products']) / each['search']['of']:.0f}"]  # fmt: skip
            print("| " + " | ".join(line) + " |")
        heads = ["preset", "people", "own at 0.5", "held at 0.5", "own at 1.5", "held at 1.5", "of whom held",
                 "own at 1.5, of these", "held, of these", "seconds a path", "paths not held to the end"]  # fmt: skip
        print("\n| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for name, each in results.items():
            if "held" not in each:
                continue
            held, own = each["held"], each["straight"]["local"]["0"]
            count = len(held["plus 0.5"]["people"]["own"])
            line, stay = [name, str(count)], {s: held_there(held, s, 1.5) for s in SIDES}
            for target in STRENGTHS:
                few = {f"{s} {target}": first(own[f"{s} {target}"], count, target) for s in SIDES}
                line += [both(few, target), f"**{both(held, target)}**"]
            line.append(" / ".join(str(len(stay[s])) for s in SIDES))
            for row in (own, held):
                few = {f"{s} 1.5": some(row[f"{s} 1.5"], stay[s], 1.5) for s in SIDES}
                line.append(both(few, 1.5))
            seconds = sum(held[f"{s} paths"]["seconds"] for s in SIDES) / 2
            short = [
                upto < min(STAGES[-1] * strength, FARTHEST) - 1e-2
                for s in SIDES
                for upto, strength in zip(
                    map(abs, held[f"{s} paths"]["held up to"]), own[f"{s} 0.5"]["people"]["strength"], strict=False
                )
            ]
            print("| " + " | ".join([*line, f"{seconds:.0f}", f"{sum(short)} of {len(short)}"]) + " |")


SIDES = ("plus", "minus")

if __name__ == "__main__":
    main()
