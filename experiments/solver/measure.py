"""What the solver costs and whether it is right; the command is on the first line of the README."""

from __future__ import annotations

import argparse
import copy
import functools
import json
import math
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from matplotlib.figure import Figure

from ice_lightning import load_subspace
from ice_lightning.criterions import Analysis
from ice_lightning.discovery.features import PersonFeatures
from ice_lightning.discovery.module import Discovery
from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.launch import keep_freed_memory
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.parallel import Batch
from ice_lightning.solvers.result import Solution
from ice_lightning.subspace import principal_angles
from ice_lightning.tasks.build import build_criterion, layers_of

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
RUNS = Path("outputs/solver")
SKIN = ("criterion=skin_color", "logger=none")


def command(*settings: str, threads: int | None = None, folder: Path | None = None) -> list[str]:
    """What runs a discovery in a process of its own."""
    code = "import sys, torch; torch.set_num_threads(%d); from ice_lightning.run import main; sys.argv[0] = 'x'; main()"
    start = ["-m", "ice_lightning.run"] if threads is None else ["-c", code % threads]
    return [sys.executable, *start, *settings, *([f"hydra.run.dir={folder}"] if folder else [])]


def discovered(
    name: str, *settings: str, threads: int | None = None, package: Path | None = None
) -> tuple[Path, dict[str, Any]]:
    """Folder and metrics of a discovery in a process of its own, with the seconds of the whole process.

    With `package` it is that of another checkout, where a link ice_lightning/conf leads to its conf.
    """
    folder = (RUNS / name).resolve()
    began = time.perf_counter()
    env = os.environ | ({"PYTHONPATH": str(package)} if package else {})
    subprocess.run(
        command(*settings, threads=threads, folder=folder), check=True, capture_output=True, env=env, cwd=package
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    return folder, metrics | {"whole": time.perf_counter() - began}


def machine() -> str:
    """Cores, what they are where Linux tells, what a core multiplies, and torch's version."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    kind = model[1] if model else platform.machine()
    A, threads = torch.randn(1024, 1024), torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        A @ A
        seconds.append(time.perf_counter() - began)
    torch.set_num_threads(threads)
    rate = 2 * 1024**3 / median(seconds) / 1e9
    return f"{os.cpu_count()} cores, {kind}, {rate:.0f} GFLOP/s each in products of matrices; torch {torch.__version__}"


def a_person(*settings: str, generator: Generator | None = None, people: int = 1) -> tuple[Discovery, torch.Tensor]:
    """A discovery module and the latents of some people."""
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        cfg = compose("config", [*SKIN, "run_dir=.", *settings])
    G, faces = generator or instantiate(cfg.generator), instantiate(cfg.faces)
    criterion = build_criterion(cfg.criterion, faces, G.resolution)
    solver, layers = instantiate(cfg.solver), layers_of(cfg, G)
    module = Discovery(G, faces, criterion, solver, people, cfg.space, layers, metric=cfg.geometry).eval()
    with torch.no_grad():
        return module, G.convert(G.sample(people, 0), "z", cfg.space)


def against() -> dict[str, Any]:
    """Seconds per person of the published algorithm, of whole Jacobians and of the search, in three rounds."""
    module, U = a_person(people=3)
    rounds, rows = [], 0
    for number in range(3):
        published, rows = seconds_of_rows(module, U[number : number + 1], 150, number)
        exact = discovered(f"exact_{number}", *SKIN, "solver=exact", "latents.count=4")[1]["seconds"]["products"] / 4
        krylov = discovered(f"krylov_{number}", *SKIN)[1]["seconds"]["products"] / 32
        rounds.append({"published": published, "exact": exact, "krylov": krylov})
        print(number, rounds[-1], flush=True)
    folder, truth = discovered("exact_32", *SKIN, "solver=exact")
    ours, metrics = discovered("krylov_32", *SKIN)
    one, other = load_subspace(ours), load_subspace(folder)
    angles = principal_angles(one.directions, other.directions)
    return {
        "rounds": rounds,
        "rows": rows,
        "times_published": median(r["published"] / r["krylov"] for r in rounds),
        "times_exact": median(r["exact"] / r["krylov"] for r in rounds),
        "rank": [len(one.eigenvalues), len(other.eigenvalues)],
        "smallest_cosine": float(angles.max().cos()),
        "largest_eigenvalue_error": float((one.eigenvalues / other.eigenvalues - 1).abs().max()),
        "products": metrics["products_per_person"],
        "seconds_of_32": metrics["whole"],
        "stability": [metrics["stability"], truth["stability"]],
    }


def wide() -> dict[str, Any]:
    """Seconds per person of whole Jacobians and of the search in all coordinates of S."""
    rounds = []
    for number in range(3):
        settings = (*SKIN, "layers=all")
        _, slow = discovered(f"wide_exact_{number}", *settings, "latents.count=2", "solver=exact")
        _, fast = discovered(f"wide_krylov_{number}", *settings)
        rounds.append({"exact": slow["seconds"]["products"] / 2, "krylov": fast["seconds"]["products"] / 32})
        print(rounds[-1], fast["products_per_person"], flush=True)
    return {"rounds": rounds, "times_exact": median(r["exact"] / r["krylov"] for r in rounds)}


def random_generator(side: int) -> Generator:
    """With random weights, narrow enough for this study: 64 channels at most."""
    torch.manual_seed(0)
    G = Generator(z_dim=64, w_dim=64, img_resolution=side, mapping_layers=2, channel_base=64 * 64, channel_max=64)
    return G.eval().requires_grad_(False)


def drive(module: Discovery, U: torch.Tensor) -> tuple[float, Solution]:
    """Seconds and end of a search over all people, without a trainer."""
    began = time.perf_counter()
    while True:
        module.add(dict(enumerate(U.split(1))))
        after = module.solver.step(module.problem, module.state, module.replies())
        if isinstance(after, Solution):
            return time.perf_counter() - began, after
        module.state, module.passes = after, module.passes + 1
        module.clear()


PIXELS = (
    "~criterion.suppress.others",
    "~criterion.suppress.texture",
    "criterion.layers=all",
    "criterion.activate.color.term.regions=[hat]",
    "+criterion.activate.color.term.outside=true",
    "criterion.suppress.residual.term.regions=[hat]",
    "+criterion.suppress.residual.term.outside=true",
)


def seconds_of_rows(module: Discovery, u: torch.Tensor, count: int, seed: int) -> tuple[float, int]:
    """Seconds of the published algorithm on one person, from some of its rows, and how many rows there are."""
    from reference import published_rows

    analysis = module.analyse(u)
    assert isinstance(analysis, Analysis)
    seen = analysis._replace(parse=analysis.parse.long())
    features = PersonFeatures(module.coordinates, list(module.terms), seen, u)

    def f(v: torch.Tensor) -> torch.Tensor:
        return torch.cat(features(v), 1)

    v = module.coordinates.start(u)
    rows = f(v).shape[1]
    some = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))[:count].tolist()
    began = time.perf_counter()
    published_rows(f, v, some)
    return (time.perf_counter() - began) / count * rows, rows


def random() -> dict[str, Any]:
    """The published algorithm, whole Jacobians and the search on generators with random weights, two people each."""
    found = {}
    for side in (64, 256):
        G = random_generator(side)
        fast, U = a_person(*PIXELS, generator=G, people=2)
        slow, _ = a_person(*PIXELS, "solver=exact", generator=G, people=2)
        (seconds, first), (whole, second) = drive(fast, U), drive(slow, U)
        published, rows = seconds_of_rows(fast, U[:1], 60, 0)
        one, other = first.result, second.result
        kept = min(len(one.values), len(other.values))
        found[str(side)] = {
            "coordinates": fast.problem.n,
            "rows": rows,
            "published": published,
            "exact": whole / 2,
            "krylov": seconds / 2,
            "products": first.cost.products,
            "rank": [len(one.values), len(other.values)],
            "smallest_cosine": float(principal_angles(one.vectors, other.vectors).max().cos()),
            "largest_eigenvalue_error": float((one.values[:kept] / other.values[:kept] - 1).abs().max()),
            "stopped_early": first.stopped_early,
        }
        print(side, found[str(side)], flush=True)
    return found


def growth() -> dict[str, Any]:
    """Seconds of searches that differ in one number, and the slope of their logarithms."""
    found: dict[str, Any] = {}

    def series(name: str, xs: list[float], runs: list[tuple[Discovery, torch.Tensor]]) -> None:
        rows = []
        for x, (module, U) in zip(xs, runs, strict=True):
            seconds, end = drive(module, U)
            facts = {"products": end.cost.products, "why": end.stopped_early, "rank": len(end.result.values)}
            rows.append({"x": x or module.problem.n, "seconds": seconds} | facts)
            print(name, rows[-1], flush=True)
        first, last = rows[0], rows[-1]
        slope = math.log(last["seconds"] / first["seconds"]) / math.log(last["x"] / first["x"])
        found[name] = {"rows": rows, "slope": slope}

    series("people", [4, 8, 16, 32], [a_person(people=count) for count in (4, 8, 16, 32)])
    parts = [a_person(f"layers={part}", people=4) for part in ("128px-", "64px-", "32px-", "16px-")]
    series("coordinates", [0, 0, 0, 0], parts)
    sizes = [a_person(f"criterion.size={size}", people=4) for size in (16, 32, 64, 128)]
    series("features of the residual", [3 * size**2 for size in (16, 32, 64, 128)], sizes)
    ranks = [1, 3, 9, 16]
    series("rank", ranks, [a_person(f"criterion.rank={r}", "criterion.activate_ratio=1e-6", people=4) for r in ranks])
    sides = [64, 128, 256]
    series("side, random weights", sides, [a_person(*PIXELS, generator=random_generator(s), people=4) for s in sides])
    draw(found)
    return found


def draw(found: dict[str, Any]) -> None:
    """growth.png: a panel per series, both axes logarithmic."""
    figure = Figure(figsize=(15, 3.2), layout="constrained")
    for axes, (name, each) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        xs, ys = [r["x"] for r in each["rows"]], [r["seconds"] for r in each["rows"]]
        axes.loglog(xs, ys, "-o", color="#c2410c")
        axes.set_xticks(xs, [f"{x:,}" for x in xs])
        axes.minorticks_off()
        axes.set_yticks(ys, [f"{y:.1f}" for y in ys], fontsize=8)
        axes.set_title(f"{name}\nslope {each['slope']:.2f}", fontsize=10)
        axes.grid(alpha=0.25)
        axes.set_ylabel("seconds", fontsize=9)
    figure.savefig(HERE / "growth.png", dpi=100)


def memory() -> dict[str, Any]:
    """Peak memory by number of people, and of one product of a generator at 1,024 pixels."""
    people = {}
    for count in (8, 100, 1000):
        settings = (*SKIN, "layers=64px-", "solver.passes=4", f"latents.count={count}")  # later passes hold no more
        people[str(count)] = discovered(f"people_{count}", *settings)[1]["peak_memory_mb"]
        print(count, people, flush=True)
    done = subprocess.run([sys.executable, __file__, "--product", "1024"], check=True, capture_output=True, text=True)
    return {"people": people, "product_1024": json.loads(done.stdout)}


def product(side: int) -> dict[str, float]:
    """Seconds and this process's peak memory of one product either way, at full width and random weights."""
    torch.manual_seed(0)
    G = Generator(img_resolution=side).eval().requires_grad_(False)
    s = G.convert(G.sample(1), "z", "s")
    began = time.perf_counter()
    J = Jacobian(lambda v: G(v, "s").flatten(1), s, batch=Batch(1))
    JV = J.matmat(torch.randn(s.shape[1], 1))
    middle = time.perf_counter()
    J.adjoint(JV)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "coordinates": s.shape[1],
        "peak_mb": peak,
        "push_s": middle - began,
        "pull_s": time.perf_counter() - middle,
    }


def same() -> dict[str, Any]:
    """Largest angle to one process, by how the work was done; and seconds with one and two processes."""
    settings = (*SKIN, "layers=64px-", "latents.count=8")
    first = load_subspace(discovered("same", *settings)[0])
    ways: dict[str, tuple[tuple[str, ...], int | None]] = {
        "2 processes": (("trainer=ddp_cpu",), None),
        "4 processes": (("trainer=ddp_cpu", "trainer.devices=4"), None),
        "1 product at once": (("solver.chunk=1",), None),
        "64 products at once": (("solver.chunk=64",), None),
        "1 thread": ((), 1),
        "2 threads": ((), 2),
    }
    angles = {}
    for name, (more, threads) in ways.items():
        other = load_subspace(discovered(name.replace(" ", "_"), *settings, *more, threads=threads)[0])
        angles[name] = float(first.angles(other).max())
        print(name, angles[name], flush=True)
    one, two = (discovered(f"{t}_32", *SKIN, f"trainer={t}")[1] for t in ("cpu", "ddp_cpu"))
    return {"angles": angles, "seconds": {"1 process": one["whole"], "2 processes": two["whole"]}}


def broken() -> dict[str, Any]:
    """Runs that are killed at random moments and go on, and a killed rank."""
    settings = (*SKIN, "layers=64px-", "latents.count=4")
    folder, metrics = discovered("unbroken", *settings)
    truth, draw_moments = load_subspace(folder), torch.Generator().manual_seed(0)
    moments = torch.rand(20, generator=draw_moments) * metrics["whole"]
    angles, before = [], 0
    for number, moment in enumerate(moments.tolist()):
        target = RUNS / f"killed_{number}"
        process = subprocess.Popen(command(*settings, folder=target), stdout=-3, stderr=-3)
        time.sleep(moment)
        process.kill()
        process.wait()
        last = target / "last.ckpt"
        before += last.exists()
        on = ("ckpt_path=last",) if last.exists() else ()
        done = subprocess.run(command(*settings, *on, folder=target), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        angles.append(float(truth.angles(load_subspace(target)).max()))
        print(number, f"{moment:.1f} s", last.exists(), angles[-1], flush=True)
    target = RUNS / "lost_rank"
    lost = subprocess.Popen(
        command(*settings, "trainer=ddp_cpu", folder=target), stdout=-3, stderr=subprocess.PIPE, text=True
    )
    child = None
    while child is None and lost.poll() is None:
        children = Path(f"/proc/{lost.pid}/task/{lost.pid}/children").read_text().split()
        child = int(children[-1]) if len(children) == 2 else None
        time.sleep(0.2)
    time.sleep(2)
    os.kill(child or lost.pid, 9)
    began = time.perf_counter()
    _, said = lost.communicate(timeout=90)
    ended = {"seconds": time.perf_counter() - began, "code": lost.returncode, "said": said.strip().splitlines()[-1]}
    return {"angles": angles, "with_checkpoint": before, "lost_rank": ended}


def timed(work: Callable[[], object], products: int, device: str) -> float:
    """Milliseconds a product: the median of three calls after a first one, which builds what later ones find."""
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:]) / products * 1e3


def device(sides: tuple[int, ...] = (256, 1024), name: str = "cuda") -> dict[str, Any]:
    """Milliseconds a product by batch and precision on a GPU, errors against float32, and a published row's there."""
    if name == "cuda" and not torch.cuda.is_available():
        return {"skipped": "no CUDA device"}

    found: dict[str, Any] = {"device": torch.cuda.get_device_name() if name == "cuda" else name}
    for side in sides:
        torch.manual_seed(0)
        G = Generator(img_resolution=side).eval().requires_grad_(False).to(name)
        s = G.convert(G.sample(1).to(name), "z", "s")
        V = torch.randn(s.shape[1], 64, device=name)
        exact = torch.empty(0)
        for precision in ("float32", "tf32", "bfloat16"):
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            drawer = copy.deepcopy(G).bfloat16() if precision == "bfloat16" else G
            kind = next(drawer.parameters()).dtype

            def f(v: torch.Tensor, drawer: Generator = drawer, kind: torch.dtype = kind) -> list[torch.Tensor]:
                return [drawer(v.to(kind), "s").to(v.dtype).flatten(1)]

            rows: dict[str, float] = {}
            for size in (1, 4, 16, 64):
                push, some = Jacobian(f, s, batch=Batch(size)).matmat, V[:, :size]
                rows[str(size)] = timed(lambda push=push, some=some: push(some), size, name)  # type: ignore[misc]
            product = Jacobian(f, s, batch=Batch(1)).matmat(V[:, :1])
            exact = exact if len(exact) else product
            rows["error"] = float((product - exact).norm() / exact.norm())
            found[f"{side} px, {precision}"] = rows
            print(side, precision, rows, flush=True)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        v = s.detach().requires_grad_()
        value = G(v, "s").flatten()[7]
        backward = functools.partial(torch.autograd.grad, value, v, retain_graph=True)
        found[f"{side} px, a published row without its forward pass"] = timed(backward, 1, name)
    return found


PRESETS = sorted(path.stem for path in (HERE.parents[1] / "conf" / "criterion").glob("*.yaml"))
PAIRED = {"skin_color": 3, "mouth_shape": 1}
"""So many rounds with the package as it was before, which takes its turn."""


def presets(before: Path | None = None) -> dict[str, Any]:
    """Every preset with its defaults: products and seconds a person, and of the whole process; a row each is kept.

    Args:
        before: another checkout, of which `PAIRED` are measured as well.
    """
    file = RUNS / "presets.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def row(name: str, package: Path | None) -> dict[str, float]:
        metrics = discovered(f"preset_{name}", f"criterion={name}", "logger=none", package=package)[1]
        return {"products": metrics["products_per_person"], "a person": metrics["seconds"]["products"] / 32,
                "in all": metrics["whole"], "rank": metrics["rank"], "peak MB": metrics["peak_memory_mb"],
                "stopped early": metrics["stopped_early"]}  # fmt: skip

    for name in [*PAIRED, *(each for each in PRESETS if each not in PAIRED)]:
        if name not in found:
            rounds = []
            for _ in range(PAIRED.get(name, 1)):
                one = {"before": row(name, before)} if before and name in PAIRED else {}
                rounds.append(one | {"now": row(name, None)})
                print(name, rounds[-1], flush=True)
            found[name] = rounds
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found))
    return found


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "presets": presets,
    "against": against,
    "wide": wide,
    "random": random,
    "growth": growth,
    "same": same,
    "memory": memory,
    "broken": broken,
    "device": device,
}


def main() -> None:
    """Measure what is named, everything by default, into results.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which parts; all by default")
    parser.add_argument("--before", type=Path, help="a checkout of another commit, whose searches take turns")
    parser.add_argument("--product", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    keep_freed_memory()
    if args.product:
        print(json.dumps(product(args.product)))
        return
    file = HERE / "results.json"
    for name in args.parts or PARTS:
        results = json.loads(file.read_text()) if file.exists() else {}
        more = {"before": args.before.resolve()} if name == "presets" and args.before else {}
        results[name] = {"machine": machine()} | PARTS[name](**more)
        file.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
