import math

import pytest
import reference
import torch
from torch.nn import functional as F

from ice_lightning.checks import IceError
from ice_lightning.ops import ACTIVATIONS, bias_act, conv2d, conv_transpose2d, setup_filter, upfirdn2d

CASES = [
    (1, 1, (0, 0, 0, 0), False, 1.0),
    (2, 1, (2, 1, 2, 1), False, 4.0),
    (1, 2, (1, 1, 1, 1), True, 1.0),
    (3, 2, (4, 0, 1, 3), False, 0.5),
    (1, 1, (-1, 2, 0, -2), True, 2.0),
    (2, 3, (3, 3, 2, 2), True, 1.0),
]


@pytest.mark.parametrize("up,down,pads,flip,gain", CASES)
def test_upfirdn2d_equals_loops(up, down, pads, flip, gain):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, 6, generator=draw, dtype=torch.float64)
    f = torch.randn(4, 3, generator=draw, dtype=torch.float64)
    expected = reference.upfirdn2d(x, f, up, down, *pads, flip, gain)
    torch.testing.assert_close(upfirdn2d(x, f, up, down, pads, flip, gain), expected, rtol=1e-12, atol=1e-12)


def test_padding_shorthands_mean_the_same():
    x, f = torch.randn(1, 1, 5, 5), setup_filter([1, 3, 3, 1])
    assert torch.equal(upfirdn2d(x, f, padding=2), upfirdn2d(x, f, padding=(2, 2, 2, 2)))
    assert torch.equal(upfirdn2d(x, f, padding=(1, 2)), upfirdn2d(x, f, padding=(1, 1, 2, 2)))


def test_upsampling_keeps_the_mean_of_a_constant():
    x = torch.ones(1, 1, 8, 8)
    y = upfirdn2d(x, setup_filter([1, 3, 3, 1]), up=2, padding=(2, 1, 2, 1), gain=4)
    torch.testing.assert_close(y[:, :, 4:12, 4:12], torch.ones(1, 1, 8, 8))


W = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LINEAR = {
    "conv2d": (lambda x: conv2d(x, W, padding=1), lambda x: F.conv2d(x, W, padding=1)),
    "conv_transpose2d": (
        lambda x: conv_transpose2d(x, W.transpose(0, 1), stride=2),
        lambda x: F.conv_transpose2d(x, W.transpose(0, 1), stride=2),
    ),
    **{
        f"upfirdn2d {case}": (
            lambda x, c=case: upfirdn2d(x, W[0, 0], *c[:2], c[2], *c[3:]),
            lambda x, c=case: reference.upfirdn2d(x, W[0, 0], *c[:2], *c[2], *c[3:]),
        )
        for case in CASES
    },
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_ops_are_differentiable_in_every_way(name):
    ours, slow = LINEAR[name]
    draw = torch.Generator().manual_seed(2)
    x, t = (torch.randn(2, 3, 6, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    y = slow(x)
    torch.testing.assert_close(ours(x), y)
    torch.testing.assert_close(torch.func.jvp(ours, (x,), (t,))[1], slow(t))
    columns = torch.func.vmap(lambda v: torch.func.jvp(ours, (x,), (v,))[1], in_dims=1)(torch.stack([t, x], 1))
    torch.testing.assert_close(columns, torch.stack([slow(t), y]))
    x.requires_grad_()
    assert torch.autograd.gradcheck(ours, x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(ours, x, fast_mode=True)


def test_a_weight_that_trains_has_a_gradient():
    x, weight = torch.randn(1, 3, 5, 5, dtype=torch.float64), W.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: conv2d(x, w, padding=1), weight)


def test_bias_act_is_bias_then_activation_then_gain_then_clamp():
    x = torch.tensor([[[[-4.0]], [[0.5]]]])
    b = torch.tensor([1.0, -0.25])
    y = bias_act(x, b, act="lrelu", clamp=0.6)
    expected = [max(-0.6, -3 * 0.2 * math.sqrt(2)), 0.25 * math.sqrt(2)]
    torch.testing.assert_close(y.flatten(), torch.tensor(expected))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_every_activation_has_a_jvp_that_equals_finite_differences(act):
    x = torch.linspace(-2.05, 2, 40, dtype=torch.float64)[None]
    tangent = torch.func.jvp(lambda t: bias_act(t, act=act), (x,), (torch.ones_like(x),))[1]
    slope = (bias_act(x + 1e-6, act=act) - bias_act(x - 1e-6, act=act)) / 2e-6
    torch.testing.assert_close(tangent, slope, rtol=1e-6, atol=1e-7)


def test_sentences():
    with pytest.raises(IceError, match=r"activation out of .* got 'lrelo': did you mean 'lrelu'\?"):
        bias_act(torch.zeros(1, 2), act="lrelo")
    with pytest.raises(IceError, match=r"a bias of shape \(2,\), got \(3,\)"):
        bias_act(torch.zeros(1, 2), torch.zeros(3))
