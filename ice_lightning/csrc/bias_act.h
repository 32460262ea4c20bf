// bias_act by element, shared by CPU and CUDA: y = clamp(gain * act(x + b)), and its first derivative.
#pragma once
#include <cmath>
#include <cstdint>

#include "both.h"

namespace ice {

// The order of ops/bias_act.py's table.
enum Act : int { linear, relu, lrelu, tanh_, sigmoid, elu, selu, softplus, swish };

constexpr double selu_scale = 1.0507009873554804934193349852946, selu_alpha = 1.6732632423543772848170429916717;

// Where b is found for element i of a tensor of shape (outer, channels, inner).
template <typename index>
ICE_BOTH inline index channel(index i, index channels, index inner) {
  return i / inner % channels;
}

template <int act, typename T>
ICE_BOTH inline T value(T z, T alpha) {
  if constexpr (act == relu) return z < 0 ? T(0) : z;  // NaN stays
  if constexpr (act == lrelu) return z > 0 ? z : alpha * z;
  if constexpr (act == tanh_) return std::tanh(z);
  if constexpr (act == sigmoid) return T(1) / (T(1) + std::exp(-z));
  if constexpr (act == elu) return z > 0 ? z : std::expm1(z);
  if constexpr (act == selu) return T(selu_scale) * (z > 0 ? z : T(selu_alpha) * std::expm1(z));
  if constexpr (act == softplus) return z > 20 ? z : std::log1p(std::exp(z));  // torch's threshold
  if constexpr (act == swish) return z / (T(1) + std::exp(-z));
  return z;
}

// torch's derivative at the kink of relu and lrelu: that of the left side.
template <int act, typename T>
ICE_BOTH inline T slope(T z, T alpha) {
  if constexpr (act == relu) return z > 0 ? T(1) : T(0);
  if constexpr (act == lrelu) return z > 0 ? T(1) : alpha;
  if constexpr (act == tanh_) {
    const T t = std::tanh(z);
    return T(1) - t * t;
  }
  if constexpr (act == elu) return z > 0 ? T(1) : std::exp(z);
  if constexpr (act == selu) return T(selu_scale) * (z > 0 ? T(1) : T(selu_alpha) * std::exp(z));
  if constexpr (act == softplus) return z > 20 ? T(1) : T(1) / (T(1) + std::exp(-z));
  if constexpr (act == sigmoid || act == swish) {
    const T s = T(1) / (T(1) + std::exp(-z));
    return act == sigmoid ? s * (T(1) - s) : s * (T(1) + z * (T(1) - s));
  }
  return T(1);
}

// Order 0: the value at z. Order 1: the derivative at z times t; nothing passes beyond +-limit, which may be infinite.
template <int act, int order, typename T>
ICE_BOTH inline T bias_act_at(T z, T t, T alpha, T gain, T limit) {
  const T y = gain * value<act>(z, alpha);
  if constexpr (order == 0) return y < -limit ? -limit : y > limit ? limit : y;
  return y < -limit || y > limit ? T(0) : t * gain * slope<act>(z, alpha);
}

// A tensor of shape (outer, channels, inner), its bias (channels,) or null, and for order 1 the factor of the derivative.
template <typename scalar, typename acc>
struct BiasAct {
  int64_t n, channels, inner;
  const scalar *x, *b, *t;
  scalar* y;
  acc alpha, gain, limit;
};

// Element i, with indices as wide as `index`.
template <int act, int order, typename index, typename scalar, typename acc>
ICE_BOTH inline void bias_act_item(const BiasAct<scalar, acc>& call, index i) {
  acc z = static_cast<acc>(call.x[i]), t = 0;
  if (call.b) z += static_cast<acc>(call.b[channel<index>(i, call.channels, call.inner)]);
  if constexpr (order > 0) t = static_cast<acc>(call.t[i]);
  call.y[i] = static_cast<scalar>(bias_act_at<act, order, acc>(z, t, call.alpha, call.gain, call.limit));
}

}  // namespace ice
