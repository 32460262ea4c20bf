"""What the native operations save, by themselves and in a generator; the command is on the first line of the README."""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ice_lightning import load_generator
from ice_lightning.launch import keep_freed_memory
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.ops import bias_act, loader, setup_filter, upfirdn2d

HERE = Path(__file__).parent
TAPS = setup_filter([1, 3, 3, 1])
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Work = Callable[[], Any]


def machine() -> str:
    """The processor or GPU."""
    if DEVICE == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return f"{model[1] if model else platform.machine()}, {torch.get_num_threads()} threads"


def milliseconds(work: Work) -> float:
    """Of one call, after one that warms up."""
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began)


def turns(works: dict[str, Work], rounds: int) -> dict[str, float]:
    """Medians of rounds in which everything takes its turn."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(milliseconds(work))
    return {name: round(median(each), 3) for name, each in taken.items()}


def under(mode: str, work: Work) -> Work:
    """The work with ICE_LIGHTNING_OPS=mode."""

    def done() -> None:
        with loader.forced(mode):
            work()

    return done


def in_every_mode(work: Work, rounds: int) -> dict[str, float]:
    """Milliseconds of python, native and auto, and the two ratios that matter."""
    found = turns({mode: under(mode, work) for mode in ("python", "native", "auto")}, rounds)
    better = min(found["python"], found["native"])
    ratios = {"python / native": found["python"] / found["native"], "auto / better": found["auto"] / better}
    return found | {name: round(ratio, 2) for name, ratio in ratios.items()}


def layouts(x: Tensor) -> dict[str, Tensor]:
    """An image in both layouts."""
    return {"contiguous": x, "channels last": x.contiguous(memory_format=torch.channels_last)}


def operations(rounds: int) -> dict[str, Any]:
    """Each operation at the shapes of a 256-px generator (16384 // side, at most 512 channels)."""
    found = {}
    with torch.no_grad():
        for side in (8, 16, 32, 64, 128, 256):
            c = min(16384 // side, 512)
            cases: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
                "filter after the convolution": (torch.randn(1, c, side + 1, side + 1), lambda x: filtered(x, 1)),
                "its backward pass": (torch.randn(1, c, side, side), lambda x: filtered(x, 2)),
                "image, twice as large": (torch.randn(1, 3, side // 2, side // 2), doubled),
                "its backward pass, halved": (torch.randn(1, 3, side, side), halved),
                "bias_act": (torch.randn(1, c, side, side), activated),
            }
            for name, (x, op) in cases.items():
                for layout, image in layouts(x.to(DEVICE)).items():
                    row = in_every_mode(partial(op, image), rounds)
                    larger = max(image, op(image), key=torch.Tensor.numel)
                    row |= turns({"copying the larger side": larger.clone}, rounds)
                    found[f"{name}, {side} px, {layout}"] = row
                    print(f"{name}, {side} px, {layout}: {row}", flush=True)
    return found


def filtered(x: Tensor, padding: int) -> Tensor:
    """The 4 x 4 filter."""
    return upfirdn2d(x, TAPS.to(x), padding=padding, gain=4)


def doubled(x: Tensor) -> Tensor:
    """The image on its way to the next block."""
    return upfirdn2d(x, TAPS.to(x), up=2, padding=(2, 1), gain=4)


def halved(x: Tensor) -> Tensor:
    """The gradient on its way back."""
    return upfirdn2d(x, TAPS.to(x), down=2, padding=(1, 2))


def activated(x: Tensor) -> Tensor:
    """Bias, leaky ReLU and gain."""
    return bias_act(x, x.new_zeros(x.shape[1]), act="lrelu")


def products(G: Generator, precision: torch.dtype = torch.float32) -> dict[str, Work]:
    """Drawing one person, and a derivative forward and backward."""
    u = G.convert(G.sample(1, seed=0).to(DEVICE), "z", "s").to(precision)
    tangent = torch.randn(u.shape, generator=torch.Generator().manual_seed(1)).to(u)

    def forward() -> None:
        with torch.no_grad():
            G(u, "s")

    def vjp() -> None:
        v = u.clone().requires_grad_()
        torch.autograd.grad(G(v, "s").sum(), v)

    return {"forward": forward, "jvp": lambda: torch.func.jvp(lambda v: G(v, "s"), (u,), (tangent,)), "vjp": vjp}


def large() -> Generator:
    """A generator of 256 px with half the channels of the published config-f, and random weights."""
    torch.manual_seed(0)
    G = (
        Generator(img_resolution=256, channel_base=16384, channel_max=512, mapping_layers=2)
        .eval()
        .requires_grad_(False)
    )
    return G.to(DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]


def generator(rounds: int) -> dict[str, Any]:
    """Whole generators: the embedded one, and one of 256 px."""
    found = {}
    for name, G in (("embedded, 128 px", load_generator("embedded", DEVICE)), ("256 px", large())):
        for product, work in products(G).items():
            found[f"{name}, {product}"] = in_every_mode(work, rounds)
            print(name, product, found[f"{name}, {product}"], flush=True)
    return found


def share(rounds: int) -> dict[str, float]:
    """Which operations take the time of drawing and of a backward pass, in shares."""
    from torch.profiler import ProfilerActivity, profile

    kinds = {"convolution": "conv", "our operations": "ice_lightning::", "products": "aten::mul", "sums": "aten::add"}
    works = products(load_generator("embedded", DEVICE))
    found = {}
    for name in ("forward", "vjp"):
        works[name]()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            for _ in range(rounds):
                works[name]()
        rows = {row.key: row.self_cpu_time_total for row in seen.key_averages()}
        total = sum(rows.values())
        for kind, part in kinds.items():
            found[f"{name}, {kind}"] = round(sum(t for key, t in rows.items() if part in key) / total, 3)
    print(found, flush=True)
    return found


def tried(rounds: int) -> dict[str, Any]:
    """The embedded generator in the other layout, in bfloat16, and compiled."""
    found = {}
    G = {
        "channels last": load_generator("embedded", DEVICE),
        "contiguous": load_generator("embedded", DEVICE).to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
    }
    half = load_generator("embedded", DEVICE).bfloat16()
    works = {name: products(each) for name, each in G.items()} | {"bfloat16": products(half, torch.bfloat16)}
    compiled = load_generator("embedded", DEVICE)
    compiled.forward = torch.compile(compiled.forward, dynamic=False)  # type: ignore[method-assign]
    works["compiled"] = {k: v for k, v in products(compiled).items() if k != "jvp"}
    for product in ("forward", "vjp", "jvp"):
        found[product] = turns({name: each[product] for name, each in works.items() if product in each}, rounds)
        print(product, found[product], flush=True)
    return found


def main() -> None:
    """Measure what is named, everything by default, into results.json."""
    parts = {"operations": operations, "generator": generator, "share": share, "tried": tried}
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help=f"out of {', '.join(parts)}; all by default")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    keep_freed_memory()
    file = HERE / "results.json"
    for name in args.parts or parts:
        found = parts[name](args.rounds)
        results = json.loads(file.read_text()) if file.exists() else {}
        results.setdefault(machine(), {})[name] = found
        file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
