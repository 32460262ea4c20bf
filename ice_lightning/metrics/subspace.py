"""Figures of a subspace that was found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping


def outliers(energies: Mapping[int, float], far: float = 5.0) -> list[int]:
    """Who is further than `far` robust standard deviations (1.4826 times the median distance) from the median.

    Args:
        energies: by person.
        far: see above.
    """
    if not energies:
        return []
    middle = statistics.median(energies.values())
    scale = 1.4826 * statistics.median(abs(each - middle) for each in energies.values())
    return [person for person, each in sorted(energies.items()) if scale and abs(each - middle) > far * scale]
