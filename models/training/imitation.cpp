// The learned maps, and the loss through them.
#include "tandem/models/training/imitation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/check.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

std::vector<Tensor> outputs_of(const LanguageModel& model, const char* which) {
  const NoGrad pause;
  std::vector<Tensor> outputs;
  State state;
  model.logits(zeros({1, 1}, DType::i32, model.device()), state, {.layer_outputs = &outputs});
  TANDEM_CHECK(!outputs.empty(),
               "imitation: the {} does not tell the outputs of its layers (ForwardOptions::layer_outputs)",
               which);
  return outputs;
}

}  // namespace

Imitation::Imitation(const LanguageModel& student, const LanguageModel& teacher, uint64_t seed) {
  const std::vector<Tensor> own = outputs_of(student, "student"), its = outputs_of(teacher, "teacher");
  teacher_layers_ = its.size();
  TokenConfig config;
  config.dtype = student.dtype();
  config.device = student.device();
  Random random(seed);
  for (size_t i = 0; i < own.size(); ++i) {
    const int64_t in = own[i].size(-1), out = its[layer_of_teacher(i, own.size(), its.size())].size(-1);
    // The variance of a map's entries is 1 / in, so that its output has about that of its input.
    const double bound = std::sqrt(3 / static_cast<double>(in));
    maps_.push_back(add_parameter(fmt::format("imitation.{}", i), uniform(random, {out, in}, bound, config)));
  }
}

Tensor Imitation::loss(const std::vector<Tensor>& student, const std::vector<Tensor>& teacher) const {
  TANDEM_CHECK(student.size() == maps_.size() && teacher.size() == teacher_layers_,
               "imitation: {} and {} layers have outputs; the maps are between {} and {}", student.size(),
               teacher.size(), maps_.size(), teacher_layers_);
  Tensor sum;
  for (size_t i = 0; i < maps_.size(); ++i) {
    const Tensor& z = teacher[layer_of_teacher(i, maps_.size(), teacher.size())];
    const Tensor h = linear(student[i], maps_[i]);
    const DType dtype = parameter_dtype(h.dtype());
    const Tensor error = mean(square(cast(h, dtype) - z.to(dtype)));
    sum = sum.defined() ? sum + error : error;
  }
  return scale(sum, 1 / static_cast<double>(maps_.size()));
}

size_t Imitation::layer_of_teacher(size_t i, size_t n, size_t m) {
  const double place = static_cast<double>((i + 1) * m) / static_cast<double>(n);
  return static_cast<size_t>(std::max(1.0, std::round(place))) - 1;
}

}  // namespace tandem
