"""Products with Jacobians: how they are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jvp, vmap

from ice_lightning.parallel import Batch


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
