"""Many presets from one Jacobian: the image's is taken once per person, and every term's follows by the chain rule.

A run of `ice_lightning.run` differentiates its own terms through the generator each time. Here all presets share the
costly part.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.func import jvp, vmap

from ice_lightning.criterions import Analysis, Term
from ice_lightning.discovery.module import Discovery
from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import Batch
from ice_lightning.solvers.dense import thin_factor
from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.problem import Reply
from ice_lightning.solvers.result import Solution
from ice_lightning.tasks.build import build_criterion, layers_of

FEW = 300
"""Up to so many features a term's rows are taken by backward passes, which don't go through the generator."""
TOGETHER = {"cpu": (1, 64), "cuda": (128, 512)}
"""Derivatives of pictures at a time, and of terms."""


def term_rows(term: Term, image: Tensor, analysis: Analysis, moved: Tensor) -> Tensor:
    """d term / d latent (m, n) from `moved`, d image / d latent (n, 3, H, W)."""

    def features(flat: Tensor) -> Tensor:
        return term(flat.view(-1, *image.shape[1:]), analysis)

    pictures, terms = TOGETHER[image.device.type]
    J = Jacobian(features, image.flatten(1), batch=Batch(pictures))
    if J.shape[0] <= FEW:
        return J.adjoint(torch.eye(J.shape[0]).to(image)).T @ moved.flatten(1).T

    def along(tangent: Tensor) -> Tensor:
        return jvp(lambda x: term(x, analysis), (image,), (tangent[None],))[1][0]

    return torch.cat([vmap(along)(part) for part in moved.split(terms)]).T


def image_jacobian(G: AnyGenerator, space: str, u: Tensor, image: Tensor) -> Tensor:
    """d image / d latent (n, 3, H, W) of a person u (1, n) and their picture (1, 3, H, W)."""
    J = Jacobian(lambda v: G(v, space).flatten(1), u, batch=Batch(TOGETHER[u.device.type][0]))
    return J.matmat(torch.eye(u.shape[1]).to(u)).T.reshape(-1, *image.shape[1:])


def presets(names: list[str], space: str = "s") -> dict[str, DictConfig]:
    """The composed settings of a run of each preset."""
    common = (f"space={space}", "geometry=euclidean", "solver=exact", "latents.count=8", "logger=none", "run_dir=.",
              "criterion.rank=null")  # fmt: skip
    with initialize_config_module("ice_lightning.conf", version_base="1.3"):
        return {name: compose("config", [f"criterion={name}", *common]) for name in names}


def discover(
    G: AnyGenerator, faces: Faces, configs: dict[str, DictConfig], done: Callable[[str, Discovery, float], None]
) -> None:
    """Every preset's subspace, as `ice_lightning.run` finds it; `done` gets each with its share of the time.

    The share is the image Jacobians', in proportion to the coordinates that may move, with the preset's own terms and
    its own solve.

    Args:
        G: draws the people, on any device.
        faces: on the same one.
        configs: the composed settings of each preset, alike in space and latents.
        done: gets a preset's name, its finished module and its seconds.
    """
    first = next(iter(configs.values()))
    criterions = {name: build_criterion(cfg.criterion, faces, G.resolution) for name, cfg in configs.items()}
    u = G.people(first.latents.count, first.latents.seed, first.space)
    with torch.no_grad():
        images = [G(each[None], first.space) for each in u]
        analyses = [Analysis(*faces.analyse(image)) for image in images]
    used = {
        name: [i for i, a in enumerate(analyses) if not any(bool(w.term.empty(a)) for w in c.activate.values())]
        for name, c in criterions.items()
    }
    nodes = {
        name: [n.term for n in [*cfg.criterion.activate.values(), *cfg.criterion.suppress.values()] if n is not None]
        for name, cfg in configs.items()
    }
    keys = {name: [(OmegaConf.to_yaml(n, resolve=True), tuple(used[name])) for n in nodes[name]] for name in configs}
    terms: dict[tuple[str, tuple[int, ...]], Term] = {}
    for name, c in criterions.items():
        terms |= dict(zip(keys[name], (e.term for e in [*c.activate.values(), *c.suppress.values()]), strict=True))
    factors: dict[tuple[str, tuple[int, ...]], Tensor] = {}
    spent, shared = dict.fromkeys(terms, 0.0), 0.0
    for person, (each, image, analysis) in enumerate(zip(u, images, analyses, strict=True)):
        began = time.perf_counter()
        moved = image_jacobian(G, first.space, each[None], image)
        shared += time.perf_counter() - began
        for key, term in terms.items():
            if person in key[1]:
                began = time.perf_counter()
                rows = term_rows(term, image, analysis, moved).double()
                factors[key] = thin_factor([factors.get(key, rows[:0]), rows])
                spent[key] += time.perf_counter() - began
        print(f"person {person + 1} of {len(u)}: {shared:.0f} s images, {sum(spent.values()):.0f} s terms", flush=True)
    for name, criterion in criterions.items():
        began = time.perf_counter()
        module = Discovery(G, faces, criterion, FullJacobian(), len(u), first.space, layers_of(configs[name], G))
        module.people_used = len(used[name])
        coordinates = module.coordinates.index
        means = [factors[key].cpu()[:, coordinates] * len(used[name]) ** -0.5 for key in keys[name]]
        reply = Reply(len(used[name]), means, [], [], len(coordinates))
        end = module.solver.step(module.problem, module.state, [reply])
        assert isinstance(end, Solution)
        module.finish(end)
        own = time.perf_counter() - began + sum(spent[key] for key in keys[name])
        done(name, module, own + shared * len(coordinates) / u.shape[1])
