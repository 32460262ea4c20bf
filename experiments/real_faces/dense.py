"""Whole Jacobians of people, from which the average and own directions of every preset follow by small matrices.

A run takes as many products as a preset needs, for each preset anew. Here every term of every preset is differentiated
once per person (see experiments/zoo/discover.py), and the package's own searches are answered from the matrices.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from omegaconf import DictConfig, OmegaConf
from sitters import image_jacobian, term_rows
from torch import Tensor

from ice_lightning.criterions import Analysis, Criterion, Term
from ice_lightning.discovery.evaluate import evaluate, used_terms
from ice_lightning.discovery.features import MovingCoordinates
from ice_lightning.discovery.local import LocalDirections, LocalProblem, find_by, joined
from ice_lightning.discovery.module import Discovery
from ice_lightning.jacobians.linearize import Jacobian
from ice_lightning.modules.faces import Faces
from ice_lightning.modules.generator import AnyGenerator
from ice_lightning.parallel import Batch
from ice_lightning.solvers.dense import thin_factor
from ice_lightning.solvers.exact import FullJacobian
from ice_lightning.solvers.local import Average
from ice_lightning.solvers.problem import Query, Reply
from ice_lightning.solvers.result import Solution

Rows = dict[str, Tensor]
"""By term's settings a factor (r, n) of its energy, in population deviations."""


def keys(cfg: DictConfig) -> list[str]:
    """What tells a criterion's terms from those of others, activated first."""
    nodes = [*cfg.criterion.activate.values(), *cfg.criterion.suppress.values()]
    return [OmegaConf.to_yaml(node.term, resolve=True) for node in nodes if node is not None]


def rows_of(
    G: AnyGenerator, faces: Faces, coordinates: MovingCoordinates, u: Tensor, terms: Mapping[str, Term]
) -> Rows:
    """The rows of every term in one person u (1, n)."""
    space, found = coordinates.space, {}
    with torch.no_grad():
        image = G(u, space)
        analysis = Analysis(*faces.analyse(image))
    moved = image_jacobian(G, space, u, image)
    whitened = coordinates.directions(torch.eye(len(coordinates.index)).to(u))
    for key, term in terms.items():
        R = term_rows(term, image, analysis, moved).double()
        found[key] = ((thin_factor([R]) if len(R) > R.shape[1] else R) @ whitened.double()).float()
    return found


def mean_rows(parts: list[Rows]) -> Rows:
    """Factors of the mean energies of several people."""
    return {key: thin_factor([part[key].double() for part in parts]) * len(parts) ** -0.5 for key in parts[0]}


def average(
    G: AnyGenerator, faces: Faces, space: str, criterion: Criterion, names: list[str], mean: Rows, people: int
) -> tuple[Tensor, LocalProblem]:
    """A criterion's average directions (n, k), and what single people's searches begin with.

    Args:
        G: draws them.
        faces: see them.
        space: of the latents.
        criterion: what to change.
        names: `keys` of its terms.
        mean: rows over people.
        people: how many these are.
    """
    module = Discovery(G, faces, criterion, FullJacobian(), people, space, metric="population")
    reply = Reply(people, [mean[key].cpu() for key in names], [], [], module.problem.n)
    end = module.solver.step(module.problem, module.state, [reply])  # type: ignore[arg-type]
    assert isinstance(end, Solution)
    problem = module.problem._replace(people=1)
    local = LocalProblem(G, faces, criterion, module.coordinates, problem, Average.of(end))
    return module.coordinates.directions(end.result.vectors), local


def own(local: LocalProblem, u: Tensor, rows: list[Rows], names: list[str], count: int) -> LocalDirections:
    """The own directions of people u (N, n), from the rows of each."""

    def find(u: Tensor, rows: Rows) -> LocalDirections:
        parts = [rows[key].double() for key in names]
        J = Jacobian(lambda x: [x @ R.T for R in parts], torch.zeros(1, local.problem.n).double(), batch=Batch(64))

        def answer(query: Query) -> Reply:
            used = used_terms(query, len(names))
            return evaluate(query, J.of(used), used, local.problem.n, 0).mean()

        return find_by(local, u, local.most(count), answer)

    return joined([find(each, part) for each, part in zip(u.split(1), rows, strict=True)])
