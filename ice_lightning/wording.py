"""How names, rates and p-values are written in sentences, tables and pictures."""

from __future__ import annotations

MOST_DECIMALS = 6
"""Of a percentage: shares of people are coarser than that."""


def words(name: str) -> str:
    """A name of the configuration as people write it.

    >>> words("hair_color")
    'hair color'
    """
    return name.replace("_", " ")


def percent(share: float, decimals: int = 0) -> str:
    """A share in percent, without the sign; what isn't all never reads 100, and what isn't none never 0.

    Args:
        share: 0 to 1, or NaN.
        decimals: at least so many; more only where fewer would read 0 or 100.

    Returns:
        The number alone.

    Example:
        >>> percent(0.71), percent(0.995), percent(1.0), percent(0.5, 1)
        ('71', '99.5', '100', '50.0')
    """
    text = f"{100 * share:.{decimals}f}"
    if 0 < share < 1 and float(text) in (0, 100) and decimals < MOST_DECIMALS:
        return percent(share, decimals + 1)
    return text


def probability(p: float) -> str:
    """A p-value with its sign; small ones by the bound that they are below.

    >>> probability(0.0361), probability(2e-5)
    ('p = 0.036', 'p < 0.001')
    """
    return "p < 0.001" if p < 1e-3 else f"p = {p:.2g}"
