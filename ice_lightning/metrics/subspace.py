"""What is measured of a subspace that was found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Stability:
    """By how much subspaces of disjoint halves of the people differ.

    Attributes:
        angles: the first principal angles in degrees, ascending.
        people_per_half: in the smaller half.
    """

    angles: tuple[float, ...]
    people_per_half: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Stability:
        """From metrics.json."""
        return cls(tuple(values["angles"]), values["people_per_half"])


@dataclass(frozen=True)
class DiscoveryMetrics:
    """What metrics.json of a discovery says.

    Attributes:
        rank: how many directions.
        eigenvalues: of them, descending: squared feature change per squared unit of latent, or population deviation.
        explained_energy: share of the activated energy that lies in their span.
        explained_energy_error: its standard error, where a part of it is estimated; else 0.
        leakage: by suppressed term, the worst direction's share of its largest energy.
        suppressed_rank: how many directions were cut off.
        latent_dim: coordinates of the space.
        coordinates: those that may move.
        people_used: over how many people was averaged.
        people_skipped: how many lack what the criterion looks at.
        skipped_for_want_of: how many lack what.
        energy_of_person: activated energy of each person, by number.
        odd_people: numbers of the outliers.
        stability: None where people are too few to halve.
        products_per_person: products with a vector.
        passes: over all people.
        residual: the largest of a pair that is returned; None where it isn't known.
        stopped_early: why, in words; "" for a search that came to its end.
        seconds: by stage.
        peak_memory_mb: of the process, or of the GPU where that is larger.
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
    energy_of_person: Mapping[str, float]
    odd_people: tuple[int, ...]
    stability: Stability | None
    products_per_person: int
    passes: int
    residual: float | None
    stopped_early: str
    seconds: Mapping[str, float]
    peak_memory_mb: float

    def to_json(self) -> dict[str, Any]:
        """As in metrics.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DiscoveryMetrics:
        """From metrics.json, which may say more."""
        known = {field.name: values[field.name] for field in fields(cls)}
        for name in ("eigenvalues", "odd_people"):
            known[name] = tuple(known[name])
        stability = known["stability"]
        known["stability"] = None if stability is None else Stability.from_json(stability)
        return cls(**known)


def outliers(energies: Mapping[int, float], far: float = 5.0) -> list[int]:
    """Who is far from the median.

    Args:
        energies: by person.
        far: so many robust standard deviations (1.4826 times the median distance) are.

    Returns:
        Their numbers, ascending; nobody where most have the same energy.

    Example:
        >>> outliers({0: 1.0, 1: 1.1, 2: 0.9, 3: 9.0})
        [3]
    """
    if not energies:
        return []
    middle = statistics.median(energies.values())
    scale = 1.4826 * statistics.median(abs(each - middle) for each in energies.values())
    return [person for person, each in sorted(energies.items()) if scale and abs(each - middle) > far * scale]
