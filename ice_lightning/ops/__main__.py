"""Whether there are native operations, whether they are right and what they save, as a table.

python -m ice_lightning.ops
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ice_lightning.ops import bias_act, loader, setup_filter, upfirdn2d
from ice_lightning.progress import exit_status

F = setup_filter([1, 3, 3, 1])
"""StyleGAN2's own filter."""
ROUNDS = 15
"""Of which the median counts: an odd number that takes seconds in all."""
TOLERANCE = 1e-10
"""Largest difference in float64, relative to the largest number, that is only rounding."""
Op = Callable[[Tensor], Tensor]

CASES: dict[str, tuple[tuple[int, ...], Op]] = {
    "upfirdn2d, filter": ((1, 32, 129, 129), lambda x: upfirdn2d(x, F.to(x), padding=1, gain=4)),
    "upfirdn2d, filter, small": ((1, 96, 17, 17), lambda x: upfirdn2d(x, F.to(x), padding=1, gain=4)),
    "upfirdn2d, twice as large": ((1, 3, 64, 64), lambda x: upfirdn2d(x, F.to(x), up=2, padding=(2, 1), gain=4)),
    "upfirdn2d, half as large": ((1, 3, 128, 128), lambda x: upfirdn2d(x, F.to(x), down=2, padding=1)),
    "bias_act, lrelu": ((1, 32, 128, 128), lambda x: bias_act(x, x.new_ones(x.shape[1]), act="lrelu")),
    "bias_act, lrelu, small": ((1, 96, 16, 16), lambda x: bias_act(x, x.new_ones(x.shape[1]), act="lrelu")),
    "bias_act, swish": ((1, 32, 128, 128), lambda x: bias_act(x, x.new_ones(x.shape[1]), act="swish", clamp=1)),
}
"""The shape of an image, and what happens to it."""


def outcomes(op: Op, x: Tensor, t: Tensor) -> list[Tensor]:
    """An operation and its derivatives at a point.

    Args:
        op: of x.
        x: the point.
        t: the tangent, of the shape of x.

    Returns:
        The value, the derivative along t, the gradient of the value's sum, and that of the derivative's sum.
    """
    value, along = torch.func.jvp(op, (x,), (t,))[:2]
    vjp = torch.func.vjp(op, x)[1]
    vjp_along = torch.func.vjp(lambda u: torch.func.jvp(op, (u,), (t,))[1], x)[1]
    return [value, along, vjp(torch.ones_like(value))[0], vjp_along(torch.ones_like(value))[0]]


def difference(op: Op, shape: tuple[int, ...], device: str) -> float:
    """The largest difference between native and torch operations, derivatives included, in float64.

    Args:
        op: of an image.
        shape: of the image.
        device: where it is computed.

    Returns:
        Relative to the largest number, or absolute where that is below 1.
    """
    draw = torch.Generator().manual_seed(0)
    x, t = (torch.randn(shape, generator=draw, dtype=torch.float64).to(device) for _ in range(2))
    by_mode = []
    for mode in ("python", "native"):
        with loader.forced(mode):
            by_mode.append(outcomes(op, x, t))
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1)) for a, b in zip(*by_mode, strict=True))


def seconds(op: Op, x: Tensor) -> float:
    """How long one call takes.

    Args:
        op: of x.
        x: an image.

    Returns:
        Seconds.
    """
    began = time.perf_counter()
    op(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def speed(op: Op, shape: tuple[int, ...], device: str) -> dict[str, float]:
    """How long an operation takes in each mode.

    Args:
        op: of an image.
        shape: of the image.
        device: where it is computed.

    Returns:
        Milliseconds by mode, medians of rounds in which the modes take turns.
    """
    x = torch.randn(shape, device=device)
    times: dict[str, list[float]] = {mode: [] for mode in loader.MODES}
    for _ in range(ROUNDS):
        for mode, rounds in times.items():
            with loader.forced(mode):
                seconds(op, x)
                rounds.append(1e3 * seconds(op, x))
    return {mode: median(rounds) for mode, rounds in times.items()}


def compiler_or_reason() -> str:
    """The compiler's version, or why there is none."""
    try:
        return loader.compiler()
    except loader.Unavailable as error:
        return str(error)


def main() -> int:
    """Run the command line; returns its exit status."""
    return exit_status(compare)


def compare() -> int:
    """Print the table; returns 1 where native and torch operations differ, else 0.

    Raises:
        IceError: for another ICE_LIGHTNING_OPS than its three modes.
    """
    chosen, console = loader.mode(), Console(width=None if sys.stdout.isatty() else 120)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gpu = f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}" if device == "cuda" else "no CUDA device"
    os.environ["ICE_LIGHTNING_OPS"] = "python" if chosen == "python" else "native"
    found = loader.kernels()
    console.print(f"torch {torch.__version__}; {gpu}; {torch.get_num_threads()} threads", highlight=False)
    console.print(f"compiler: {compiler_or_reason()}", highlight=False, soft_wrap=True)
    state = f"built, {found.file}" if found.file else f"not built: {found.reason}"
    console.print(f"native operations: {state}", highlight=False, soft_wrap=True)
    console.print(f"ICE_LIGHTNING_OPS={chosen}", highlight=False)
    if found.file is None:
        return 0
    table = Table("operation", "image", "same as torch", "torch, ms", "native, ms", "auto, ms", "native is faster")
    wrong = False
    for name, (shape, op) in CASES.items():
        error, ms = difference(op, shape, device), speed(op, shape, device)
        same = error < TOLERANCE
        wrong |= not same
        table.add_row(
            name,
            " x ".join(map(str, shape)),
            f"to {error:.0e}" if same else f"NO, {error:.0e} apart",
            *(f"{ms[mode]:.2f}" for mode in ("python", "native", "auto")),
            f"{ms['python'] / ms['native']:.1f} times",
        )
    console.print(table)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
