// The teacher of a run, and the loss of a segment that it takes part in.
#include "tandem/models/training/distillation.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tandem/autograd/tape.h"
#include "tandem/core/check.h"
#include "tandem/core/digest.h"
#include "tandem/core/dispatch.h"
#include "tandem/models/training/model_file.h"
#include "tandem/ops/adaptive_softmax.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/support/check_ids.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

constexpr const char* kTeacherState = "teacher.";  // begins the names of the parts of the teacher's state

// The states of student and teacher, which a run keeps as one.
struct Carried {
  State student, teacher;
};

Carried apart(const State& state) {
  const std::string prefix = kTeacherState;
  Carried both;
  for (const auto& [name, value] : state.parts)
    if (name.starts_with(prefix))
      both.teacher.parts.push_back({name.substr(prefix.size()), value});
    else
      both.student.parts.push_back({name, value});
  return both;
}

State together(Carried both) {
  State state = std::move(both.student);
  for (const auto& [name, value] : both.teacher.parts) state.parts.push_back({kTeacherState + name, value});
  for (const std::string& name : both.teacher.only_multiplied)
    state.only_multiplied.push_back(kTeacherState + name);
  return state;
}

std::string vocabulary_digest(const Vocabulary& vocabulary) {
  const std::string text = vocabulary.stored();
  return digest_of(text.data(), text.size());
}

template <class F>
auto without_tape(const F& f) {
  const NoGrad pause;
  return f();
}

// Returns the column of each token's target in each softmax: in the head its own or that of its tail; in a tail its own,
// or -1 for a token of another cluster.
std::vector<Tensor> target_columns(const Tensor& targets, const std::vector<int64_t>& cutoffs,
                                   int64_t vocabulary) {
  if constexpr (kWithCuda)
    if (targets.device().is_cuda())
      cuda::refuse_capture("distillation of an adaptive softmax reads the targets on the host");
  const Tensor host = targets.detach().to(Device::cpu());
  check_ids("distillation: targets", host, vocabulary);
  const std::span<const int32_t> ids = host.span<int32_t>();
  std::vector<std::vector<int32_t>> columns(cutoffs.size() + 1, std::vector<int32_t>(ids.size(), -1));
  for (size_t t = 0; t < ids.size(); ++t) {
    const int32_t id = ids[t];
    const auto cluster =
        static_cast<size_t>(std::upper_bound(cutoffs.begin(), cutoffs.end(), id) - cutoffs.begin());
    columns[0][t] = cluster == 0 ? id : static_cast<int32_t>(cutoffs[0] - 1) + static_cast<int32_t>(cluster);
    if (cluster > 0) columns[cluster][t] = id - static_cast<int32_t>(cutoffs[cluster - 1]);
  }
  std::vector<Tensor> all;
  for (const std::vector<int32_t>& one : columns)
    all.push_back(tensor_of<int32_t>({static_cast<int64_t>(one.size())}, one).to(targets.device()));
  return all;
}

// Returns the teacher's probability of each tail, (N) f64, from its head's logits at this temperature.
std::vector<Tensor> tail_shares(const Tensor& head, int64_t tails, double temperature) {
  const NoGrad pause;
  const Tensor p = softmax(scale(head.to(parameter_dtype(head.dtype())), 1 / temperature));
  std::vector<int64_t> sizes(static_cast<size_t>(tails) + 1, 1);
  sizes[0] = head.size(-1) - tails;
  const std::vector<Tensor> columns = split(p, sizes, -1);
  std::vector<Tensor> shares;
  for (size_t i = 1; i < columns.size(); ++i)
    shares.push_back(columns[i].to(DType::f64).view_as({head.size(0)}));
  return shares;
}

SoftCrossEntropy adaptive_loss(const std::vector<Tensor>& logits, const Tensor& targets,
                               const std::vector<Tensor>& taught, const std::vector<int64_t>& cutoffs,
                               const SoftTargetOptions& mix) {
  const std::vector<Tensor> columns =
      target_columns(targets, cutoffs, cutoffs.back() + logits.back().size(-1));
  const std::vector<Tensor> shares =
      tail_shares(taught[0], static_cast<int64_t>(cutoffs.size()), mix.temperature);
  SoftCrossEntropy sum = soft_cross_entropy(logits[0], columns[0], taught[0].to(logits[0].dtype()), mix);
  for (size_t i = 1; i < logits.size(); ++i) {
    const SoftCrossEntropy tail =
        soft_cross_entropy_tail(logits[i], columns[i], taught[i].to(logits[i].dtype()), shares[i - 1], mix);
    sum = {sum.loss + tail.loss, sum.nll + tail.nll};
  }
  return sum;
}

}  // namespace

Teacher make_teacher(std::shared_ptr<const LanguageModel> model, const Vocabulary& vocabulary,
                     const std::string& kind) {
  TANDEM_CHECK(model != nullptr, "teacher: the model is null; give one");
  Digest digest;
  const std::string head = model->config() + vocabulary_digest(vocabulary);
  digest.update(head.data(), head.size());
  for (const auto& [name, parameter] : model->parameters()) {
    const Tensor value = parameter.to(Device::cpu());
    digest.update(name.data(), name.size());
    digest.update(value.raw(), value.nbytes());
  }
  return {std::move(model), vocabulary, kind, digest.hex()};
}

Teacher load_teacher(const std::string& path, Device device) {
  LoadedModel loaded = load_model_file(path, 0, DType::f32, device);
  return make_teacher(std::move(loaded.model), loaded.vocabulary, loaded.kind);
}

void check_teacher(const Teacher& teacher, const Distillation& wanted, const LanguageModel& student,
                   const Vocabulary& vocabulary) {
  TANDEM_CHECK(teacher.model != nullptr, "teacher: the model is null; give one");
  TANDEM_CHECK(wanted.weight > 0, "teacher: its weight in the loss is {}, so that it would teach nothing",
               wanted.weight);
  TANDEM_CHECK(
      wanted.digest.empty() || wanted.digest == teacher.digest,
      "the teacher has changed: {} has the digest {}, and the run began with {}; give the file that it "
      "began with",
      wanted.teacher, teacher.digest, wanted.digest);
  TANDEM_CHECK(
      teacher.vocabulary == vocabulary,
      "teacher: its vocabulary has {} symbols (digest {}), the text's {} (digest {}); a student learns the "
      "teacher's symbols, so both must be the same: train the teacher on this text",
      teacher.vocabulary.size(), vocabulary_digest(teacher.vocabulary), vocabulary.size(),
      vocabulary_digest(vocabulary));
  TANDEM_CHECK(teacher.model->device() == student.device(), "teacher: it is on {}, the student on {}",
               teacher.model->device().str(), student.device().str());
  const std::vector<int64_t> own = student.cutoffs(), its = teacher.model->cutoffs();
  TANDEM_CHECK(
      own.empty() || own == its,
      "teacher: the student's adaptive softmax has the cutoffs {}, the teacher's has {}; give the student "
      "the same, or none",
      fmt::join(own, ", "), its.empty() ? "none" : fmt::format("{}", fmt::join(its, ", ")));
}

SoftCrossEntropy distillation_loss(const LanguageModel& student, const LanguageModel& teacher,
                                   const SoftTargetOptions& mix, const Tensor& tokens, const Tensor& targets,
                                   State& state, const ForwardOptions& options) {
  Carried carried = apart(state);
  const ForwardOptions plain{.context = options.context};
  SoftCrossEntropy losses;
  if (student.cutoffs().empty()) {
    const Tensor taught = without_tape([&] { return teacher.logits(tokens, carried.teacher, plain); });
    const Tensor logits = student.logits(tokens, carried.student, options);
    losses = soft_cross_entropy(logits, targets, taught.to(logits.dtype()), mix);
  } else {
    const std::vector<Tensor> taught =
        without_tape([&] { return teacher.softmax_logits(tokens, carried.teacher, plain); });
    const std::vector<Tensor> logits = student.softmax_logits(tokens, carried.student, options);
    losses = adaptive_loss(logits, targets, taught, student.cutoffs(), mix);
  }
  state = together(std::move(carried));
  return losses;
}

SoftCrossEntropy imitation_loss(const LanguageModel& student, const LanguageModel& teacher,
                                const Imitation& imitation, const Tensor& tokens, const Tensor& targets,
                                State& state, const ForwardOptions& options) {
  constexpr double kReadout = 0.1;
  Carried carried = apart(state);
  std::vector<Tensor> taught, own;
  without_tape([&] {
    return teacher.logits(tokens, carried.teacher, {.context = options.context, .layer_outputs = &taught});
  });
  ForwardOptions watched = options;
  watched.layer_outputs = &own;
  const Tensor nll = student.loss(tokens, targets, carried.student, watched);
  state = together(std::move(carried));
  return {imitation.loss(own, taught) + scale(nll, kReadout), nll};
}

}  // namespace tandem
