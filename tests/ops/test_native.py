"""Native operations against the torch ones: values and derivatives of every kind."""

import pytest
import torch

from ice_lightning.checks import IceError
from ice_lightning.modules.stylegan2 import Generator
from ice_lightning.ops import ACTIVATIONS, bias_act, loader, upfirdn2d
from ice_lightning.ops.bias_act import NUMBERS

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
PADS = [(1, 1, (1, 1, 1, 1)), (2, 1, (2, 1, 2, 1)), (1, 2, (1, 2, 0, 1)), (3, 2, (4, 0, 1, 3)), (1, 1, (-1, 2, 0, -2))]


@pytest.fixture(autouse=True)
def built():
    if loader.kernels().file is None:
        pytest.skip(f"no native operations: {loader.kernels().reason}")


def randn(*shape, seed=0, dtype=torch.float64, device="cpu"):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


FILTERS = {
    "separable": torch.tensor([1.0, 3.0, 3.0, 1.0]).outer(torch.tensor([1.0, 2.0, 5.0])),
    "full": randn(4, 3, seed=9),
    "zero": torch.zeros(2, 2),
    "long": randn(6, 5, seed=8),
}


def cases():
    for act in ACTIVATIONS:
        for clamp in (None, 0.5):
            yield f"{act}, clamp {clamp}", lambda x, b, a=act, c=clamp: bias_act(x, b, act=a, clamp=c)
    for name, f in FILTERS.items():
        for up, down, pads in PADS:
            padded = tuple(p + max(f.shape) for p in pads) if name == "long" else pads
            yield (
                f"upfirdn2d {name}, {up}, {down}, {pads}",
                lambda x, b, f=f, how=(up, down, padded): upfirdn2d(x + b[:, None, None], f.to(x), *how, gain=2),
            )


CASES = dict(cases())
every = pytest.mark.parametrize("name", CASES)


def both(function):
    """What torch and what the native operations make of it."""
    found = []
    for mode in ("python", "native"):
        with loader.forced(mode):
            found.append(function())
    return found


@every
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", loader.DTYPES, ids=str)
def test_values_in_every_type_and_layout(name, dtype, device):
    x, b = randn(2, 5, 7, 6, dtype=dtype, device=device), randn(5, seed=1, dtype=dtype, device=device)
    wide = randn(2, 5, 7, 12, dtype=dtype, device=device)
    limits = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 8e-2}
    for image in (x, x.to(memory_format=torch.channels_last), wide[..., ::2], x.transpose(2, 3), x[:0], x[:1, 1:2]):
        theirs, ours = both(lambda image=image: CASES[name](image, b[: image.shape[1]]))
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=limits[dtype], atol=limits[dtype])


def derivatives(op, x, b, t, s):
    """By name: tangents, cotangents, and second derivatives of each kind, alone and mapped."""
    jvp, vjp, vmap = torch.func.jvp, torch.func.vjp, torch.func.vmap
    y, pull = vjp(op, x, b)
    g = randn(*y.shape, seed=5).to(y)

    def push(v, bias):
        return jvp(op, (v, bias), (t, s))[1]

    def pulled(v, bias):
        return torch.cat([part.flatten() for part in vjp(op, v, bias)[1](g)])

    xs, bs, gs = (torch.stack([part, 2 * part.flip(0)], 1) for part in (x, b, g))
    X, B = (part.clone().requires_grad_() for part in (x, b))
    batched = torch.autograd.grad(op(X, B), (X, B), torch.stack([g, 2 * g]), is_grads_batched=True)
    return {
        "value": y,
        "jvp": push(x, b),
        "jvp in x": jvp(lambda v: op(v, b), (x,), (t,))[1],
        "jvp in b": jvp(lambda v: op(x, v), (b,), (s,))[1],
        "vjp": pulled(x, b),
        "vjp of vjp": torch.cat([p.flatten() for p in vjp(pulled, x, b)[1](pulled(x, b))]),
        "vjp of jvp": torch.cat([p.flatten() for p in vjp(push, x, b)[1](g)]),
        "jvp of vjp": jvp(pulled, (x, b), (t, s))[1],
        "jvp of jvp": jvp(push, (x, b), (t, s))[1],
        "jvp of jvp of jvp": jvp(lambda v, c: jvp(push, (v, c), (t, s))[1], (x, b), (t, s))[1],
        "vmap over both": vmap(op, in_dims=1)(xs, bs),
        "vmap over x": vmap(op, in_dims=(1, None))(xs, b),
        "vmap over b": vmap(op, in_dims=(None, 1))(x, bs),
        "vmap of jvp": vmap(lambda v, c: jvp(op, (x, b), (v, c))[1], in_dims=1)(xs, bs),
        "vmap of vjp": vmap(lambda c: torch.cat([p.flatten() for p in pull(c)]), in_dims=1)(gs),
        "vmap of vjp of jvp": vmap(lambda c: vjp(push, x, b)[1](c)[0], in_dims=1)(gs),
        "is_grads_batched in x": batched[0],
        "is_grads_batched in b": batched[1],
    }


@every
@pytest.mark.parametrize("device", DEVICES)
def test_derivatives_of_every_kind(name, device):
    x, t = randn(2, 3, 7, 6, device=device), randn(2, 3, 7, 6, seed=2, device=device)
    b, s = randn(3, seed=1, device=device), randn(3, seed=3, device=device)
    theirs, ours = both(lambda: derivatives(CASES[name], x, b, t, s))
    for kind in theirs:
        torch.testing.assert_close(ours[kind], theirs[kind], rtol=1e-10, atol=1e-12, msg=lambda m, k=kind: f"{k}: {m}")


@every
def test_gradcheck_and_gradgradcheck(name):
    x, b = randn(1, 2, 6, 6).requires_grad_(), randn(2, seed=1).requires_grad_()
    with loader.forced("native"):
        assert torch.autograd.gradcheck(CASES[name], (x, b), check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(CASES[name], (x, b), check_batched_grad=True, fast_mode=True)


def test_nan_and_infinity_stay():
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0]).view(1, 1, 2, 2)
    for act in ACTIVATIONS:
        for clamp in (None, 2.0):
            theirs, ours = both(lambda a=act, c=clamp: bias_act(x, act=a, clamp=c))
            torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_torch_accepts_the_registration():
    x, f = randn(2, 3, 6, 5, dtype=torch.float32), randn(4, 4, dtype=torch.float32)
    ops = torch.ops.ice_lightning
    for image in (x, x.to(memory_format=torch.channels_last)):
        torch.library.opcheck(ops.upfirdn2d, (image, f, 2, 1, 2, 1, 2, 1))
        for t in (None, x):
            torch.library.opcheck(ops.bias_act, (image, randn(3).float(), t, 1, NUMBERS["lrelu"], 0.2, 1.4, 0.5))


def test_a_generator_compiles_in_one_graph_and_draws_the_same():
    torch.manual_seed(0)
    G = Generator(z_dim=8, w_dim=8, img_resolution=16, channel_base=64, channel_max=8, mapping_layers=2).eval()
    G.requires_grad_(False)
    u = G.convert(G.sample(2), "z", "s")
    with loader.forced("native"):
        compiled = torch.compile(lambda v: G(v, "s"), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(u), G(u, "s"), rtol=1e-5, atol=1e-5)
    theirs, ours = both(lambda: G(u, "s"))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_mode_that_is_none_is_a_sentence():
    with loader.forced("nativ"), pytest.raises(IceError, match=r"ICE_LIGHTNING_OPS out of .* did you mean 'native'\?"):
        bias_act(torch.zeros(1, 1))
