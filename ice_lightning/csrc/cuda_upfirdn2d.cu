// upfirdn2d on a GPU: an output per thread; neighbours share what they read in the first-level cache.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "launch.h"
#include "upfirdn2d.h"

namespace ice {
namespace {

constexpr int threads = 256;

template <int up, int down, int taps, typename scalar, typename acc>
__global__ void kernel(Resample<scalar, acc> call, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i < n) upfirdn2d_item<up, down, taps>(call, i);
}

template <typename scalar, typename acc>
void start(const Upfirdn2dLaunch& l, cudaStream_t stream) {
  const Resample<scalar, acc> call{
      l.rows, l.columns, static_cast<const scalar*>(l.x), static_cast<const acc*>(l.f), static_cast<scalar*>(l.y)};
  const int64_t n = l.planes * l.rows.out * l.columns.out;
  const unsigned blocks = static_cast<unsigned>((n + threads - 1) / threads);
  const bool four = l.rows.taps == 4 && l.columns.taps == 4;
  const int up = l.rows.up, down = l.rows.down;
  if (four && up == 1 && down == 1)
    kernel<1, 1, 4><<<blocks, threads, 0, stream>>>(call, n);
  else if (four && up == 2 && down == 1)
    kernel<2, 1, 4><<<blocks, threads, 0, stream>>>(call, n);
  else if (four && up == 1 && down == 2)
    kernel<1, 2, 4><<<blocks, threads, 0, stream>>>(call, n);
  else
    kernel<0, 0, 0><<<blocks, threads, 0, stream>>>(call, n);
}

}  // namespace

int launch(const Upfirdn2dLaunch& l, void* stream) {
  const auto s = static_cast<cudaStream_t>(stream);
  switch (l.type) {
    case Type::f16: start<__half, float>(l, s); break;
    case Type::bf16: start<__nv_bfloat16, float>(l, s); break;
    case Type::f32: start<float, float>(l, s); break;
    case Type::f64: start<double, double>(l, s); break;
  }
  return cudaGetLastError();
}

}  // namespace ice
