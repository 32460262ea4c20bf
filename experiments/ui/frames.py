"""How long does a frame of the explorer take, alone and through its server?

    python experiments/ui/frames.py RUN...

100 moves of the sliders, each to another picture: by the function that makes a frame, and by HTTP as
the page asks for it. Writes frames.json, in milliseconds. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import httpx
import torch
from explorer import explorer
from shoot import HERE

from ice_lightning.explore.cli import arguments, explorer_of, subspace_files, threads
from ice_lightning.explore.model import Explorer, drawn, edit, person
from ice_lightning.explore.page import view

MOVES = 100


def told(milliseconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {
        "median_ms": round(statistics.median(milliseconds), 1),
        "p95_ms": round(statistics.quantiles(milliseconds, n=20)[-1], 1),
    }


def measured(frame: Callable[[list[float]], object], shown: Explorer) -> dict[str, float]:
    """Times of MOVES frames, each at another place of every slider, after three to warm up."""
    times = []
    for i in range(MOVES + 3):
        moves = [round(slider.limit * ((7 * i + j) % 21 - 10) / 10, 1) for j, slider in enumerate(shown.sliders)]
        began = time.perf_counter()
        frame(moves)
        times.append(1000 * (time.perf_counter() - began))
    return told(times[3:])


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+")
    args = parser.parse_args()
    torch.set_num_threads(threads())
    given = arguments(args.runs)
    shown = explorer_of(given, subspace_files(given.runs))
    original = drawn(shown, person(shown, "", 0))

    def alone(moves: list[float]) -> None:
        view(shown, original, drawn(shown, edit(shown, original.u, moves)))

    found = {
        "moves": MOVES,
        "sliders": len(shown.sliders),
        "threads": threads(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "function": measured(alone, shown),
    }
    with explorer(args.runs) as url, httpx.Client() as client:

        def ask(moves: list[float]) -> None:
            client.post(f"{url}/gradio_api/run/frame", json={"data": ["", 0, *moves]}).raise_for_status()

        found["http"] = measured(ask, shown)
    print(json.dumps(found, indent=1))
    (HERE / "frames.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
