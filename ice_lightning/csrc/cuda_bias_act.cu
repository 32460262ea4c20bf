// bias_act and its first derivative on a GPU: four elements per thread, each a block's width from the last.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "bias_act.h"
#include "launch.h"

namespace ice {
namespace {

constexpr int threads = 256, each = 4;

// Every thread takes the same branch, and memory is what takes time.
template <int order, typename index, typename scalar, typename acc>
__device__ void item(int act, const BiasAct<scalar, acc>& call, index i) {
  switch (act) {
    case linear: return bias_act_item<linear, order>(call, i);
    case relu: return bias_act_item<relu, order>(call, i);
    case lrelu: return bias_act_item<lrelu, order>(call, i);
    case tanh_: return bias_act_item<tanh_, order>(call, i);
    case sigmoid: return bias_act_item<sigmoid, order>(call, i);
    case elu: return bias_act_item<elu, order>(call, i);
    case selu: return bias_act_item<selu, order>(call, i);
    case softplus: return bias_act_item<softplus, order>(call, i);
    default: return bias_act_item<swish, order>(call, i);
  }
}

template <int order, typename index, typename scalar, typename acc>
__global__ void kernel(int act, BiasAct<scalar, acc> call) {
  index i = static_cast<index>(blockIdx.x) * threads * each + threadIdx.x;
#pragma unroll
  for (int k = 0; k < each; ++k, i += threads)
    if (i < call.n) item<order>(act, call, i);
}

template <int order, typename scalar, typename acc>
void start(int act, const BiasAct<scalar, acc>& call, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>((call.n + threads * each - 1) / (threads * each));
  if (call.n < (int64_t(1) << 30))
    kernel<order, int32_t><<<blocks, threads, 0, stream>>>(act, call);
  else
    kernel<order, int64_t><<<blocks, threads, 0, stream>>>(act, call);
}

template <typename scalar, typename acc>
void by_order(const BiasActLaunch& l, cudaStream_t stream) {
  const BiasAct<scalar, acc> call{
      l.n, l.channels, l.inner, static_cast<const scalar*>(l.x), static_cast<const scalar*>(l.b),
      static_cast<const scalar*>(l.t), static_cast<scalar*>(l.y), acc(l.alpha), acc(l.gain), acc(l.limit)};
  l.t ? start<1>(l.act, call, stream) : start<0>(l.act, call, stream);
}

}  // namespace

int launch(const BiasActLaunch& l, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  switch (l.type) {
    case Type::f16: by_order<__half, float>(l, s); break;
    case Type::bf16: by_order<__nv_bfloat16, float>(l, s); break;
    case Type::f32: by_order<float, float>(l, s); break;
    case Type::f64: by_order<double, double>(l, s); break;
  }
  return cudaGetLastError();
}

}  // namespace ice
