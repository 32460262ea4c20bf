"""What do hostile files do to the loader, and what do large ones cost?

    python experiments/checkpoints/measure.py

Writes results.json. The small files come from the tests' own writers; atheris is a part of its own (fuzz.py).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import test_checkpoints as checkpoints  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save  # noqa: E402
from test_hostile import SMALL, mutated  # noqa: E402

from ice_lightning import load_generator  # noqa: E402
from ice_lightning.checks import IceError  # noqa: E402
from ice_lightning.modules.stylegan2 import Generator  # noqa: E402

SLOW = 10.0
"""Seconds after which a file counts as hanging."""
watched: list[str] = []
"""What the interpreter's audit hook saw while a mutated file was read: programs, processes, sockets, files written."""


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what no reader of weights has any business with."""
    if watching and (
        event in ("exec", "compile", "import", "pickle.find_class", "os.system", "os.exec", "os.posix_spawn")
        or event.startswith(("subprocess.", "socket.", "shutil.", "ctypes.dlopen", "code.__new__"))
        or (event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"))
    ):
        watched.append(f"{event} {str(arguments[0])[:60]}")


watching = False


def small() -> dict[str, bytes]:
    """A small file of each dialect."""
    made = {dialect: checkpoints.DIALECTS[dialect][0](checkpoints.make(config)) for dialect, config in SMALL.items()}
    return made | {"safetensors": save({k: v.contiguous() for k, v in checkpoints.make().state_dict().items()})}


def mutations(count: int) -> dict[str, Any]:
    """Seeded mutations of a small file of each dialect."""
    global watching
    torch.set_num_threads(1)
    sys.addaudithook(audit)
    (
        "".encode("raw_unicode_escape"),
        "".encode("cp437"),
    )  # codecs that pickletools and zipfile import when they need them
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "g"
        for dialect, content in small().items():
            path.write_bytes(content)
            load_generator(path)  # what a first load imports isn't the file's doing
            draw, slowest, before = random.Random(dialect), 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            row = {"files": count, "loaded": 0, "sentences": 0, "misfits": 0, "tracebacks": 0, "hung": 0, "executed": 0}
            began = time.perf_counter()
            for _ in range(count):
                path.write_bytes(mutated(content, draw))
                watched.clear()
                start = time.perf_counter()
                watching = True
                try:
                    load_generator(path)
                    row["loaded"] += 1
                except IceError as error:
                    row["sentences"] += 1
                    if "don't fit together" in str(error):
                        row["misfits"] += 1
                        print(dialect, repr(error.__cause__), flush=True)
                except Exception as error:
                    row["tracebacks"] += 1
                    print(dialect, repr(error), flush=True)
                watching = False
                slowest = max(slowest, time.perf_counter() - start)
                row["hung"] += time.perf_counter() - start > SLOW
                if watched:
                    row["executed"] += 1
                    print(dialect, watched[:3], flush=True)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            row |= {"slowest, ms": round(1e3 * slowest), "peak grew by, MB": round((after - before) / 1024)}
            found[dialect] = row
            print(dialect, row, f"{time.perf_counter() - began:.0f} s", flush=True)
    return found


def large() -> dict[str, Any]:
    """Files of random weights at 1024 px: seconds to load, and memory beyond an interpreter that has torch."""
    torch.manual_seed(0)
    G = Generator().eval().requires_grad_(False)
    G.settings = {
        "c_dim": 0, "conv_clamp": None, "architecture": "skip", "lr_multiplier": 0.01, "label_norm": "apart",
        "z_dim": 512, "w_dim": 512, "img_resolution": 1024, "mapping_layers": 8, "channel_base": 32768,
        "channel_max": 512,
    }  # fmt: skip
    found: dict[str, Any] = {}
    code = (
        "import sys, time, ice_lightning.checkpoints, torch\n"
        "status = lambda: dict(line.split(':') for line in open('/proc/self/status'))\n"
        "def field(name): return int(status()[name].split()[0]) / 1024\n"
        "before = field('VmRSS'); began = time.perf_counter()\n"
        "G = ice_lightning.load_generator(sys.argv[1])\n"
        "print(time.perf_counter() - began, field('VmHWM') - before, G.resolution)"
    )
    names = ["ada", "tensorflow", "rosinality", "rosinality, old file", "e4e", "genforce", "bare"]
    with tempfile.TemporaryDirectory() as folder:
        for dialect in names:
            path = Path(folder) / "g"
            path.write_bytes(checkpoints.DIALECTS[dialect][0](G))
            runs = [
                subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
                for _ in range(3)
            ]
            seconds, extra, side = (
                sorted(column)[1] for column in zip(*(map(float, r.stdout.split()) for r in runs), strict=True)
            )
            found[dialect] = {
                "file, MB": round(path.stat().st_size / 2**20),
                "seconds": round(seconds, 2),
                "extra, MB": round(extra),
            }
            assert side == 1024
            print(dialect, found[dialect], flush=True)
    return found


def runs() -> dict[str, Any]:
    """A search on a file of each dialect, from the command line: its exit status and how many directions it found."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for dialect, (write, _) in checkpoints.DIALECTS.items():
            path, out = Path(folder) / "g", Path(folder) / "run"
            path.write_bytes(write(checkpoints.make("128 px")))
            command = (
                f"-m ice_lightning.run generator.checkpoint={path} criterion=background latents.count=2 logger=none"
            )
            ran = subprocess.run(
                [sys.executable, *command.split(), f"hydra.run.dir={out}"], capture_output=True, text=True
            )
            rank = json.loads((out / "metrics.json").read_text())["rank"] if not ran.returncode else None
            found[dialect] = {"exit status": ran.returncode, "directions": rank}
            print(dialect, found[dialect], ran.stderr[-300:] if ran.returncode else "", flush=True)
    return found


def main() -> None:
    """Measure what is named, everything by default, into results.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="out of large, runs, mutations; all by default")
    parser.add_argument("--count", type=int, default=20_000)
    args = parser.parse_args()
    parts = {"large": large, "runs": runs, "mutations": lambda: mutations(args.count)}
    file = HERE / "results.json"
    for name in args.parts or parts:
        found = parts[name]()
        results = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(results | {name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
