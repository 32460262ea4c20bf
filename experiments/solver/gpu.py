"""What searches, simpler ones, the published loop and explanations take on a GPU, in under ten minutes in all.

    python experiments/solver/gpu.py [part ...]       # on a GPU
    python experiments/solver/gpu.py --miniature      # the same in small, on a CPU, into another folder

Weights of the generators are random, at full width (config-f of Karras et al. 2020), so that seconds and products are
those of a trained one and pictures mean nothing. Each part is written to gpu/PART.json as soon as it is done, and isn't
run again; none is begun when the minutes are over, and the same command goes on with those that are missing.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from measure import HERE, PIXELS, SKIN, drive, seconds_of_rows, timed
from torch import Tensor
from torch.func import jvp, vmap

from ice_lightning import discover, explain, load_generator
from ice_lightning.discovery.module import Discovery
from ice_lightning.explanation import ControlSettings
from ice_lightning.files import write_json
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.solvers.result import Solution
from ice_lightning.subspace import principal_angles
from ice_lightning.tasks.build import build_criterion, layers_of

MOUTH = ("criterion=mouth_shape", "criterion.layers=all", "criterion.rank=8")
"""Of a random picture: where its landmarks say that a mouth is."""
IMAGE = (
    "criterion.activate.color.term._target_=ice_lightning.criterions.RegionResidual",
    "criterion.suppress=null",
    "criterion.rank=8",
    "criterion.activate_ratio=1e-6",
)
"""With PIXELS: every pixel but for its region's mean colour, and nothing suppressed."""
PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        device: cuda or cpu.
        sides: of the generators' pictures, in pixels: of the accuracy, and the largest.
        people: of a search.
        fine: layers that move where whole Jacobians are taken.
        rows: of the published loop that are timed.
        explained: people of an explanation.
        width: of a generator's layers; None for the published one.
    """

    device: str
    sides: tuple[int, int]
    people: int
    fine: str
    rows: int
    explained: int
    width: int | None

    def generator(self, side: int) -> Generator:
        """With random weights."""
        torch.manual_seed(0)
        w = self.width
        narrow = {"z_dim": w, "w_dim": w, "mapping_layers": 2, "channel_base": 64 * w, "channel_max": w} if w else {}
        return Generator(img_resolution=side, **narrow).eval().requires_grad_(False)

    def search(self, side: int, people: int, *settings: str, precision: str = "float32") -> dict[str, Any]:
        """A search of `people` people: seconds, products, peak memory, and its end under "end"."""
        with initialize_config_module("ice_lightning.conf", version_base="1.3"):
            cfg = compose("config", [*SKIN, "run_dir=.", *settings])
        G, faces = self.generator(side), instantiate(cfg.faces)
        criterion, solver = build_criterion(cfg.criterion, faces, G.resolution), instantiate(cfg.solver)
        layers = layers_of(cfg, G)
        module = Discovery(G, faces, criterion, solver, people, "s", layers, precision, metric=cfg.geometry).eval()
        module = module.to(self.device)
        with torch.no_grad():
            U = G.convert(G.sample(people, 0).to(self.device), "z", "s")
        module.on_fit_start()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds, end = drive(module, U)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        row = {"seconds": round(seconds, 2), "a person": round(seconds / people, 3), "products": end.cost.products,
               "coordinates": module.problem.n, "people": module.people_used, "rank": len(end.result.values),
               "stopped early": end.stopped_early, "residual": end.residual}  # fmt: skip
        if self.device == "cuda":
            row["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        print(side, people, precision, row, flush=True)
        return row | {"end": end, "module": module, "U": U}


FULL = Scale("cuda", (256, 1024), 32, "64px-", 150, 64, None)
MINIATURE = Scale("cpu", (32, 64), 2, "all", 4, 2, 16)


def told(row: dict[str, Any]) -> dict[str, Any]:
    """What of a search is written."""
    return {name: each for name, each in row.items() if name not in ("end", "module", "U")}


def beside(found: Solution, truth: Solution) -> dict[str, float]:
    """How near two subspaces are, and their largest eigenvalues."""
    kept = min(len(found.result.values), len(truth.result.values))
    V, W = (each.result.vectors[:, :kept] for each in (found, truth))
    ratio = found.result.values[:kept] / truth.result.values[:kept]
    return {"smallest cosine": float(principal_angles(V, W).max().cos()),
            "largest eigenvalue error": float((ratio - 1).abs().max())}  # fmt: skip


def accuracy(scale: Scale) -> dict[str, Any]:
    """Two people against whole Jacobians, by precision."""
    settings = (*PIXELS[:2], *PIXELS[3:], f"layers={scale.fine}")
    exact = scale.search(scale.sides[0], 2, *settings, "solver=exact")
    found = {"exact": told(exact)}
    for precision in PRECISIONS:
        row = scale.search(scale.sides[0], 2, *settings, precision=precision)
        found[precision] = told(row) | beside(row["end"], exact["end"])
    return found


def searches(scale: Scale, side: int) -> dict[str, Any]:
    """Whole searches at one of the sides, of colours by precision and, for a quarter of the people, of a mouth."""
    found = {}
    for precision in PRECISIONS:
        found[f"colours, {precision}"] = told(
            scale.search(scale.sides[side], scale.people, *PIXELS, precision=precision)
        )
    found["mouth"] = told(scale.search(scale.sides[side], max(2, scale.people // 4), *MOUTH))
    return found


def published(scale: Scale) -> dict[str, Any]:
    """Seconds of the published loop for one person, from some of its rows (Li et al. 2022: a backward pass each)."""
    found = {}
    for side in scale.sides:
        row = scale.search(side, 2, *PIXELS)
        seconds, rows = seconds_of_rows(row["module"], row["U"][:1], scale.rows, 0)
        found[f"{side} px"] = {"seconds": seconds, "rows": rows, "times a search": seconds / row["a person"]}
        print(side, found[f"{side} px"], flush=True)
    return found


def simpler(scale: Scale) -> dict[str, Any]:
    """Power iteration and SeFa beside the search, for eight directions of what colours do, with nothing suppressed.

    Power iteration in a block, as of Low-Rank Subspaces in GANs (Zhu et al. 2021): until the Ritz pairs are as near as
    the search's. A factorization of whole Jacobians (ReSeFa, Zhu et al. 2022) takes a product for each coordinate, see
    `accuracy`. SeFa (Shen and Zhou 2021) takes the singular vectors of the weights and looks at no picture.
    """
    settings = (*PIXELS[:-2], *IMAGE)
    row = scale.search(scale.sides[0], 1, *settings)
    module, u, end = row["module"], row["U"], row["end"]
    features = module.features(0, u, list(range(len(module.terms))))
    J, V = features.jacobian(module.batch), torch.randn(module.problem.n, 8, generator=torch.Generator().manual_seed(0))
    V, products, began = torch.linalg.qr(V.to(scale.device))[0], 0, time.perf_counter()
    residual = torch.inf
    while residual > max(end.residual or 0, 1e-2) and products < 4000:
        AV = J.adjoint(J.matmat(V))
        products += 2 * V.shape[1]
        values, Y = torch.linalg.eigh(V.T @ AV)
        rest = AV @ Y - (V @ Y) * values
        residual = float((rest.norm(dim=0) / values.clamp_min(1e-30)).max())
        V = torch.linalg.qr(AV)[0]
    power = {"seconds": time.perf_counter() - began, "products": products, "residual": residual}
    began = time.perf_counter()
    weights = [p for name, p in module.generator.named_parameters() if name.endswith("affine.weight")]
    torch.linalg.svd(torch.cat([p.double() for p in weights]), full_matrices=False)
    return {"search": told(row), "power iteration": power, "SeFa": {"seconds": time.perf_counter() - began}}


def explanations(scale: Scale) -> dict[str, Any]:
    """Counterfactuals per second within mouth_shape on the embedded generator: average, own and held directions."""
    G = load_generator("embedded").to(scale.device)
    S = discover(G, "mouth_shape", people=4 if scale.device == "cuda" else 1)
    found: dict[str, Any] = {}
    nothing = ControlSettings(subspaces=0, weights=False, unrestricted=False)
    for name, more in (
        ("average", {"local": False}),
        ("own", {"local": True}),
        ("held", {"local": True, "held": True}),
    ):
        began = time.perf_counter()
        E = explain(G, "smiling", S, people=scale.explained, controls=nothing, **more)  # type: ignore[arg-type]
        seconds = time.perf_counter() - began
        found[name] = {"seconds": seconds, "people a second": scale.explained / seconds, "flips": E.summary.flips.rate}
        print(name, found[name], flush=True)
    return found


def recorded(product: Callable[[], Tensor]) -> Callable[[], None]:
    """What launches all that one product launches at once: a CUDA graph of it."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        product()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        product()
    return graph.replay


Way = tuple[Callable[[], Callable[[], object]], int]
"""What makes a callable that takes some products, and how many it takes."""


def ways(G: Generator, people: Tensor, device: str) -> dict[str, Way]:
    """Ways to take products of the image's Jacobian, most of them eight for each of eight people (8, n)."""
    V = torch.randn(8, *people.shape, generator=torch.Generator().manual_seed(0)).to(device)
    last = copy.deepcopy(G).to(memory_format=torch.channels_last)
    each = [slice(i, i + 1) for i in range(8)]

    def forward(u: Tensor, v: Tensor, net: Generator = G) -> Tensor:
        return jvp(lambda s: net(s, "s"), (u,), (v,))[1]

    def backward(draw: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        at = people.detach().requires_grad_()
        with torch.enable_grad():
            total = draw(at).sum()
        return lambda: [torch.autograd.grad(total, at, retain_graph=True) for _ in V]

    def draw(s: Tensor) -> Tensor:
        return G(s, "s")

    found: dict[str, Way] = {
        "forward, one by one": (lambda: lambda: [forward(people[i], v[i]) for i in each for v in V], 64),
        "forward, vectors together": (
            lambda: lambda: [vmap(partial(forward, people[i]))(V[:, i]) for i in each], 64),
        "forward, people together": (lambda: lambda: [forward(people, v) for v in V], 64),
        "forward, all together": (lambda: lambda: vmap(partial(forward, people))(V), 64),
        "forward, all together, channels last": (
            lambda: lambda: vmap(partial(forward, people, net=last))(V), 64),
        "backward, people together": (lambda: backward(draw), 64),
        "backward, people together, channels last": (lambda: backward(lambda s: last(s, "s")), 64),
        "backward, people together, compiled": (lambda: backward(torch.compile(draw)), 64),
    }  # fmt: skip
    if device == "cuda":
        found["forward, a graph of one"] = lambda: recorded(lambda: forward(people[:1], V[0, :1])), 1
    return found


def full(scale: Scale) -> dict[str, Any]:
    """Ways to fill a GPU: milliseconds a product of the image's Jacobian."""
    found: dict[str, Any] = {}
    generators = {"embedded": load_generator("embedded"), f"{scale.sides[0]} px": scale.generator(scale.sides[0])}
    for name, generator in generators.items():
        G, rows = generator.to(scale.device), dict[str, Any]()
        people = G.convert(G.sample(8, 0).to(scale.device), "z", "s")
        for way, (made, products) in ways(G, people, scale.device).items():
            try:
                rows[way] = timed(made(), products, scale.device)
            except RuntimeError as error:  # a way that isn't possible is a result
                rows[way] = str(error).splitlines()[0]
            print(name, way, rows[way], flush=True)
        found[name] = rows
    return found


def tests(scale: Scale) -> dict[str, Any]:
    """The tests that need a GPU."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"], capture_output=True, text=True)
    return {"status": done.returncode, "says": done.stdout.strip().splitlines()[-12:]}


PARTS: dict[str, Callable[[Scale], dict[str, Any]]] = {
    "accuracy": accuracy, "published": published, "simpler": simpler, "explanations": explanations,
    "searches": partial(searches, side=0), "large": partial(searches, side=1), "full": full, "tests": tests,
}  # fmt: skip
"""The longest ones last: they are cut first where minutes run out."""


def main() -> None:
    """Run the parts that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--miniature", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no part is begun")
    parser.add_argument("--out", type=Path, default=HERE / "gpu")
    args = parser.parse_args()
    scale = MINIATURE if args.miniature else FULL
    out = Path("outputs/solver/miniature") if args.miniature else args.out
    if scale.device == "cuda" and not torch.cuda.is_available():
        sys.exit("expected a CUDA device, got none: add --miniature for a rehearsal on a CPU")
    name = torch.cuda.get_device_name() if scale.device == "cuda" else "a CPU, in miniature"
    began = time.perf_counter()
    for part in args.parts or PARTS:
        if (out / f"{part}.json").exists() or time.perf_counter() - began > args.minutes * 60:
            continue
        start = time.perf_counter()
        found = PARTS[part](scale)
        facts = {"device": name, "torch": torch.__version__, "seconds": round(time.perf_counter() - start, 1)}
        write_json(out / f"{part}.json", facts | found, indent=1)
        print(f"{part}: {facts['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
