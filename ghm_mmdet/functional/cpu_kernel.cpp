// Two passes over the elements of a GHM loss on a CPU. One counts them and sums their losses, unit region by unit
// region, of which the loss follows; the other makes the gradient. Nothing of the size of the data is kept in between.
// The arithmetic is that of the Python code beside this folder, step by step, so that both put an element into the same
// region.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
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

// Elements worked on at a time, which stay in the first-level cache.
constexpr int64_t kBlock = 1024;
// Elements that are worth a thread of their own.
constexpr int64_t kShare = 16384;
// Neighbours are counted in tables of their own: most of them lie in one region, and a processor waits before it adds
// again to what it has just written.
constexpr int64_t kTables = 8;
// Blocks whose losses are summed in float before the sum goes on in double.
constexpr int64_t kStretch = 64;

// What one thread computes of a block.
struct Block {
  explicit Block(int64_t size) : derivative(size + Vec::size()), loss(size + Vec::size()), region(size) {}

  std::vector<float> derivative;
  std::vector<float> loss;
  std::vector<int32_t> region;
};

// exp(-x), of which all below is made
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

// Sigmoid and, if asked for, softplus of each logit, into places with room for a whole last Vec.
template <bool with_loss>
void logistic(const float* logits, int64_t size, Block& block) {
  for (int64_t i = 0; i < size; i += Vec::size()) {
    const Vec x = Vec::loadu(logits + i, std::min<int64_t>(Vec::size(), size - i));
    const Vec odds = inverse_odds(x);
    sigmoid(odds).store(block.derivative.data() + i);
    if constexpr (with_loss) {
      softplus(x, odds).store(block.loss.data() + i);
    }
  }
}

float softplus(float x) {
  float values[Vec::size()];
  softplus(Vec(x), inverse_odds(Vec(x))).store(values);
  return values[0];
}

// Binary cross-entropy of N x C logits against N labels; a label outside 0 to C - 1 is background.
struct LabelTerm {
  const int64_t* label;
  int64_t channels;

  // Most elements are background: all are computed so, and those of a sample's own class are put right.
  template <bool with_loss>
  void compute(const float* pred, int64_t start, int64_t size, Block& block) const {
    logistic<with_loss>(pred + start, size, block);
    for (int64_t i = 0; i < size; i += channels) {
      const int64_t own = label[(start + i) / channels];
      if (own >= 0 && own < channels) {
        block.derivative[i + own] -= 1.0f;
        if constexpr (with_loss) {
          block.loss[i + own] = softplus(-pred[start + i + own]);
        }
      }
    }
  }
};

// Binary cross-entropy of logits against as many targets in [0, 1].
struct DenseTerm {
  const float* target;

  template <bool with_loss>
  void compute(const float* pred, int64_t start, int64_t size, Block& block) const {
    logistic<with_loss>(pred + start, size, block);
    for (int64_t i = 0; i < size; ++i) {
      block.derivative[i] -= target[start + i];
    }
    if constexpr (with_loss) {
      for (int64_t i = 0; i < size; ++i) {
        block.loss[i] -= pred[start + i] * target[start + i];
      }
    }
  }
};

// Authentic smooth L1 of the difference between predictions and as many targets.
struct ASL1Term {
  const float* target;
  double mu;

  template <bool with_loss>
  void compute(const float* pred, int64_t start, int64_t size, Block& block) const {
    const float square = static_cast<float>(mu * mu);
    const float bound = static_cast<float>(2 * mu);
    const float offset = static_cast<float>(mu);
    for (int64_t i = 0; i < size; ++i) {
      const float difference = pred[start + i] - target[start + i];
      const float root = std::min(std::sqrt(difference * difference + square), std::fabs(difference) + bound);
      block.derivative[i] = difference / root;
      block.loss[i] = root - offset;
    }
  }
};

// Region of each element, from 1 to bins, and 0 where it does not count; a NaN is in the first.
struct Regions {
  int64_t bins;
  const float* weight;  // of each element, or of each sample, or none
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
    if (weight == nullptr) {
      return;
    }
    if (!per_sample) {
      for (int64_t i = 0; i < size; ++i) {
        block.region[i] = weight[start + i] > 0.0f ? block.region[i] : 0;
      }
      return;
    }
    for (int64_t i = 0; i < size; i += channels) {
      if (!(weight[(start + i) / channels] > 0.0f)) {
        std::fill_n(block.region.begin() + i, channels, 0);
      }
    }
  }
};

// Number of elements and sum of losses in each region.
struct Statistics {
  struct Entry {
    float count;
    float loss;
  };

  explicit Statistics(int64_t bins) : rows(bins + 1), table(kTables * rows), count(rows), loss(rows) {}

  void add(const Block& block, int64_t size) {
    int64_t i = 0;
    for (; i + kTables <= size; i += kTables) {
      for (int64_t lane = 0; lane < kTables; ++lane) {
        add(lane * rows + block.region[i + lane], block.loss[i + lane]);
      }
    }
    for (; i < size; ++i) {
      add(block.region[i], block.loss[i]);
    }
    if (++blocks == kStretch) {
      flush();
    }
  }

  void add(int64_t index, float value) {
    table[index].count += 1;
    table[index].loss += value;
  }

  void flush() {
    for (int64_t index = 0; index < kTables * rows; ++index) {
      count[index % rows] += table[index].count;
      loss[index % rows] += table[index].loss;
      table[index] = {0, 0};
    }
    blocks = 0;
  }

  int64_t rows, blocks = 0;
  std::vector<Entry> table;
  std::vector<double> count, loss;
};

// Calls function(term) with the term of that name.
template <typename Function>
void with_term(c10::string_view name, const Tensor& pred, const Tensor& target, double mu, Function function) {
  if (name == "label") {
    function(LabelTerm{target.const_data_ptr<int64_t>(), pred.size(1)});
  } else if (name == "dense") {
    function(DenseTerm{target.const_data_ptr<float>()});
  } else {
    TORCH_CHECK(name == "asl1", "unknown term ", name);
    function(ASL1Term{target.const_data_ptr<float>(), mu});
  }
}

Regions regions(const Tensor& pred, const std::optional<Tensor>& weight, int64_t bins) {
  const bool per_sample = weight.has_value() && weight->size(1) == 1 && pred.size(1) != 1;
  return {bins, weight.has_value() ? weight->const_data_ptr<float>() : nullptr, pred.size(1), per_sample};
}

void check(const Tensor& pred, const Tensor& target, const std::optional<Tensor>& weight) {
  TORCH_CHECK(pred.scalar_type() == at::kFloat && pred.dim() == 2 && pred.is_contiguous(), "pred");
  TORCH_CHECK(target.is_contiguous() && target.size(0) == pred.size(0), "target");
  TORCH_CHECK(!weight.has_value() || (weight->is_contiguous() && weight->scalar_type() == at::kFloat), "weight");
}

// Goes through the elements in blocks of whole samples, in parallel: work() makes in each thread what is then called
// with (start, size, block).
template <typename Work>
void for_blocks(const Tensor& pred, Work work) {
  if (pred.numel() == 0) {
    return;
  }
  const int64_t channels = pred.size(1);
  const int64_t step = std::max<int64_t>(1, kBlock / channels);
  const int64_t share = std::max<int64_t>(step, kShare / channels);
  at::parallel_for(0, pred.size(0), share, [&](int64_t begin, int64_t end) {
    Block block(step * channels);
    auto call = work();
    for (int64_t sample = begin; sample < end; sample += step) {
      call(sample * channels, std::min(step, end - sample) * channels, block);
    }
  });
}

// float64 of shape (2, bins): the numbers of elements, and the sums of their losses.
Tensor region_statistics(const Tensor& pred, const Tensor& target, const std::optional<Tensor>& weight,
                         c10::string_view term, double mu, int64_t bins) {
  check(pred, target, weight);
  const Regions region = regions(pred, weight, bins);
  Tensor result = at::zeros({2, bins}, pred.options().dtype(at::kDouble));
  double* sums = result.mutable_data_ptr<double>();
  const float* logits = pred.const_data_ptr<float>();
  const int threads = at::get_num_threads();
  std::vector<Statistics> statistics(threads, Statistics(bins));
  with_term(term, pred, target, mu, [&](auto term) {
    for_blocks(pred, [&] {
      Statistics& own = statistics[at::get_thread_num()];
      return [&own, &region, logits, term](int64_t start, int64_t size, Block& block) {
        term.template compute<true>(logits, start, size, block);
        region.compute(start, size, block);
        own.add(block, size);
      };
    });
  });
  // In the order of the threads, so that a rerun gives the same sum.
  for (Statistics& part : statistics) {
    part.flush();
    for (int64_t j = 0; j < bins; ++j) {
      sums[j] += part.count[j + 1];
      sums[bins + j] += part.loss[j + 1];
    }
  }
  return result;
}

// Derivative of each element's loss times the weight of its region.
Tensor harmonized_gradient(const Tensor& pred, const Tensor& target, const std::optional<Tensor>& weight,
                           c10::string_view term, double mu, const Tensor& region_weight) {
  check(pred, target, weight);
  const int64_t bins = region_weight.numel();
  const Regions region = regions(pred, weight, bins);
  std::vector<float> table(bins + 1);
  std::copy_n(region_weight.const_data_ptr<float>(), bins, table.begin() + 1);
  Tensor gradient = at::empty_like(pred);
  float* out = gradient.mutable_data_ptr<float>();
  const float* logits = pred.const_data_ptr<float>();
  with_term(term, pred, target, mu, [&](auto term) {
    for_blocks(pred, [&] {
      return [&table, &region, logits, out, term](int64_t start, int64_t size, Block& block) {
        term.template compute<false>(logits, start, size, block);
        region.compute(start, size, block);
        for (int64_t i = 0; i < size; ++i) {
          const int32_t j = block.region[i];
          out[start + i] = j == 0 ? 0.0f : block.derivative[i] * table[j];
        }
      };
    });
  });
  return gradient;
}

}  // namespace

TORCH_LIBRARY(ghm_mmdet, library) {
  library.def("region_statistics(Tensor pred, Tensor target, Tensor? weight, str term, float mu, int bins) -> Tensor");
  library.def(
      "harmonized_gradient(Tensor pred, Tensor target, Tensor? weight, str term, float mu, Tensor region_weight)"
      " -> Tensor");
}

TORCH_LIBRARY_IMPL(ghm_mmdet, CPU, library) {
  library.impl("region_statistics", region_statistics);
  library.impl("harmonized_gradient", harmonized_gradient);
}
