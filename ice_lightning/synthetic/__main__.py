"""Draw a sheet of people, or one factor's range with its masks and landmarks.

python -m ice_lightning.synthetic --grid faces.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from ice_lightning.checks import problem
from ice_lightning.progress import exit_status
from ice_lightning.synthetic.factors import Z_DIM, factor_index, factors_from_z, neutral
from ice_lightning.synthetic.render import render
from ice_lightning.synthetic.sheet import overlay, sheet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit status."""
    parser = argparse.ArgumentParser(
        "python -m ice_lightning.synthetic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grid", type=Path, default=Path("faces.png"), help="where to write the picture")
    parser.add_argument("--factor", help="draw this factor's range instead of a sheet of people")
    parser.add_argument("--size", type=int, default=128, help="pixels per face")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    return exit_status(lambda: draw(args))


def draw(args: argparse.Namespace) -> int:
    """Write the picture that was asked for; returns 0.

    Raises:
        IceError: for an unknown factor, a size below 16, or a place that can't be written to.
    """
    if args.factor:
        f = neutral(7)
        f[:, factor_index(args.factor)] = torch.linspace(-1, 1, 7)
        people = render(f, args.size)
        picture = sheet(torch.cat([people.image, overlay(people)]), 7)
    else:
        z = torch.randn(48, Z_DIM, generator=torch.Generator().manual_seed(args.seed))
        picture = sheet(render(factors_from_z(z), args.size).image, 8)
    try:
        Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy()).save(args.grid)
    except (OSError, ValueError) as error:  # Pillow raises ValueError for an unknown extension
        raise problem("a picture that can be written", str(error), "pass another --grid, such as faces.png") from error
    print(f"wrote {args.grid}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
