"""Products with Jacobians: how they are taken, and how many at once."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import jvp, vmap

from ice_lightning.checks import at_least, problem


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


class Share(NamedTuple):
    """What is done at once.

    Attributes:
        products: with the Jacobian of one person.
        people: each on a thread of its own.
    """

    products: int
    people: int


def at_once(device: torch.device, chunk: int | None, memory: float, graph: float) -> Share:
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
        return Share(chunk or 1, 1 if several else min(torch.get_num_threads(), fit))
    return Share(chunk or min(64, fit), 1)


def on_threads(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> list[Any]:
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


def graph_bytes(f: Callable[[Tensor], list[Tensor]], u: Tensor) -> int:
    """What one forward pass of f at u keeps for its backward pass, in bytes."""
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        f(u.detach().requires_grad_())
    return sum(kept.values())


class Linear(NamedTuple):
    """The Jacobians J_i of the parts of a function at a latent, as products.

    Attributes:
        parts: f(u), (1, m_i) each.
        push: V (n, k) -> J_i V (m_i, k) of every part.
        pull: {i: Y_i (m_i, k)} -> sum of J_i^T Y_i (n, k).
    """

    parts: list[Tensor]
    push: Callable[[Tensor], list[Tensor]]
    pull: Callable[[Mapping[int, Tensor]], Tensor]


def linearise(
    f: Callable[[Tensor], list[Tensor]], u: Tensor, forward: bool = True, batch: Batch | None = None
) -> Linear:
    """Products with the Jacobians of the parts of f, after one forward pass.

    J V takes forward mode where several products are taken at once, else J^T w is differentiated in w, in which it is
    linear: once its graph is there, that is one more backward pass per column.

    Args:
        f: (B, n) -> list of (B, m_i), each row on its own.
        u: (1, n), where to differentiate.
        forward: whether f has a forward mode.
        batch: how many products at once; one by default.
    """
    at = u.detach().requires_grad_()
    with torch.enable_grad():
        parts = f(at)
    sizes = [part.shape[1] for part in parts]
    varied = [i for i, part in enumerate(parts) if part.requires_grad]
    at_once = batch or Batch()

    @cache
    def transposed() -> tuple[list[Tensor], Tensor]:
        ws = [torch.zeros_like(parts[i], requires_grad=True) for i in varied]
        with torch.enable_grad():
            return ws, torch.autograd.grad([parts[i] for i in varied], at, ws, create_graph=True)[0]

    def twice(v: Tensor) -> Tensor:
        ws, g = transposed()
        moved = torch.autograd.grad(g, ws, v.T, retain_graph=True)
        whole = [at.new_zeros(1, size) for size in sizes]
        for i, each in zip(varied, moved, strict=True):
            whole[i] = each
        return torch.cat(whole, 1).T

    def along(v: Tensor) -> Tensor:
        return jvp(lambda x: torch.cat(f(x), 1), (u,), (v[None],))[1][0]

    def push(V: Tensor) -> list[Tensor]:
        if not varied:
            return [V.new_zeros(size, V.shape[1]) for size in sizes]
        if at_once.size > 1 and forward:
            moved = at_once.over(vmap(along, in_dims=1, out_dims=1), V)
        else:
            moved = Batch().over(twice, V)
        return list(moved.split(sizes))

    def pull(Y: Mapping[int, Tensor]) -> Tensor:
        k = next(iter(Y.values())).shape[1]
        some = [i for i in Y if i in varied]
        if not some or not k:
            return at.new_zeros(at.shape[1], k)

        def back(y: Tensor) -> Tensor:
            several = y.shape[1] > 1
            given = [each.T[:, None] if several else each.T for each in y.split([sizes[i] for i in some])]
            outputs = [parts[i] for i in some]
            x = torch.autograd.grad(outputs, at, given, retain_graph=True, is_grads_batched=several)[0]
            return x.reshape(-1, at.shape[1]).T

        return at_once.over(back, torch.cat([Y[i] for i in some]))

    return Linear(parts, push, pull)
