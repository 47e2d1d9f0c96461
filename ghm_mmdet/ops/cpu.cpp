// The two operators on a CPU. Elements are gone through in blocks that stay in the first-level cache, and nothing of the
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
constexpr int64_t kTables = 4;
// Elements after which the tables are emptied, so that their two counts in one double stay exact.
constexpr int64_t kStretch = 1 << 20;
// What an element whose target is above 0 adds to the count, beside the 1.
constexpr double kPositive = 4294967296.0;  // 2^32

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
class Reader {
 public:
  explicit Reader(const Tensor& tensor) : tensor_(tensor), data_(tensor.const_data_ptr()) {}

  const float* read(int64_t start, int64_t size, float* buffer) const {
    const float* result = buffer;
    with_type(tensor_, [&](auto type) {
      using T = decltype(type);
      const T* source = static_cast<const T*>(data_) + start;
      if constexpr (std::is_same_v<T, float>) {
        result = source;
      } else {
        for (int64_t i = 0; i < size; i += at::vec::Vectorized<T>::size()) {
          const int64_t count = std::min<int64_t>(at::vec::Vectorized<T>::size(), size - i);
          auto [low, high] = at::vec::convert_to_float<T>(at::vec::Vectorized<T>::loadu(source + i, count));
          low.store(buffer + i);
          high.store(buffer + i + Vec::size());
        }
      }
    });
    return result;
  }

 private:
  const Tensor& tensor_;
  const void* data_;
};

// What one thread computes of a block, with room for a whole last vector.
struct Block {
  static constexpr int64_t kRoom = kBlock + 2 * Vec::size();
  float derivative[kRoom], loss[kRoom], pred[kRoom], target[kRoom];
  int32_t region[kRoom];
};

// exp(-x), of which the next two are made
Vec inverse_odds(Vec x) {
  return (Vec(0.0f) - x).exp();
}

Vec sigmoid(Vec inverse_odds) {
  return (Vec(1.0f) + inverse_odds).reciprocal();
}

// log(1 + exp(x))
Vec softplus(Vec x, Vec inverse_odds) {
  const Vec small = Vec::blendv(inverse_odds.reciprocal(), inverse_odds, x >= Vec(0.0f));  // exp(-|x|)
  // log(1 + small) = 2 artanh(ratio), a series in squares of at most 1/9.
  const Vec ratio = small / (small + Vec(2.0f));
  const Vec square = ratio * ratio;
  Vec series(1.0f / 15);
  for (int odd = 13; odd >= 1; odd -= 2) {
    series = at::vec::fmadd(series, square, Vec(1.0f / static_cast<float>(odd)));
  }
  return at::vec::maximum(x, Vec(0.0f)) + Vec(2.0f) * ratio * series;
}

float softplus(float x) {
  float values[Vec::size()];
  softplus(Vec(x), inverse_odds(Vec(x))).store(values);
  return values[0];
}

// Sigmoid and, if asked for, softplus of each logit.
template <bool with_loss>
void logistic(const float* logits, int64_t size, Block& block) {
  for (int64_t i = 0; i < size; i += Vec::size()) {
    const Vec x = Vec::loadu(logits + i, std::min<int64_t>(Vec::size(), size - i));
    const Vec odds = inverse_odds(x);
    sigmoid(odds).store(block.derivative + i);
    if constexpr (with_loss) {
      softplus(x, odds).store(block.loss + i);
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
        block.loss[i] = softplus(-pred[i]);
      }
    });
  }
};

// Binary cross-entropy of logits against as many targets in [0, 1].
struct DenseKind {
  Reader target;

  template <bool with_loss>
  void compute(const float* pred, int64_t start, int64_t size, Block& block) const {
    const float* t = target.read(start, size, block.target);
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
struct ASL1Kind {
  Reader target;
  double mu;

  template <bool with_loss>
  void compute(const float* pred, int64_t start, int64_t size, Block& block) const {
    const float* t = target.read(start, size, block.target);
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

// Region of each element, from 1 to bins, and 0 where it does not count; a NaN is in the first.
struct Regions {
  int64_t bins;
  const bool* valid;  // of each element, or of each sample, or none
  int64_t channels;
  bool per_sample;

  void compute(int64_t start, int64_t size, Block& block) const {
    // Rounding can only put a guess one region too high, which the comparison with its lower edge repairs.
    const float surplus = static_cast<float>(bins * (1 + 0x1p-21)), last = static_cast<float>(bins);
    for (int64_t i = 0; i < size; ++i) {
      const float norm = std::fabs(block.derivative[i]);
      float region = std::trunc(norm * surplus);
      region += norm >= region / last ? 1.0f : 0.0f;
      region = region >= 1.0f ? region : 1.0f;
      block.region[i] = static_cast<int32_t>(region <= last ? region : last);
    }
    if (valid == nullptr) {
      return;
    }
    if (!per_sample) {
      for (int64_t i = 0; i < size; ++i) {
        block.region[i] *= static_cast<int32_t>(valid[start + i]);
      }
      return;
    }
    for_samples(start, size, channels, [&](int64_t sample, int64_t first, int64_t last) {
      if (!valid[sample]) {
        std::fill(block.region + first, block.region + last, 0);
      }
    });
  }
};

// Sums over the elements of each region, of one thread.
struct Statistics {
  struct Entry {
    double loss, count;
  };

  explicit Statistics(int64_t bins) : rows(bins + 1), table(kTables * rows), count(rows), positive(rows), loss(rows) {}

  template <typename Kind>
  void add(const Kind& kind, int64_t start, int64_t size, const Block& block) {
    if constexpr (std::is_same_v<Kind, LabelKind>) {
      add(size, block, [](int64_t) { return 1.0; });
      kind.for_own(start, size, [&](int64_t i) { positive[block.region[i]] += 1; });
    } else {
      const float* t = kind.target.read(start, size, const_cast<float*>(block.target));
      add(size, block, [t](int64_t i) { return t[i] > 0.0f ? 1.0 + kPositive : 1.0; });
    }
    elements += size;
    if (elements >= kStretch) {
      flush();
    }
  }

  template <typename Count>
  void add(int64_t size, const Block& block, Count count_of) {
    for (int64_t i = 0; i < size; ++i) {
      Entry& entry = table[(i % kTables) * rows + block.region[i]];
      entry.loss += block.loss[i];
      entry.count += count_of(i);
    }
  }

  void flush() {
    for (int64_t index = 0; index < kTables * rows; ++index) {
      Entry& entry = table[index];
      const double above = std::floor(entry.count / kPositive);
      positive[index % rows] += above;
      count[index % rows] += entry.count - above * kPositive;
      loss[index % rows] += entry.loss;
      entry = {0, 0};
    }
    elements = 0;
  }

  int64_t rows, elements = 0;
  std::vector<Entry> table;
  std::vector<double> count, positive, loss;
};

// Calls function(kind) with the kind of that name.
template <typename Function>
void with_kind(c10::string_view name, const Tensor& pred, const Tensor& target, double mu, Function function) {
  if (name == "label") {
    function(LabelKind{target.const_data_ptr<int32_t>(), pred.size(1)});
  } else if (name == "dense") {
    function(DenseKind{Reader(target)});
  } else {
    function(ASL1Kind{Reader(target), mu});
  }
}

Regions regions(const Tensor& pred, const std::optional<Tensor>& valid, int64_t bins) {
  const bool per_sample = valid.has_value() && valid->size(1) == 1 && pred.size(1) != 1;
  return {bins, valid.has_value() ? valid->const_data_ptr<bool>() : nullptr, pred.size(1), per_sample};
}

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

Tensor region_statistics(const Tensor& pred, const Tensor& target, const std::optional<Tensor>& valid,
                         c10::string_view kind, double mu, int64_t bins) {
  const Regions region = regions(pred, valid, bins);
  Tensor result = at::zeros({3, bins}, pred.options().dtype(at::kDouble));
  double* sums = result.mutable_data_ptr<double>();
  const Reader reader(pred);
  std::vector<Statistics> statistics(at::get_num_threads(), Statistics(bins));
  with_kind(kind, pred, target, mu, [&](auto kind) {
    for_blocks(pred, [&] {
      Statistics& own = statistics[at::get_thread_num()];
      return [&own, &region, &reader, kind](int64_t start, int64_t size, Block& block) {
        kind.template compute<true>(reader.read(start, size, block.pred), start, size, block);
        region.compute(start, size, block);
        own.add(kind, start, size, block);
      };
    });
  });
  // In the order of the threads, so that a rerun gives the same sum.
  for (Statistics& part : statistics) {
    part.flush();
    for (int64_t j = 0; j < bins; ++j) {
      sums[j] += part.count[j + 1];
      sums[bins + j] += part.positive[j + 1];
      sums[2 * bins + j] += part.loss[j + 1];
    }
  }
  return result;
}

Tensor harmonized_gradient(const Tensor& pred, const Tensor& target, const std::optional<Tensor>& valid,
                           c10::string_view kind, double mu, const Tensor& region_weight) {
  const int64_t bins = region_weight.numel();
  const Regions region = regions(pred, valid, bins);
  std::vector<float> table(bins + 1);
  std::copy_n(region_weight.const_data_ptr<float>(), bins, table.begin() + 1);
  Tensor gradient = at::empty_like(pred);
  const Reader reader(pred);
  with_kind(kind, pred, target, mu, [&](auto kind) {
    with_type(pred, [&](auto type) {
      using T = decltype(type);
      T* out = gradient.mutable_data_ptr<T>();
      for_blocks(pred, [&] {
        return [&table, &region, &reader, out, kind](int64_t start, int64_t size, Block& block) {
          kind.template compute<false>(reader.read(start, size, block.pred), start, size, block);
          region.compute(start, size, block);
          for (int64_t i = 0; i < size; ++i) {
            const int32_t j = block.region[i];
            out[start + i] = static_cast<T>(j == 0 ? 0.0f : block.derivative[i] * table[j]);
          }
        };
      });
    });
  });
  return gradient;
}

}  // namespace

TORCH_LIBRARY(ghm_mmdet_cpu, library) {
  library.def(
      "region_statistics(Tensor pred, Tensor target, Tensor? valid, str kind, float mu, int bins) -> Tensor",
      region_statistics);
  library.def(
      "harmonized_gradient(Tensor pred, Tensor target, Tensor? valid, str kind, float mu, Tensor region_weight)"
      " -> Tensor",
      harmonized_gradient);
}
