// The operators on a CPU. Elements are gone through in blocks that stay in the first-level cache, and nothing of the
// size of the data is kept in between. The arithmetic is that of elements.py, step by step, so that both put an element
// into the same region.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

namespace {

using at::Tensor;
using Vec = at::vec::Vectorized<float>;

// Elements worked on at a time.
constexpr int64_t kBlock = 1024;
// Elements that are worth a thread of their own.
constexpr int64_t kShare = 16384;
// Neighbours are counted in tables of their own: most of them lie in one region, and a processor waits before it adds
// again to what it has just written.
constexpr int64_t kTables = 8;

// Calls f(type) with a value of the tensor's element type.
template <typename F>
void with_type(const Tensor& tensor, F f) {
  if (tensor.scalar_type() == at::kHalf) {
    f(at::Half());
  } else if (tensor.scalar_type() == at::kBFloat16) {
    f(at::BFloat16());
  } else {
    TORCH_CHECK(tensor.scalar_type() == at::kFloat, "unexpected dtype ", tensor.scalar_type());
    f(float());
  }
}

// Elements of a tensor as floats: in place where they are floats, else converted into a buffer.
const float* read(const Tensor& tensor, int64_t start, int64_t size, float* buffer) {
  const float* result = buffer;
  with_type(tensor, [&](auto type) {
    using T = decltype(type);
    using Vector = at::vec::Vectorized<T>;
    const T* source = tensor.const_data_ptr<T>() + start;
    if constexpr (std::is_same_v<T, float>) {
      result = source;
    } else {
      for (int64_t i = 0; i < size; i += Vector::size()) {
        const int64_t some = std::min<int64_t>(Vector::size(), size - i);
        auto [low, high] = at::vec::convert_to_float<T>(Vector::loadu(source + i, some));
        low.store(buffer + i);
        high.store(buffer + i + Vec::size());
      }
    }
  });
  return result;
}

// What one thread computes of a block, with room for a whole last vector.
struct Block {
  static constexpr int64_t kRoom = kBlock + 2 * Vec::size();
  float derivative[kRoom], loss[kRoom], pred[kRoom], target[kRoom];
  int32_t region[kRoom];
};

// log(1 + exp(x)) by the sigmoid q of -abs(x): max(x, 0) - log(1 - q). The polynomial has the least relative error, 1e-7,
// for q up to 1/2, and needs no division, the slowest instruction of these loops.
Vec softplus(Vec x, Vec inverse_odds, Vec sigmoid) {
  const Vec positive = x >= Vec(0.0f);
  const Vec q = Vec::blendv(sigmoid, inverse_odds * sigmoid, positive);
  Vec series(1.44108880f);
  for (float coefficient : {-1.69577384f, 1.25763881f, -0.203525886f, 0.269609690f, 0.242805466f, 0.333700597f,
                            0.499992847f, 1.0f}) {
    series = at::vec::fmadd(series, q, Vec(coefficient));
  }
  return at::vec::fmadd(series, q, Vec::blendv(Vec(0.0f), x, positive));
}

// Sigmoid and, if asked for, softplus of each logit.
template <bool with_loss>
void logistic(const float* logits, int64_t size, Block& block) {
  for (int64_t i = 0; i < size; i += Vec::size()) {
    const Vec x = Vec::loadu(logits + i, std::min<int64_t>(Vec::size(), size - i));
    const Vec inverse_odds = (Vec(0.0f) - x).exp();
    const Vec sigmoid = (Vec(1.0f) + inverse_odds).reciprocal();
    sigmoid.store(block.derivative + i);
    if constexpr (with_loss) {
      softplus(x, inverse_odds, sigmoid).store(block.loss + i);
    }
  }
}

// Calls f(sample, first, last) for each sample with elements in a block, and where in the block they are.
template <typename F>
void for_samples(int64_t start, int64_t size, int64_t channels, F f) {
  int64_t sample = start / channels;
  for (int64_t first = 0; first < size; ++sample) {
    const int64_t last = std::min(size, (sample + 1) * channels - start);
    f(sample, first, last);
    first = last;
  }
}

// Binary cross-entropy of N x C logits against N labels; a label outside 0 to C - 1 is background.
struct LabelKind {
  const int32_t* label;
  int64_t channels;

  // Calls f(i) for each element of a block that is of its sample's own class.
  template <typename F>
  void for_own(int64_t start, int64_t size, F f) const {
    for_samples(start, size, channels, [&](int64_t sample, int64_t, int64_t) {
      const int64_t own = label[sample], i = sample * channels + own - start;
      if (own >= 0 && own < channels && i >= 0 && i < size) {
        f(i);
      }
    });
  }

  // Most elements are background: all are computed so, and those of a sample's own class are put right.
  template <bool with_loss>
  void compute(const float* pred, int64_t start, int64_t size, Block& block) const {
    logistic<with_loss>(pred, size, block);
    for_own(start, size, [&](int64_t i) {
      block.derivative[i] -= 1.0f;
      if constexpr (with_loss) {
        block.loss[i] = std::max(-pred[i], 0.0f) + std::log1p(std::exp(-std::fabs(pred[i])));
      }
    });
  }

  // Moves the regions of elements whose target is above 0 to the rows behind.
  void mark_positives(int64_t start, int64_t size, int32_t rows, Block& block) const {
    for_own(start, size, [&](int64_t i) { block.region[i] += rows; });
  }
};

// Elements with a target each.
struct TargetKind {
  const Tensor& target;

  void mark_positives(int64_t start, int64_t size, int32_t rows, Block& block) const {
    const float* t = read(target, start, size, block.target);
    for (int64_t i = 0; i < size; ++i) {
      block.region[i] += t[i] > 0.0f ? rows : 0;
    }
  }
};

// Binary cross-entropy of logits against as many targets in [0, 1].
struct DenseKind : TargetKind {
  template <bool with_loss>
  void compute(const float* pred, int64_t start, int64_t size, Block& block) const {
    const float* t = read(target, start, size, block.target);
    logistic<with_loss>(pred, size, block);
    for (int64_t i = 0; i < size; ++i) {
      block.derivative[i] -= t[i];
    }
    if constexpr (with_loss) {
      for (int64_t i = 0; i < size; ++i) {
        block.loss[i] -= pred[i] * t[i];
      }
    }
  }
};

// Authentic smooth L1 of the difference between predictions and as many targets.
struct ASL1Kind : TargetKind {
  double mu;

  template <bool with_loss>
  void compute(const float* pred, int64_t start, int64_t size, Block& block) const {
    const float* t = read(target, start, size, block.target);
    const float square = static_cast<float>(mu * mu);
    const float bound = static_cast<float>(2 * mu);
    const float offset = static_cast<float>(mu);
    for (int64_t i = 0; i < size; ++i) {
      const float difference = pred[i] - t[i];
      const float root = std::min(std::sqrt(difference * difference + square), std::fabs(difference) + bound);
      block.derivative[i] = difference / root;
      block.loss[i] = root - offset;
    }
  }
};

// Region of each element, from 1 to bins; a NaN is in the first. What does not count has region and derivative 0.
struct Regions {
  int64_t bins;
  const bool* valid;  // of each element, or of each sample, or none
  int64_t channels;
  bool per_sample;

  void compute(int64_t start, int64_t size, Block& block) const {
    // Rounding can only put a guess one region too high, which the comparison with its lower edge repairs. That is
    // region / last to the last bit, of which a product with the reciprocal is corrected by what it leaves.
    const float surplus = static_cast<float>(bins * (1 + 0x1p-21)), last = static_cast<float>(bins), inverse = 1 / last;
    for (int64_t i = 0; i < size; ++i) {
      const float norm = std::fabs(block.derivative[i]);
      float region = std::trunc(norm * surplus);
      const float quotient = region * inverse;
      const float edge = std::fma(std::fma(-quotient, last, region), inverse, quotient);
      region += norm >= edge ? 1.0f : 0.0f;
      region = region >= 1.0f ? region : 1.0f;
      block.region[i] = static_cast<int32_t>(region <= last ? region : last);
    }
    if (valid == nullptr) {
      return;
    }
    if (!per_sample) {
      for (int64_t i = 0; i < size; ++i) {
        block.region[i] = valid[start + i] ? block.region[i] : 0;
        block.derivative[i] = valid[start + i] ? block.derivative[i] : 0.0f;
      }
      return;
    }
    for_samples(start, size, channels, [&](int64_t sample, int64_t first, int64_t last) {
      if (!valid[sample]) {
        std::fill(block.region + first, block.region + last, 0);
        std::fill(block.derivative + first, block.derivative + last, 0.0f);
      }
    });
  }
};

// Sums over the elements of each region, of one thread: first those of other elements, then those of positives.
struct Statistics {
  struct Entry {
    double loss, count;
  };

  explicit Statistics(int64_t bins) : rows(bins + 1), table(kTables * 2 * rows) {}

  void add(int64_t size, const Block& block) {
    int64_t i = 0;
    for (; i + kTables <= size; i += kTables) {
      for (int64_t own = 0; own < kTables; ++own) {
        add(table[own * 2 * rows + block.region[i + own]], block.loss[i + own]);
      }
    }
    for (; i < size; ++i) {
      add(table[block.region[i]], block.loss[i]);
    }
  }

  static void add(Entry& entry, float loss) {
    entry.loss += loss;
    entry.count += 1;
  }

  int64_t rows;
  std::vector<Entry> table;
};

// Calls function(kind) with the kind of that name.
template <typename Function>
void with_kind(c10::string_view name, const Tensor& pred, const Tensor& target, double mu, Function function) {
  if (name == "label") {
    function(LabelKind{target.const_data_ptr<int32_t>(), pred.size(1)});
  } else if (name == "dense") {
    function(DenseKind{{target}});
  } else {
    function(ASL1Kind{{target}, mu});
  }
}

// What is read in place: contiguous, and a target of labels, or of floats of one of three types.
struct Inputs {
  Inputs(const Tensor& any_pred, const Tensor& any_target, const std::optional<Tensor>& any_valid, bool labels)
      : pred(any_pred.contiguous()), valid(any_valid.has_value() ? any_valid->contiguous() : Tensor()) {
    const auto type = any_target.scalar_type();
    const bool readable = labels || type == at::kFloat || type == at::kHalf || type == at::kBFloat16;
    target = (readable ? any_target : any_target.to(at::kFloat)).contiguous();
  }

  Regions regions(int64_t bins) const {
    const bool per_sample = valid.defined() && valid.size(1) == 1 && pred.size(1) != 1;
    return {bins, valid.defined() ? valid.const_data_ptr<bool>() : nullptr, pred.size(1), per_sample};
  }

  Tensor pred, target, valid;
};

// Goes through the elements in blocks, in parallel: work() makes in each thread what is then called with
// (start, size, block).
template <typename Work>
void for_blocks(const Tensor& pred, Work work) {
  at::parallel_for(0, pred.numel(), kShare, [&](int64_t begin, int64_t end) {
    Block block;
    auto call = work();
    for (int64_t start = begin; start < end; start += kBlock) {
      call(start, std::min(kBlock, end - start), block);
    }
  });
}

Tensor region_statistics(const Tensor& any_pred, const Tensor& any_target, const std::optional<Tensor>& any_valid,
                         c10::string_view kind, double mu, int64_t bins) {
  const Inputs inputs(any_pred, any_target, any_valid, kind == "label");
  const Tensor& pred = inputs.pred;
  const Regions region = inputs.regions(bins);
  Tensor result = at::zeros({3, bins}, pred.options().dtype(at::kDouble));
  double *count = result.mutable_data_ptr<double>(), *positive = count + bins, *loss = positive + bins;
  std::vector<Statistics> statistics(at::get_num_threads(), Statistics(bins));
  with_kind(kind, pred, inputs.target, mu, [&](auto kind) {
    for_blocks(pred, [&] {
      Statistics& own = statistics[at::get_thread_num()];
      return [&own, &region, &pred, kind](int64_t start, int64_t size, Block& block) {
        kind.template compute<true>(read(pred, start, size, block.pred), start, size, block);
        region.compute(start, size, block);
        kind.mark_positives(start, size, static_cast<int32_t>(own.rows), block);
        own.add(size, block);
      };
    });
  });
  // In the order of the threads, so that a rerun gives the same sum.
  for (const Statistics& part : statistics) {
    for (size_t index = 0; index < part.table.size(); ++index) {
      const int64_t place = index % (2 * part.rows), j = place % part.rows - 1;
      if (j >= 0) {
        count[j] += part.table[index].count;
        loss[j] += part.table[index].loss;
        positive[j] += place >= part.rows ? part.table[index].count : 0;
      }
    }
  }
  return result;
}

Tensor harmonized_gradient(const Tensor& any_pred, const Tensor& any_target, const std::optional<Tensor>& any_valid,
                           c10::string_view kind, double mu, const Tensor& region_weight) {
  const int64_t bins = region_weight.numel();
  const Inputs inputs(any_pred, any_target, any_valid, kind == "label");
  const Tensor& pred = inputs.pred;
  const Regions region = inputs.regions(bins);
  std::vector<float> table(bins + 1);
  const Tensor weight = region_weight.to(at::kFloat).contiguous();
  std::copy_n(weight.const_data_ptr<float>(), bins, table.begin() + 1);
  Tensor gradient = at::empty_like(pred);
  with_kind(kind, pred, inputs.target, mu, [&](auto kind) {
    with_type(pred, [&](auto type) {
      using T = decltype(type);
      T* out = gradient.mutable_data_ptr<T>();
      for_blocks(pred, [&] {
        return [&table, &region, &pred, out, kind](int64_t start, int64_t size, Block& block) {
          kind.template compute<false>(read(pred, start, size, block.pred), start, size, block);
          region.compute(start, size, block);
          for (int64_t i = 0; i < size; i += Vec::size()) {
            const int64_t some = std::min<int64_t>(Vec::size(), size - i);
            const auto index = at::vec::Vectorized<int32_t>::loadu(block.region + i, some);
            const Vec product = Vec::loadu(block.derivative + i) * at::vec::gather<sizeof(float)>(table.data(), index);
            if constexpr (std::is_same_v<T, float>) {
              product.store(out + start + i, some);
            } else {
              product.store(block.loss + i);
            }
          }
          if constexpr (!std::is_same_v<T, float>) {
            std::copy_n(block.loss, size, out + start);
          }
        };
      });
    });
  });
  return gradient;
}

// The windows ascend as the values do, so that each thread goes through both once.
Tensor window_count(const Tensor& any_ordered, const Tensor& any_low, const Tensor& any_high) {
  const Tensor ordered = any_ordered.contiguous(), low = any_low.contiguous(), high = any_high.contiguous();
  const float *values = ordered.const_data_ptr<float>(), *end_of_values = values + ordered.numel();
  const float *lows = low.const_data_ptr<float>(), *highs = high.const_data_ptr<float>();
  Tensor result = at::empty_like(ordered, ordered.options().dtype(at::kInt));
  int32_t* count = result.mutable_data_ptr<int32_t>();
  at::parallel_for(0, ordered.numel(), kShare, [&](int64_t begin, int64_t end) {
    const float* first = std::lower_bound(values, end_of_values, lows[begin]);
    const float* last = std::lower_bound(first, end_of_values, highs[begin]);
    for (int64_t i = begin; i < end; ++i) {
      for (; first < end_of_values && *first < lows[i]; ++first) {
      }
      for (; last < end_of_values && *last < highs[i]; ++last) {
      }
      count[i] = static_cast<int32_t>(last - first);
    }
  });
  return result;
}

}  // namespace

TORCH_LIBRARY_IMPL(ghm_mmdet, CPU, library) {
  library.impl("region_statistics", region_statistics);
  library.impl("harmonized_gradient", harmonized_gradient);
  library.impl("window_count", window_count);
}
