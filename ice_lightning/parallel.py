"""How many at once: threads over people on a CPU, products at a time in memory elsewhere."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ice_lightning.checks import at_least, problem

LOG = logging.getLogger("ice_lightning")


def one_by_one(function: Callable[..., Any], *people: Tensor) -> list[Any]:
    """Apply a function to everyone's rows at once, but on a CPU to each person's alone, a person per thread.

    There a batch gains little, since even a few images fill the cores, and its rounding depends on who else is in it:
    one by one, everyone's counterfactual is the same to the bit however people are divided.

    Args:
        function: of rows (M, ...) of each tensor.
        people: tensors (N, ...) with a row for each person.

    Returns:
        What the function returns, of all people or of one person each; in the order of the people.

    Example:
        >>> [float(each) for each in one_by_one(torch.sum, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))]
        [3.0, 7.0]
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
        size: products, at least 1.
    """

    size: int = 1

    def over(self, product: Callable[[Tensor], Tensor], V: Tensor) -> Tensor:
        """Take product(V) (m, k) for V (n, k), a few columns at a time.

        Args:
            product: (n, j) -> (m, j).
            V: (n, k).

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
                LOG.warning(f"out of memory: {self.size} products at once from here on")
        return torch.cat(parts, 1)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocator failed; torch says so on a GPU by a class of its own, on a CPU by its words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def as_bytes(text: str) -> float:
    """Bytes of an amount of memory such as 500MB or 4GB; raises IceError for anything else.

    Example:
        >>> as_bytes("1.5 kB")
        1536.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)i?B", str(text), re.IGNORECASE)
    if not match or not float(match[1]):
        raise problem("an amount of memory such as 4GB", f"'{text}'", "write it like that")
    return float(match[1]) * 1024.0 ** " KMGT".index(match[2].upper() or " ")


def check_products(chunk: int | None, memory: str) -> None:
    """Refuse a solver's settings for how many products are taken at a time, where they allow none.

    Args:
        chunk: products at a time, at least 1; None for what suits the device.
        memory: for their graphs, such as 4GB.

    Raises:
        IceError: in one sentence.
    """
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
        device: on which products are taken.
        chunk: products that the user wants at once, at least 1; None for what suits the device.
        memory: bytes that graphs may fill.
        graph: bytes of the graph of one forward pass.

    Returns:
        Products and people at once, both at least 1.

    Example:
        >>> choose_parallelism(torch.device("cuda"), None, memory=4e9, graph=1e9)
        Parallelism(products=4, people=1)
    """
    fit = max(1, int(memory / max(graph, 1)))
    if device.type == "cpu":
        several = chunk is not None and chunk > 1  # torch.func.vmap mixes up threads
        return Parallelism(chunk or 1, 1 if several else min(torch.get_num_threads(), fit))
    return Parallelism(chunk or min(64, fit), 1)


PER_PERSON = 2.25
"""Graphs of one forward pass that a person's two take, the second through the backward pass: 2.1 measured."""


def graphs_kept(device: torch.device, memory: float, graph: float) -> int:
    """Of how many people graphs are kept between passes, so that they needn't be drawn and differentiated anew.

    On a GPU of none: there memory is for many products at once.

    Args:
        device: on which products are taken.
        memory: bytes that graphs may fill.
        graph: bytes of the graph of one forward pass.

    Returns:
        People, 0 where not even one fits.

    Example:
        >>> graphs_kept(torch.device("cpu"), memory=4e9, graph=1e8)
        17
    """
    return int(memory / max(PER_PERSON * graph, 1)) if device.type == "cpu" else 0


def map_threads(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """Apply a function to items, each on a thread of its own, of which torch uses no other.

    Args:
        function: of one item.
        items: of any kind.
        threads: at least 1; with 1 this is a plain loop.

    Returns:
        [function(item) ...], in the order of the items.

    Example:
        >>> map_threads(len, ["a", "bc"], threads=2)
        [1, 2]
    """
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
