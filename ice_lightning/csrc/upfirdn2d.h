// upfirdn2d along one axis, as index arithmetic that CPU and CUDA share: insert zeros, pad, correlate, decimate.
#pragma once
#include <cstdint>

#include "both.h"

namespace ice {

// Output i sees sample j through tap k where j * up = i * down + k - pad.
struct Axis {
  int64_t in, out;
  int up, down, pad, taps;
};

ICE_BOTH inline int64_t floor_div(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

// The first tap of output i that lies on a sample and not on an inserted zero; the others follow every `up`.
ICE_BOTH inline int first_tap(const Axis& a, int64_t i) {
  const int64_t at = i * a.down - a.pad;
  return static_cast<int>(-floor_div(-at, a.up) * a.up - at);  // up to the next multiple of up
}

// The sample that tap k of output i lies on; outside 0 .. in - 1 in the padding.
ICE_BOTH inline int64_t sample(const Axis& a, int64_t i, int k) { return floor_div(i * a.down + k - a.pad, a.up); }

// Planes of x and y lie one after the other; f holds rows.taps x columns.taps taps.
template <typename scalar, typename acc>
struct Resample {
  Axis rows, columns;
  const scalar* x;
  const acc* f;
  scalar* y;
};

// Output number i of all planes. Where up, down and taps are above 0 the compiler knows them and unrolls.
template <int up, int down, int taps, typename scalar, typename acc>
ICE_BOTH inline void upfirdn2d_item(const Resample<scalar, acc>& call, int64_t i) {
  Axis rows = call.rows, columns = call.columns;
  if constexpr (up > 0) rows.up = columns.up = up;
  if constexpr (down > 0) rows.down = columns.down = down;
  if constexpr (taps > 0) rows.taps = columns.taps = taps;
  const int64_t x = i % columns.out, y = i / columns.out % rows.out, plane = i / columns.out / rows.out;
  const scalar* from = call.x + plane * rows.in * columns.in;
  const int first_k = first_tap(rows, y), first_l = first_tap(columns, x);
  const int64_t first_r = sample(rows, y, first_k), first_c = sample(columns, x, first_l);
  acc sum = 0;
  for (int k = first_k, m = 0; k < rows.taps; k += rows.up, ++m) {
    const int64_t r = first_r + m;
    if (r < 0 || r >= rows.in) continue;
    for (int l = first_l, n = 0; l < columns.taps; l += columns.up, ++n) {
      const int64_t c = first_c + n;
      if (c >= 0 && c < columns.in) sum += call.f[k * columns.taps + l] * static_cast<acc>(from[r * columns.in + c]);
    }
  }
  call.y[i] = static_cast<scalar>(sum);
}

}  // namespace ice
