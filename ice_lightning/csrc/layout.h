// How a tensor lies in memory: channels last where that is not the same as contiguous.
#pragma once
#include <ATen/core/Tensor.h>

namespace ice {

inline bool channels_last(const at::Tensor& x) {
  return x.dim() == 4 && !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace ice
