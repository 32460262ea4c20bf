"""What is measured of a subspace that was found."""

from __future__ import annotations

import statistics
from collections.abc import Mapping


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
