// upfirdn2d on a CPU: row by row, vertical taps first, then horizontal ones phase by phase, so that every inner loop runs
// over neighbours and the compiler can vectorise it.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "layout.h"
#include "upfirdn2d.h"

namespace ice {
namespace {

// A filter as a sum of outer products: one for a separable filter, one per row for any other.
template <typename acc>
struct Pair {
  std::vector<acc> vertical, horizontal;
};

template <typename acc>
std::vector<Pair<acc>> outer_products(const acc* f, int kh, int kw) {
  const acc* peak = std::max_element(f, f + kh * kw, [](acc a, acc b) { return std::abs(a) < std::abs(b); });
  const int row = static_cast<int>((peak - f) / kw), column = static_cast<int>((peak - f) % kw);
  Pair<acc> one;
  for (int k = 0; k < kh; ++k) one.vertical.push_back(*peak != 0 ? f[k * kw + column] / *peak : 0);
  one.horizontal.assign(f + row * kw, f + (row + 1) * kw);
  bool separable = true;
  for (int k = 0; k < kh; ++k)
    for (int l = 0; l < kw; ++l)
      separable &= std::abs(f[k * kw + l] - one.vertical[k] * one.horizontal[l]) <= 4 * std::abs(*peak) *
          std::numeric_limits<acc>::epsilon();
  if (separable) return {one};
  std::vector<Pair<acc>> rows(kh);
  for (int k = 0; k < kh; ++k) {
    rows[k].vertical.assign(kh, 0);
    rows[k].vertical[k] = 1;
    rows[k].horizontal.assign(f + k * kw, f + (k + 1) * kw);
  }
  return rows;
}

// Up to four taps at a time, so that what they sum to stays in a register: to[i] (+)= sum of w[m] * from[m][i * stride].
template <bool add, int taps, typename acc, typename scalar>
void four(acc* __restrict to, const scalar* const* from, const acc* w, int64_t n, int stride) {
  const scalar *a = from[0], *b = from[taps > 1], *c = from[taps > 2 ? 2 : 0], *d = from[taps > 3 ? 3 : 0];
  const acc wa = w[0], wb = taps > 1 ? w[1] : 0, wc = taps > 2 ? w[2] : 0, wd = taps > 3 ? w[3] : 0;
  const auto loop = [&](auto step) {
    for (int64_t i = 0; i < n; ++i) {
      acc sum = wa * static_cast<acc>(a[i * step]);
      if constexpr (taps > 1) sum += wb * static_cast<acc>(b[i * step]);
      if constexpr (taps > 2) sum += wc * static_cast<acc>(c[i * step]);
      if constexpr (taps > 3) sum += wd * static_cast<acc>(d[i * step]);
      to[i] = add ? to[i] + sum : sum;
    }
  };
  if (stride == 1)
    loop(std::integral_constant<int, 1>());
  else if (stride == 2)
    loop(std::integral_constant<int, 2>());
  else
    loop(stride);
}

template <typename acc, typename scalar>
void combine(acc* to, const std::vector<const scalar*>& from, const std::vector<acc>& w, int64_t n, int stride) {
  if (from.empty()) std::fill_n(to, n, acc(0));
  for (size_t m = 0; m < from.size(); m += 4) {
    const auto* f = from.data() + m;
    const auto* v = w.data() + m;
    switch (std::min<size_t>(4, from.size() - m) + (m ? 4 : 0)) {
      case 1: four<false, 1>(to, f, v, n, stride); break;
      case 2: four<false, 2>(to, f, v, n, stride); break;
      case 3: four<false, 3>(to, f, v, n, stride); break;
      case 4: four<false, 4>(to, f, v, n, stride); break;
      case 5: four<true, 1>(to, f, v, n, stride); break;
      case 6: four<true, 2>(to, f, v, n, stride); break;
      case 7: four<true, 3>(to, f, v, n, stride); break;
      default: four<true, 4>(to, f, v, n, stride);
    }
  }
}

// Outputs of the same phase, x = j * up + phase, see the sample j * down + shift through tap l: one shift for all.
struct Phase {
  int64_t count;
  std::vector<int64_t> shifts;
  std::vector<int> taps;
};

std::vector<Phase> phases(const Axis& a) {
  std::vector<Phase> found;
  for (int p = 0; p < a.up && p < a.out; ++p) {
    Phase one{(a.out - p + a.up - 1) / a.up, {}, {}};
    for (int l = first_tap(a, p); l < a.taps; l += a.up) {
      one.shifts.push_back(sample(a, p, l));
      one.taps.push_back(l);
    }
    found.push_back(one);
  }
  return found;
}

// An image of pixels that are `width` neighbouring numbers each: 1 in a plane, all channels where these are last.
template <typename scalar, typename acc>
class Image {
 public:
  Image(const Axis& rows, const Axis& columns, int64_t width, std::vector<Pair<acc>> filter)
      : rows_(rows), columns_(columns), width_(width), filter_(std::move(filter)), phases_(phases(columns)) {
    int64_t last = columns.in - 1;
    for (const auto& phase : phases_)
      for (int64_t shift : phase.shifts) {
        left_ = std::max(left_, -shift);
        last = std::max(last, (phase.count - 1) * columns.down + shift);
      }
    row_.resize((left_ + last + 1) * width);  // zeros on both sides, so that no tap needs a check
    phase_.resize(columns.out * width);
    out_.resize(columns.out * width);
  }

  void row(const scalar* x, int64_t i, scalar* y) {
    const int64_t n = columns_.out * width_;
    acc* out = out_.data();
    if constexpr (std::is_same_v<scalar, acc>) out = y;
    if (filter_.size() > 1) std::fill_n(out, n, acc(0));
    for (const auto& pair : filter_) one(x, i, pair, out, filter_.size() > 1);
    if constexpr (!std::is_same_v<scalar, acc>)
      for (int64_t j = 0; j < n; ++j) y[j] = static_cast<scalar>(out[j]);
  }

 private:
  void one(const scalar* x, int64_t i, const Pair<acc>& pair, acc* out, bool add) {
    above_.clear();
    weights_.clear();
    for (int k = first_tap(rows_, i); k < rows_.taps; k += rows_.up) {
      const int64_t r = sample(rows_, i, k);
      if (r < 0 || r >= rows_.in || pair.vertical[k] == 0) continue;
      above_.push_back(x + r * columns_.in * width_);
      weights_.push_back(pair.vertical[k]);
    }
    acc* middle = row_.data() + left_ * width_;
    combine(middle, above_, weights_, columns_.in * width_, 1);
    for (size_t p = 0; p < phases_.size(); ++p) {
      const auto& phase = phases_[p];
      along_.clear();
      weights_.clear();
      for (size_t l = 0; l < phase.taps.size(); ++l) {
        along_.push_back(middle + phase.shifts[l] * width_);
        weights_.push_back(pair.horizontal[phase.taps[l]]);
      }
      const bool direct = columns_.up == 1 && !add;
      acc* sums = direct ? out : phase_.data();
      if (columns_.down == 1 || width_ == 1) {
        combine(sums, along_, weights_, phase.count * width_, columns_.down);
      } else {
        for (int64_t j = 0; j < phase.count; ++j) {
          combine(sums + j * width_, along_, weights_, width_, 1);
          for (auto& from : along_) from += columns_.down * width_;
        }
      }
      if (direct) continue;
      for (int64_t j = 0; j < phase.count; ++j) {
        acc* to = out + (j * columns_.up + p) * width_;
        for (int64_t c = 0; c < width_; ++c) to[c] = add ? to[c] + sums[j * width_ + c] : sums[j * width_ + c];
      }
    }
  }

  Axis rows_, columns_;
  int64_t width_;
  std::vector<Pair<acc>> filter_;
  std::vector<Phase> phases_;
  int64_t left_ = 0;
  std::vector<acc> row_, phase_, out_, weights_;
  std::vector<const scalar*> above_;
  std::vector<const acc*> along_;
};

at::Tensor upfirdn2d(
    const at::Tensor& input, const at::Tensor& f, int64_t up, int64_t down, int64_t x0, int64_t x1, int64_t y0,
    int64_t y1) {
  const auto layout = channels_last(input) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  const at::Tensor x = input.contiguous(layout);
  const int kh = f.size(0), kw = f.size(1);
  const Axis rows{x.size(2), (x.size(2) * up + y0 + y1 - kh) / down + 1, int(up), int(down), int(y0), kh};
  const Axis columns{x.size(3), (x.size(3) * up + x0 + x1 - kw) / down + 1, int(up), int(down), int(x0), kw};
  at::Tensor y = at::empty({x.size(0), x.size(1), rows.out, columns.out}, x.options().memory_format(layout));
  if (y.numel() == 0) return y;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "upfirdn2d", [&] {
    using acc = at::opmath_type<scalar_t>;
    const at::Tensor taps = f.to(c10::CppTypeToScalarType<acc>::value).contiguous();
    const auto filter = outer_products(taps.const_data_ptr<acc>(), kh, kw);
    const scalar_t* from = x.const_data_ptr<scalar_t>();
    scalar_t* to = y.mutable_data_ptr<scalar_t>();
    const int64_t width = layout == at::MemoryFormat::ChannelsLast ? x.size(1) : 1;
    const int64_t images = x.size(0) * x.size(1) / width, all = images * rows.out;
    const int64_t in = rows.in * columns.in * width, out = columns.out * width;
    at::parallel_for(0, all, std::max<int64_t>(1, 32768 / out), [&](int64_t begin, int64_t end) {
      Image<scalar_t, acc> image(rows, columns, width, filter);
      for (int64_t i = begin; i < end; ++i) image.row(from + i / rows.out * in, i % rows.out, to + i * out);
    });
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(ice_lightning, CPU, m) { m.impl("upfirdn2d", &upfirdn2d); }

}  // namespace ice
