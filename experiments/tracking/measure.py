"""What does tracking cost a run, and what does a server cost it that is dead or never answers?

python experiments/tracking/measure.py
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ice_lightning import load_subspace

HERE = Path(__file__).parent
MODES = {
    "none": ["logger=none"],
    "offline": ["logger.mode=offline"],
    "closed port": ["logger.mode=online"],
    "never answers": ["logger.mode=online"],
}


def silent_server() -> int:
    """The port of a server that takes every connection and says nothing."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)

    def accept() -> None:
        kept = []
        while True:
            kept.append(listening.accept())

    threading.Thread(target=accept, daemon=True).start()
    return int(listening.getsockname()[1])


def once(mode: str, settings: list[str], folder: Path, port: int) -> float:
    """Seconds that the command takes."""
    url = {"closed port": "http://127.0.0.1:9", "never answers": f"http://127.0.0.1:{port}"}.get(mode)
    environment = os.environ | ({"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40} if url else {})
    command = [sys.executable, "-m", "ice_lightning.run", *settings, *MODES[mode], f"hydra.run.dir={folder}"]
    began = time.perf_counter()
    # No pipes: wandb's service would hold them open for seconds after the run has ended.
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took = time.perf_counter() - began
    subprocess.run(["pkill", "-9", "-f", f"({'|'.join(('upload', 'sync --live'))}).*{folder}"], check=False)
    return took


def main() -> None:
    """Rounds of the modes, in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", default=["criterion=skin_color"])
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    port, top, modes = silent_server(), Path(tempfile.mkdtemp()), args.modes.split(",")
    seconds: dict[str, list[float]] = {mode: [] for mode in modes}
    for number in range(args.rounds):
        for mode in modes[:: 1 if number % 2 == 0 else -1]:
            seconds[mode].append(once(mode, args.settings, top / f"{mode.replace(' ', '_')}_{number}", port))
            print(number, mode, f"{seconds[mode][-1]:.1f} s", flush=True)
    found: dict[str, Any] = {"seconds": seconds}
    found["more than the first"] = {
        mode: median(each / plain - 1 for each, plain in zip(seconds[mode], seconds[modes[0]], strict=True))
        for mode in modes[1:]
    }
    directions = [load_subspace(folder).directions for folder in top.iterdir()]
    found["same directions"] = all(torch.equal(each, directions[0]) for each in directions)
    file = HERE / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(results | {" ".join(args.settings): found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    shutil.rmtree(top)


if __name__ == "__main__":
    main()
