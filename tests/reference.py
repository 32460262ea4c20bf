"""Slow and obvious versions of what the package does fast, in float64."""

import numpy as np
import scipy.linalg
import torch
from torch.nn import functional as F


def upfirdn2d(x, f, up, down, x0, x1, y0, y1, flip, gain):
    """Zero insertion, padding (negative crops), convolution and decimation by loops over the output."""
    n, c, h, w = x.shape
    big = torch.zeros(n, c, h * up, w * up, dtype=x.dtype)
    big[:, :, ::up, ::up] = x
    H, W = h * up + y0 + y1, w * up + x0 + x1
    padded = torch.zeros(n, c, H, W, dtype=x.dtype)
    for i in range(H):
        for j in range(W):
            if 0 <= i - y0 < h * up and 0 <= j - x0 < w * up:
                padded[:, :, i, j] = big[:, :, i - y0, j - x0]
    kernel = f if flip else f.flip(0, 1)
    kh, kw = f.shape
    rows, columns = range(0, H - kh + 1, down), range(0, W - kw + 1, down)
    out = torch.zeros(n, c, len(rows), len(columns), dtype=x.dtype)
    for a, i in enumerate(rows):
        for b, j in enumerate(columns):
            out[:, :, a, b] = (padded[:, :, i : i + kh, j : j + kw] * kernel * gain).sum((2, 3))
    return out


def modulated_conv(x, weight, s, demodulate, up, f):
    """StyleGAN2's modulated convolution with one weight tensor per sample (Karras et al. 2019b, eq. 1 and 3)."""
    outputs = []
    for one, style in zip(x, s, strict=True):
        w = weight * style[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up == 1:
            y = F.conv2d(one[None], w, padding=weight.shape[-1] // 2)
        else:
            c, h, side = one.shape
            zeros = torch.zeros(c, 2 * h, 2 * side, dtype=x.dtype)
            zeros[:, ::2, ::2] = one
            # Transposed convolution = zeros between samples, full correlation with the turned kernel, then the filter.
            y = F.conv2d(F.pad(zeros[None, :, : 2 * h - 1, : 2 * side - 1], (2, 2, 2, 2)), w.flip(2, 3))
            channels = y.shape[1]
            k = (f.flip(0, 1) * 4)[None, None].expand(channels, 1, -1, -1)
            y = F.conv2d(F.pad(y, (1, 1, 1, 1)), k.to(y.dtype), groups=channels)
        outputs.append(y)
    return torch.cat(outputs)


def dense_jacobian(f, u, h=1e-6):
    """(m, n) by central differences at u (1, n)."""
    columns = []
    for i in range(u.shape[1]):
        e = torch.zeros_like(u)
        e[0, i] = h
        columns.append((f(u + e) - f(u - e))[0] / (2 * h))
    return torch.stack(columns, 1)


def bad_projector(Ss, ratios):
    """I - Q Q^T (n, n) without all eigenvectors above their ratios, from energies."""
    n = len(Ss[0])
    return torch.eye(n, dtype=Ss[0].dtype) - torch.from_numpy(_bad([S.numpy() for S in Ss], ratios, n))


def early(A, Ss, ratios, activate_ratio):
    """DESIGN section 1 with n x n matrices: A, Ss are energies G; returns (values, vectors), descending."""
    n = len(A)
    P = torch.eye(n, dtype=A.dtype)
    if Ss:
        bad = []
        for S, ratio in zip(Ss, ratios, strict=True):
            values, vectors = torch.linalg.eigh(S)
            bad.append(vectors[:, values >= ratio * values[-1]])
        span = torch.cat(bad, 1)
        P = P - span @ torch.linalg.pinv(span)
    values, vectors = torch.linalg.eigh(P @ A @ P)
    keep = values >= activate_ratio * values[-1]
    return values[keep].flip(0), vectors[:, keep].flip(1)


def _bad(Ss, ratios, n):
    """Projector onto all eigenvectors above their ratios, with n x n matrices in numpy."""
    spans = [np.zeros((n, 0))]
    for S, ratio in zip(Ss, ratios, strict=True):
        values, vectors = np.linalg.eigh(S)
        if values[-1] > 0:
            spans.append(vectors[:, values >= ratio * values[-1]])
    span = np.concatenate(spans, 1)
    return span @ np.linalg.pinv(span)


def late(A, Ss, ratios, activate_ratio, first=None):
    """DESIGN section 1, late, in numpy: the span's projector, and the energies of the directions, descending.

    With `first` (how many of the terms are early) it is the mixed projection.
    """
    n = len(A)
    if first:
        P = np.eye(n) - _bad(Ss[:first], ratios[:first], n)
        A = P @ A @ P
    values, vectors = np.linalg.eigh(A)
    V = vectors[:, values >= activate_ratio * values[-1]][:, ::-1]
    V = (np.eye(n) - _bad(Ss, ratios, n)) @ V
    V = V[:, np.linalg.norm(V, axis=0) > 1e-6]
    V = np.linalg.qr(V / np.linalg.norm(V, axis=0))[0]
    return V @ V.T, np.sort(np.einsum("ij,ij->j", V, A @ V))[::-1]


def soft(A, Ss, ratios, activate_ratio):
    """DESIGN section 1, soft, by scipy's dense generalised eigensolver: values and unit vectors, descending."""
    B = np.eye(len(A))
    for S, ratio in zip(Ss, ratios, strict=True):
        top = np.linalg.eigvalsh(S)[-1]
        B = B + (S / (ratio * top) if top > 0 else 0)
    values, vectors = scipy.linalg.eigh(A, B)
    keep = values >= activate_ratio * values[-1]
    return values[keep][::-1], (vectors / np.linalg.norm(vectors, axis=0))[:, keep][:, ::-1]


def reply(query, people, draw, sketch=lambda R: R):
    """The answer to a query for some people, from the dense rows of every person and term, people[p][i] (m_i, n)."""
    from ice_lightning.solvers.problem import Reply

    def energy(person, weights):
        return torch.cat([R * w**0.5 for R, w in zip(person, weights, strict=True)])

    rows, num_products = [], 0
    for each in query.rows:
        found = []
        for person in people:
            R = energy(person, each.weights)
            if each.random is not None:
                R = sketch(torch.randn(each.random, len(R), generator=draw, dtype=R.dtype) @ R / each.random**0.5)
            found.append(R[R.abs().amax(1) > 0] * len(people) ** -0.5)
        rows.append(torch.cat(found))
        num_products += len(found[0])
    products, grams = [], []
    for each in query.products:
        V = each.V
        products += [sum(R.T @ (R @ V) for R in (energy(p, weights) for p in people)) for weights in each.energies]
        if each.grams:
            grams = [sum((p[i] @ V).T @ (p[i] @ V) for p in people) for i in range(len(people[0]))]
        backward = sum(any(weights) for weights in each.energies)
        num_products += V.shape[1] * (backward + bool(backward or each.grams))
    means = [[each / len(people) for each in some] for some in (products, grams)]
    return Reply(len(people), rows, *means, num_products)


def answer(solver, problem, people, groups=1, seed=0, sketch=lambda R: R):
    """Drive a search with dense rows, see `reply`.

    People are dealt out to the groups; `seed` is that of the random rows, `sketch` changes these. Returns the solution
    and every (state, replies) on the way.
    """
    from ice_lightning.solvers.result import Solution

    draw, steps, state = torch.Generator().manual_seed(seed), [], solver.init(problem)
    while not isinstance(state, Solution):
        replies = [reply(state.query, people[g::groups], draw, sketch) for g in range(groups)]
        steps.append((state, replies))
        state = solver.step(problem, state, replies)
    return state, steps


def published_rows(f, u, rows):
    """Rows of the Jacobian of f at u (1, n), as Li et al. 2022 take them: a backward pass of its own for each."""
    u = u.detach().requires_grad_()
    y = f(u)[0]
    return torch.stack([torch.autograd.grad(y[row], u, retain_graph=True)[0][0] for row in rows])


def square_morphology(mask, side, dilate):
    """Max (dilate) or min of a mask (H, W) of 0 and 1 over a square window round every pixel, zeros beyond the border.

    The window of a pixel begins side // 2 before it, as that of kornia's morphology does when Li et al. 2022 used it.
    """
    h, w = mask.shape
    at = [[bool(v) for v in row] for row in mask.tolist()]
    out = torch.zeros(h, w, dtype=torch.long)
    for y in range(h):
        for x in range(w):
            rows, columns = (range(each - side // 2, each - side // 2 + side) for each in (y, x))
            values = (0 <= i < h and 0 <= j < w and at[i][j] for i in rows for j in columns)
            out[y, x] = any(values) if dilate else all(values)
    return out
