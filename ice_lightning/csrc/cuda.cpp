// The CUDA kernels as torch operations.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <limits>
#include <optional>

#include "launch.h"

namespace ice {
namespace {

Type type_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kHalf: return Type::f16;
    case at::kBFloat16: return Type::bf16;
    case at::kFloat: return Type::f32;
    case at::kDouble: return Type::f64;
    default: TORCH_CHECK(false, "expected float16, bfloat16, float32 or float64, got ", x.scalar_type());
  }
}

template <typename Call>
void run(const Call& call) {
  const int error = launch(call, c10::cuda::getCurrentCUDAStream().stream());
  TORCH_CHECK(error == 0, "CUDA error ", error, " at the launch of a native operation");
}

at::Tensor bias_act(
    const at::Tensor& input, const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& tangent,
    int64_t dim, int64_t act, double alpha, double gain, double clamp) {
  const c10::cuda::CUDAGuard guard(input.device());
  const at::Tensor x = input.contiguous();
  at::Tensor y = at::empty_like(x);
  if (x.numel() == 0) return y;
  int64_t inner = 1;
  for (int64_t i = dim + 1; i < x.dim(); ++i) inner *= x.size(i);
  const at::Tensor b = bias ? bias->to(x.scalar_type()).contiguous() : at::Tensor();
  const at::Tensor t = tangent ? tangent->contiguous() : at::Tensor();
  run(BiasActLaunch{
      type_of(x), static_cast<int>(act), x.numel(), x.size(dim), inner, x.const_data_ptr(),
      b.defined() ? b.const_data_ptr() : nullptr, t.defined() ? t.const_data_ptr() : nullptr, y.mutable_data_ptr(), alpha,
      gain, clamp >= 0 ? clamp : std::numeric_limits<double>::infinity()});
  return y;
}

at::Tensor upfirdn2d(
    const at::Tensor& input, const at::Tensor& f, int64_t up, int64_t down, int64_t x0, int64_t x1, int64_t y0,
    int64_t y1) {
  const c10::cuda::CUDAGuard guard(input.device());
  const at::Tensor x = input.contiguous();
  const int kh = f.size(0), kw = f.size(1);
  const Axis rows{x.size(2), (x.size(2) * up + y0 + y1 - kh) / down + 1, int(up), int(down), int(y0), kh};
  const Axis columns{x.size(3), (x.size(3) * up + x0 + x1 - kw) / down + 1, int(up), int(down), int(x0), kw};
  at::Tensor y = at::empty({x.size(0), x.size(1), rows.out, columns.out}, x.options());
  if (y.numel() == 0) return y;
  const at::Tensor taps = f.to(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat).contiguous();
  run(Upfirdn2dLaunch{
      type_of(x), x.size(0) * x.size(1), rows, columns, x.const_data_ptr(), taps.const_data_ptr(), y.mutable_data_ptr()});
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(ice_lightning, CUDA, m) {
  m.impl("bias_act", &bias_act);
  m.impl("upfirdn2d", &upfirdn2d);
}

}  // namespace ice
