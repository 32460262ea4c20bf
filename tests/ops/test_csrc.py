"""The arithmetic of the CUDA kernels, whose bodies are headers: compiled for the host and run element by element."""

import ctypes
import shutil
import subprocess

import pytest
import reference
import torch

from ice_lightning.ops import ACTIVATIONS, bias_act, loader
from ice_lightning.ops.bias_act import NUMBERS

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")

HOST = r"""
#include "bias_act.h"
#include "upfirdn2d.h"
using namespace ice;

template <int up, int down, int taps>
void run(const Resample<double, double>& call, int64_t n) {
  for (int64_t i = 0; i < n; ++i) upfirdn2d_item<up, down, taps>(call, i);
}

extern "C" void upfirdn2d(
    const double* x, const double* f, double* y, const int64_t* r, const int64_t* c, int64_t planes, int fixed) {
  const Resample<double, double> call{
      {r[0], r[1], int(r[2]), int(r[3]), int(r[4]), int(r[5])},
      {c[0], c[1], int(c[2]), int(c[3]), int(c[4]), int(c[5])}, x, f, y};
  const int64_t n = planes * r[1] * c[1];
  if (!fixed) return run<0, 0, 0>(call, n);
  if (r[2] == 2) return run<2, 1, 4>(call, n);
  if (r[3] == 2) return run<1, 2, 4>(call, n);
  run<1, 1, 4>(call, n);
}

template <int act>
void all(const BiasAct<double, double>& call) {
  for (int32_t i = 0; i < call.n; ++i) bias_act_item<act, 0>(call, i);
}

extern "C" void bias_act(
    int act, const double* x, const double* b, double* y, int64_t n, int64_t channels, int64_t inner, double limit) {
  const BiasAct<double, double> call{n, channels, inner, x, b, nullptr, y, 0.2, 1.5, limit};
  void (*const each[])(const BiasAct<double, double>&) = {
      all<0>, all<1>, all<2>, all<3>, all<4>, all<5>, all<6>, all<7>, all<8>};
  each[act](call);
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("host")
    (folder / "host.cpp").write_text(HOST)
    command = ["c++", "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{loader.SOURCES}", "host.cpp", "-o", "host.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "host.so"))


def pointer(x):
    return ctypes.c_void_p(x.data_ptr())


CASES = [
    (1, 1, (1, 1, 1, 1), 4), (2, 1, (2, 1, 2, 1), 4), (1, 2, (1, 1, 1, 1), 4), (3, 2, (4, 0, 1, 3), 4),
    (1, 1, (-1, 2, 0, -2), 4), (2, 3, (3, 3, 2, 2), 3), (4, 1, (9, 9, 9, 9), 7),
]  # fmt: skip


@pytest.mark.parametrize("up,down,pads,taps", CASES)
def test_every_output_sees_its_samples(host, up, down, pads, taps):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, 6, generator=draw, dtype=torch.float64)
    f = torch.randn(taps, taps, generator=draw, dtype=torch.float64)
    expected = reference.upfirdn2d(x, f, up, down, *pads, True, 1.0)
    axes = [
        (ctypes.c_int64 * 6)(side, out, up, down, before, taps)
        for side, out, before in zip(x.shape[2:], expected.shape[2:], (pads[2], pads[0]), strict=True)
    ]
    for fixed in {0, int(taps == 4 and (up, down) in {(1, 1), (2, 1), (1, 2)})}:
        y = torch.full_like(expected, torch.nan)
        host.upfirdn2d(pointer(x), pointer(f), pointer(y), *axes, ctypes.c_int64(6), fixed)
        torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_every_element_sees_its_bias(host, act):
    draw = torch.Generator().manual_seed(0)
    x, b = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((2, 3, 4, 5), (3,)))
    y = torch.empty_like(x)
    sizes = [ctypes.c_int64(size) for size in (x.numel(), 3, 20)]
    host.bias_act(NUMBERS[act], pointer(x), pointer(b), pointer(y), *sizes, ctypes.c_double(1.0))
    with loader.forced("python"):
        torch.testing.assert_close(y, bias_act(x, b, act=act, alpha=0.2, gain=1.5, clamp=1.0))
