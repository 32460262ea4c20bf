"""The numbers of a discovery's metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from ice_lightning.criterions import Criterion
from ice_lightning.solvers.result import Solution
from ice_lightning.solvers.stability import Stability


@dataclass(frozen=True)
class DiscoveryMetrics:
    """What a discovery says of its subspace.

    Attributes:
        rank: directions.
        eigenvalues: of these, descending.
        explained_energy: the activated terms' share of energy in the subspace, 0 to 1.
        explained_energy_error: its standard error; 0 where it is exact.
        leakage: per suppressed term the most energy of a direction, as a share of the term's largest eigenvalue.
        suppressed_rank: directions that were projected out.
        latent_dim: coordinates of the space.
        coordinates: of these, how many may move.
        people_used: how many were looked at.
        people_skipped: how many weren't.
        skipped_for_want_of: how many, by what is missing.
        energy_of_person: of the activated terms, by number, where rows were taken.
        odd_people: whose energy is far from the others'.
        stability: between halves of the people; None where they are few.
        products_per_person: with a Jacobian or its transpose.
        passes: over the people.
        residual: the largest of a direction, relative to its eigenvalue.
        stop: why the search ended, a name of `Stop` in lower case.
        stopped_early: the same as a sentence; empty where every direction has a small residual.
    """

    rank: int
    eigenvalues: tuple[float, ...]
    explained_energy: float
    explained_energy_error: float
    leakage: Mapping[str, float]
    suppressed_rank: int
    latent_dim: int
    coordinates: int
    people_used: int
    people_skipped: int
    skipped_for_want_of: Mapping[str, int]
    energy_of_person: Mapping[int, float]
    odd_people: tuple[int, ...]
    stability: Stability | None
    products_per_person: int
    passes: int
    residual: float
    stop: str
    stopped_early: str

    def to_json(self) -> dict[str, Any]:
        """As metrics.json has it."""
        energies = {str(person): energy for person, energy in self.energy_of_person.items()}
        return asdict(self) | {
            "eigenvalues": list(self.eigenvalues),
            "odd_people": list(self.odd_people),
            "energy_of_person": energies,
            "stability": None if self.stability is None else self.stability.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From metrics.json, which says more."""
        known = {field.name: values[field.name] for field in fields(cls)}
        stability = known["stability"]
        return cls(
            **known
            | {
                "eigenvalues": tuple(known["eigenvalues"]),
                "odd_people": tuple(known["odd_people"]),
                "energy_of_person": {int(person): energy for person, energy in known["energy_of_person"].items()},
                "stability": None if stability is None else Stability.from_json(stability),
            }
        )


@dataclass(frozen=True)
class RunMetrics:
    """All that metrics.json of a discovery says.

    Attributes:
        found: of the subspace.
        seconds: by stage.
        peak_memory_mb: of the process, or of the GPU where that is larger.
    """

    found: DiscoveryMetrics
    seconds: Mapping[str, float]
    peak_memory_mb: float

    def to_json(self) -> dict[str, Any]:
        """As metrics.json has it."""
        return self.found.to_json() | {"seconds": dict(self.seconds), "peak_memory_mb": self.peak_memory_mb}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From metrics.json."""
        return cls(DiscoveryMetrics.from_json(values), values["seconds"], values["peak_memory_mb"])


def leakage(criterion: Criterion, factors: list[Tensor], coefficients: Tensor) -> dict[str, float]:
    """The most energy of a direction in each suppressed term, as a share of the term's largest eigenvalue.

    Args:
        criterion: whose suppressed terms.
        factors: (r_i, d) of these, with the Gram matrices of J_i in some coordinates.
        coefficients: (d, k), the directions there.

    Returns:
        By name, label and ratio; 0 where no one has a term's region.
    """
    found = {}
    for (name, each), R in zip(criterion.suppress.items(), factors, strict=True):
        first = float(torch.linalg.matrix_norm(R, 2).square()) if len(R) else 0.0
        share = float((R @ coefficients).square().sum(0).max() / first) if first > 0 else 0.0
        found[f"{name} ({each.term.label}), ratio {each.ratio:g}"] = share
    return found


def explained_energy(solution: Solution, weights: tuple[float, ...]) -> tuple[float, float]:
    """The activated terms' share of energy in the subspace, and its standard error.

    Args:
        solution: of a search.
        weights: of the activated terms.
    """
    orthonormal = torch.linalg.qr(solution.coefficients).Q
    weighted = zip(solution.factors, weights, strict=False)
    energy = sum(float((R @ orthonormal).square().sum()) * w for R, w in weighted)
    total = energy + solution.rest
    return energy / total, energy * solution.rest_error / total**2
