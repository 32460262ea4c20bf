// What the CUDA kernels need to know, without a tensor: nvcc sees none of torch's headers.
#pragma once
#include <cstdint>

#include "upfirdn2d.h"

namespace ice {

enum class Type { f16, bf16, f32, f64 };

// order 1 where t is there; limit is infinite for none.
struct BiasActLaunch {
  Type type;
  int act;
  int64_t n, channels, inner;
  const void *x, *b, *t;
  void* y;
  double alpha, gain, limit;
};

// f has the type that is summed in: double for f64, float for the others.
struct Upfirdn2dLaunch {
  Type type;
  int64_t planes;
  Axis rows, columns;
  const void *x, *f;
  void* y;
};

// Both return cudaGetLastError's number, 0 for none. `stream` is a cudaStream_t.
int launch(const BiasActLaunch&, void* stream);
int launch(const Upfirdn2dLaunch&, void* stream);

}  // namespace ice
