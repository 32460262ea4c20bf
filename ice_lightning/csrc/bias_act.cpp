// bias_act and its first derivative on a CPU, one pass through memory.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "bias_act.h"
#include "layout.h"

namespace ice {
namespace {

struct Shape {
  int64_t outer, channels, inner;
};

// bias(i) is what is added to x[i].
template <int act, int order, typename scalar, typename acc, typename Bias>
void run(const scalar* __restrict x, const scalar* __restrict t, scalar* __restrict y, int64_t n, acc alpha, acc gain, acc clamp, Bias bias) {
  const acc limit = clamp >= 0 ? clamp : std::numeric_limits<acc>::infinity();
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    acc d = 0;
    if constexpr (order > 0) d = static_cast<acc>(t[i]);
    y[i] = static_cast<scalar>(bias_act_at<act, order, acc>(static_cast<acc>(x[i]) + bias(i), d, alpha, gain, limit));
  }
}

template <int act, int order, typename scalar, typename acc>
void rows(const Shape& shape, const scalar* x, const scalar* b, const scalar* t, scalar* y, acc alpha, acc gain, acc clamp) {
  // Runs with one bias. Where channels are innermost they are all channels of several pixels instead, beside as many
  // copies of the bias, and without a bias anything goes: long enough for a vector unit.
  const bool repeated = b != nullptr && shape.inner == 1;
  const int64_t copies = std::max<int64_t>(1, 1024 / shape.channels);
  const int64_t n = b == nullptr ? 1024 : repeated ? copies * shape.channels : shape.inner;
  const int64_t all = shape.outer * shape.channels * shape.inner;
  std::vector<acc> biases(repeated ? n : 0);
  for (size_t i = 0; i < biases.size(); ++i) biases[i] = static_cast<acc>(b[i % shape.channels]);
  const acc* __restrict bs = biases.data();
  at::parallel_for(0, (all + n - 1) / n, std::max<int64_t>(1, 32768 / n), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t at = r * n, length = std::min(n, all - at);
      const auto here = [&](auto bias) {
        run<act, order>(x + at, order ? t + at : t, y + at, length, alpha, gain, clamp, bias);
      };
      if (repeated) {
        here([=](int64_t i) { return bs[i]; });
      } else {
        const acc c = b == nullptr ? acc(0) : static_cast<acc>(b[r % shape.channels]);
        here([=](int64_t) { return c; });
      }
    }
  });
}

template <int order, typename... Args>
void dispatch(int64_t act, Args... args) {
  switch (act) {
    case linear: return rows<linear, order>(args...);
    case relu: return rows<relu, order>(args...);
    case lrelu: return rows<lrelu, order>(args...);
    case tanh_: return rows<tanh_, order>(args...);
    case sigmoid: return rows<sigmoid, order>(args...);
    case elu: return rows<elu, order>(args...);
    case selu: return rows<selu, order>(args...);
    case softplus: return rows<softplus, order>(args...);
    case swish: return rows<swish, order>(args...);
    default: TORCH_CHECK(false, "expected an activation from 0 to 8, got ", act);
  }
}

at::Tensor bias_act(
    const at::Tensor& input, const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& tangent,
    int64_t dim, int64_t act, double alpha, double gain, double clamp) {
  const bool last = channels_last(input) && dim == 1;
  const auto layout = last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  const at::Tensor x = input.contiguous(layout);
  at::Tensor y = at::empty_like(x);
  if (x.numel() == 0) return y;
  Shape shape{1, x.size(dim), 1};
  for (int64_t i = 0; i < x.dim(); ++i)
    if (i != dim) (i < dim || last ? shape.outer : shape.inner) *= x.size(i);
  const at::Tensor b = bias ? bias->to(x.scalar_type()).contiguous() : at::Tensor();
  const at::Tensor t = tangent ? tangent->contiguous(layout) : at::Tensor();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "bias_act", [&] {
    using acc = at::opmath_type<scalar_t>;
    const scalar_t* bs = b.defined() ? b.const_data_ptr<scalar_t>() : nullptr;
    const scalar_t* ts = t.defined() ? t.const_data_ptr<scalar_t>() : nullptr;
    const scalar_t* xs = x.const_data_ptr<scalar_t>();
    scalar_t* ys = y.mutable_data_ptr<scalar_t>();
    if (ts == nullptr)
      dispatch<0>(act, shape, xs, bs, ts, ys, acc(alpha), acc(gain), acc(clamp));
    else
      dispatch<1>(act, shape, xs, bs, ts, ys, acc(alpha), acc(gain), acc(clamp));
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(ice_lightning, CPU, m) { m.impl("bias_act", &bias_act); }

}  // namespace ice
