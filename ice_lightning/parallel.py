"""How many at once: threads over people on a CPU, products at a time in memory elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import at_least, problem


def one_by_one(function: Callable[..., Any], *people: Tensor) -> list[Any]:
    """A function of everyone's rows at once, but on a CPU of each person's by themselves, a person per thread.

    There a batch gains little, since even a few images fill the cores, and its rounding depends on who else is in it:
    one by one, everyone's counterfactual is the same to the bit however people are divided.
    """
    if people[0].device.type != "cpu":
        return [function(*people)]

    def alone(rows: tuple[Tensor, ...]) -> Any:
        with torch.set_grad_enabled(enabled):  # which is a thread's own
            return function(*rows)

    enabled = torch.is_grad_enabled()
    return map_threads(alone, list(zip(*(part.split(1) for part in people), strict=True)), torch.get_num_threads())


@dataclass
class Batch:
    """How many products are taken at once; halved for good where memory runs out.

    Attributes:
        size: at least 1.
    """

    size: int = 1

    def over(self, product: Callable[[Tensor], Tensor], V: Tensor) -> Tensor:
        """product(V) (m, k) for V (n, k), a few columns at a time.

        Raises:
            IceError: when memory runs out at one column.
        """
        parts, start = [], 0
        while start < V.shape[1]:
            try:
                parts.append(product(V[:, start : start + self.size]))
                start += self.size
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.size == 1:
                    fix = "lower latents.batch or criterion.size, or choose a smaller generator or a larger device"
                    raise problem("memory for one product", "none left", fix) from error
                self.size //= 2
                print(f"out of memory: {self.size} products at once from here on", file=sys.stderr)
        return torch.cat(parts, 1)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocator failed; torch says so on a GPU by a class of its own, on a CPU by its words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def as_bytes(text: str) -> float:
    """Bytes of a size such as 500MB or 4GB; raises IceError for anything else."""
    given = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)i?B", str(text), re.IGNORECASE)
    if not given or not float(given[1]):
        raise problem("an amount of memory such as 4GB", f"'{text}'", "write it like that")
    return float(given[1]) * 1024.0 ** " KMGT".index(given[2].upper() or " ")


def check_products(chunk: int | None, memory: str) -> None:
    """Refuse a solver's settings for how many products are taken at a time, where they allow none."""
    if chunk is not None:
        at_least("solver.chunk", chunk, 1)
    as_bytes(memory)


class Parallelism(NamedTuple):
    """What is done at once.

    Attributes:
        products: with the Jacobian of one person.
        people: each on a thread of its own.
    """

    products: int
    people: int


def choose_parallelism(device: torch.device, chunk: int | None, memory: float, graph: float) -> Parallelism:
    """How much to do at once, where one forward pass keeps a graph and `memory` is there, both in bytes.

    On a CPU one product, since batches outgrow its cache and forward mode computes the features anew, and a person per
    thread, since the images of one are too small for all of them (experiments/solver has the measurements). Elsewhere
    one person, and as many products as memory holds graphs.

    Args:
        device: where.
        chunk: products that the user wants at once, None for what suits the device.
        memory: see above.
        graph: see above.
    """
    fit = max(1, int(memory / max(graph, 1)))
    if device.type == "cpu":
        several = chunk is not None and chunk > 1  # torch.func.vmap mixes up threads
        return Parallelism(chunk or 1, 1 if several else min(torch.get_num_threads(), fit))
    return Parallelism(chunk or min(64, fit), 1)


def map_threads(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """[function(item) ...], each item on a thread of its own, of which torch uses no other."""
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, items))


@contextmanager
def one_thread() -> Iterator[None]:
    """Without threads of torch, whose number rounding would depend on, and with it everyone's counterfactual."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
