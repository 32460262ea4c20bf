"""Draw a sheet of 8 x 8 people, and one with the range of every factor.

python experiments/portraits/sheets.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ice_lightning.portraits import FACTORS, Z_DIM, factor_index, factors_from_z, neutral, render

HERE = Path(__file__).parent
STEPS, ROWS, SIDE = 5, 15, 96


def people(columns: int = 8, size: int = 128, seed: int = 0) -> Tensor:
    """(3, columns * size, columns * size) of people at random."""
    z = torch.randn(columns**2, Z_DIM, generator=torch.Generator().manual_seed(seed))
    tiles = render(factors_from_z(z), size).image.view(columns, columns, 3, size, size)
    return tiles.permute(2, 0, 3, 1, 4).reshape(3, columns * size, columns * size)


def strip(name: str) -> Tensor:
    """(3, SIDE, STEPS * SIDE): an unremarkable person over the range of a factor, wearing what it is about."""
    f = neutral(STEPS)
    if name.startswith(("glasses_", "hat_")):
        f[:, factor_index(name.split("_")[0])] = 1
    if name in ("parting", "hair_sheen"):
        f[:, factor_index("fringe")] = -0.5
    f[:, factor_index(name)] = torch.linspace(-1, 1, STEPS)
    return render(f, SIDE).image.permute(1, 2, 0, 3).reshape(3, SIDE, STEPS * SIDE)


def factors() -> Figure:
    """Every factor's range, from -1 to 1."""
    columns = -(-len(FACTORS) // ROWS)
    figure = Figure(figsize=(5.1 * columns, 1.22 * ROWS))
    places = figure.subplots(ROWS, columns, gridspec_kw={"wspace": 0.03, "hspace": 0.22})
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.98)
    for axes, name in zip(places.T.flat, [*FACTORS, *[""] * (columns * ROWS - len(FACTORS))], strict=True):
        axes.set_axis_off()
        if name:
            axes.imshow(strip(name).permute(1, 2, 0))
            axes.set_title(name.replace("_", " "), fontsize=11, loc="left", pad=2)
    return figure


def main() -> None:
    """Write people.png and factors.png."""
    pixels = (people().permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(HERE / "people.png")
    factors().savefig(HERE / "factors.png", dpi=80)


if __name__ == "__main__":
    main()
