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
void combine(acc* to, const scalar* const* from, const acc* w, size_t count, int64_t n, int stride) {
  if (count == 0) std::fill_n(to, n, acc(0));
  for (size_t m = 0; m < count; m += 4) {
    const auto* f = from + m;
    const auto* v = w + m;
    switch (std::min<size_t>(4, count - m) + (m ? 4 : 0)) {
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

// Which samples some outputs see through which taps, with what weight.
template <typename acc>
struct Seen {
  std::vector<int64_t> samples;
  std::vector<acc> weights;
};

template <typename acc>
Seen<acc> seen(const Axis& a, int64_t i, const std::vector<acc>& taps) {
  Seen<acc> found;
  for (int k = first_tap(a, i); k < a.taps; k += a.up) {
    found.samples.push_back(sample(a, i, k));
    found.weights.push_back(taps[k]);
  }
  return found;
}

// An image of pixels that are `width` neighbouring numbers each: 1 in a plane, all channels where these are last.
// What its rows need is laid out once, since a small image has little else to do.
template <typename scalar, typename acc>
class Image {
 public:
  Image(const Axis& rows, const Axis& columns, int64_t width, const std::vector<Pair<acc>>& filter)
      : rows_(rows), columns_(columns), width_(width) {
    int64_t last = columns.in - 1;
    for (const auto& pair : filter) {
      Part part;
      for (int64_t i = 0; i < rows.out; ++i) {
        Seen<acc> all = seen(rows, i, pair.vertical), inside;
        for (size_t k = 0; k < all.samples.size(); ++k)
          if (all.samples[k] >= 0 && all.samples[k] < rows.in && all.weights[k] != 0) {
            inside.samples.push_back(all.samples[k] * columns.in * width);
            inside.weights.push_back(all.weights[k]);
          }
        part.above.push_back(inside);
        most_ = std::max(most_, inside.samples.size());
      }
      // Outputs of the same phase, x = j * up + phase, see the samples j * down + those of the first: one shift for all.
      for (int p = 0; p < columns.up && p < columns.out; ++p) {
        part.along.push_back(seen(columns, p, pair.horizontal));
        for (int64_t shift : part.along.back().samples) {
          left_ = std::max(left_, -shift);
          last = std::max(last, (count(p) - 1) * columns.down + shift);
        }
        most_ = std::max(most_, part.along.back().samples.size());
      }
      parts_.push_back(part);
    }
    row_.resize((left_ + last + 1) * width);  // zeros on both sides, so that no tap needs a check
    phase_.resize(columns.out * width);
    lane_.resize(columns.out);
    out_.resize(columns.out * width);
    above_.resize(most_);
    along_.resize(most_);
  }

  void row(const scalar* x, int64_t i, scalar* y) {
    const int64_t n = columns_.out * width_;
    acc* out = out_.data();
    if constexpr (std::is_same_v<scalar, acc>) out = y;
    const bool add = parts_.size() > 1;
    if (add) std::fill_n(out, n, acc(0));
    for (const auto& part : parts_) one(x, i, part, out, add);
    if constexpr (!std::is_same_v<scalar, acc>)
      for (int64_t j = 0; j < n; ++j) y[j] = static_cast<scalar>(out[j]);
  }

 private:
  struct Part {
    std::vector<Seen<acc>> above, along;  // by row, by phase
  };

  int64_t count(int64_t phase) const { return (columns_.out - phase + columns_.up - 1) / columns_.up; }

  void one(const scalar* x, int64_t i, const Part& part, acc* out, bool add) {
    const Seen<acc>& above = part.above[i];
    for (size_t k = 0; k < above.samples.size(); ++k) above_[k] = x + above.samples[k];
    acc* middle = row_.data() + left_ * width_;
    combine(middle, above_.data(), above.weights.data(), above.samples.size(), columns_.in * width_, 1);
    for (size_t p = 0; p < part.along.size(); ++p) {
      const Seen<acc>& along = part.along[p];
      const size_t taps = along.samples.size();
      for (size_t l = 0; l < taps; ++l) along_[l] = middle + along.samples[l] * width_;
      const bool direct = columns_.up == 1 && !add;
      acc* sums = direct ? out : phase_.data();
      const int64_t outputs = count(p);
      if (columns_.down == 1 || width_ == 1) {
        combine(sums, along_.data(), along.weights.data(), taps, outputs * width_, columns_.down);
      } else if (width_ < 8) {  // an image of three channels
        for (int64_t c = 0; c < width_; ++c) {
          combine(lane_.data(), along_.data(), along.weights.data(), taps, outputs, columns_.down * width_);
          for (int64_t j = 0; j < outputs; ++j) sums[j * width_ + c] = lane_[j];
          for (size_t l = 0; l < taps; ++l) ++along_[l];
        }
      } else {
        for (int64_t j = 0; j < outputs; ++j) {
          combine(sums + j * width_, along_.data(), along.weights.data(), taps, width_, 1);
          for (size_t l = 0; l < taps; ++l) along_[l] += columns_.down * width_;
        }
      }
      if (direct) continue;
      for (int64_t j = 0; j < outputs; ++j) {
        acc* to = out + (j * columns_.up + p) * width_;
        for (int64_t c = 0; c < width_; ++c) to[c] = add ? to[c] + sums[j * width_ + c] : sums[j * width_ + c];
      }
    }
  }

  Axis rows_, columns_;
  int64_t width_, left_ = 0;
  size_t most_ = 0;
  std::vector<Part> parts_;
  std::vector<acc> row_, phase_, lane_, out_;
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
