// Distillation: the mixed loss in training, exact resume with the teacher's state, shards, and what is refused.
#include "tandem/models/training/distillation.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tandem/autograd/tape.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/tensor_exchange.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/testing/max_difference.h"
#include "tandem/testing/op_case.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/small_run.h"
#include "tests/support/thread_ranks.h"

namespace tandem::testing {
namespace {

constexpr const char* kWide =
    R"({"model":"srupp","vocabulary":6,"d":48,"d_projected":12,"layers":3,"dropout":0.3})";

constexpr const char* kClusters =
    R"({"model":"lstm","vocabulary":6,"d":40,"layers":1,"cutoffs":[2,4],"band_divisor":2,"adaptive":"pytorch"})";

Teacher teacher_of(const std::string& model, uint64_t seed = 9) {
  return make_teacher(make_model(model, seed), Vocabulary::of(sample_text()), "a test's");
}

RunConfig distilled(double weight = 0.5, double temperature = 2) {
  RunConfig config = small_run();
  config.distillation = {"in memory", "", weight, temperature, 0};
  return config;
}

// The run without any dropout.
RunConfig without_dropout(RunConfig config) {
  nlohmann::json json = nlohmann::json::parse(config.model_config);
  for (auto& [key, value] : json.items())
    if (key.ends_with("dropout")) value = 0;
  config.model_config = json.dump();
  return config;
}

Trainer student_of(const RunConfig& config, const std::string& teacher = kWide) {
  Trainer trainer = make_trainer(config);
  trainer.set_teacher(teacher_of(teacher));
  return trainer;
}

}  // namespace

TEST_CASE("distillation: the loss that is told is the student's own, and the teacher changes the steps") {
  Trainer alone = make_trainer(small_run()), student = student_of(distilled());
  const std::vector<double> without = losses(alone, 10), with = losses(student, 10);
  CHECK(with[0] == doctest::Approx(without[0]).epsilon(1e-6));
  CHECK(std::abs(with[9] / without[9] - 1) > 1e-5);
  Trainer again = student_of(distilled());
  CHECK(losses(again, 10) == with);
  Trainer warmer = student_of(distilled(0.5, 4)), more = student_of(distilled(0.9));
  CHECK(losses(warmer, 10) != with);
  CHECK(losses(more, 10) != with);
}

TEST_CASE("distillation: a student with the teacher's weights learns nothing from it at full weight") {
  for (const double temperature : {1.0, 3.0}) {
    const RunConfig config = without_dropout(distilled(1, temperature));
    Trainer same = make_trainer(config), other = make_trainer(config);
    same.set_teacher(teacher_of(config.model_config, config.seed));
    other.set_teacher(teacher_of(config.model_config, config.seed + 1));
    CHECK(same.step().gradient_norm < 1e-6);
    CHECK(other.step().gradient_norm > 1e-2);
  }
}

TEST_CASE("distillation: a student comes to predict what its teacher does, of whatever kind both are") {
  const char* const teachers[] = {
      kWide, R"({"model":"transformer","vocabulary":6,"d":16,"heads":2,"d_head":8,"d_inner":24,"layers":2})",
      kClusters};
  const char* const students[] = {
      R"({"model":"sru","vocabulary":6,"d":24,"layers":2})", kWide,
      R"({"model":"transformer","vocabulary":6,"d":16,"heads":2,"d_head":8,"d_inner":24,"layers":2})"};
  for (size_t i = 0; i < std::size(teachers); ++i) {
    CAPTURE(teachers[i]);
    RunConfig config = distilled(1, 1);
    config.model_config = make_model(students[i], 1)->config();
    config.recipe.lr = 1e-2;
    const Teacher teacher = teacher_of(teachers[i]);
    Trainer trainer = make_trainer(config);
    trainer.set_teacher(teacher);
    const Tensor tokens = tensor_of<int32_t>({6, 1}, {0, 3, 1, 5, 2, 4});
    const auto divergence = [&trainer, &teacher, &tokens] {
      State state;
      return distillation_loss(trainer.model(), *teacher.model, {1, 1}, tokens, tokens, state, {})
          .loss.item();
    };
    const double before = divergence();
    losses(trainer, 40);
    CHECK(divergence() < 0.95 * before);
    CHECK(divergence() > 0);
  }
}

TEST_CASE(
    "distillation: stopping after any step and resuming from the file gives the same losses bit for bit") {
  for (const std::string precision : {"f32", "bf16"}) {
    if (precision == "bf16" && !cpu_has_bf16()) continue;
    RunConfig config = distilled();
    config.recipe.accumulate = 2;
    config.precision = precision;
    Trainer whole = student_of(config);
    const std::vector<double> expected = losses(whole, 12);
    const TempDir folder;
    const std::string path = folder / "resume";
    for (const int64_t stop : {0, 1, 6, 7, 8}) {  // 14 segments an epoch
      CAPTURE(stop);
      Trainer before = student_of(config);
      std::vector<double> seen = losses(before, stop);
      save_checkpoint(path, before.checkpoint());
      const Checkpoint saved = load_checkpoint(path);
      CHECK((stop == 0 || std::any_of(saved.state.begin(), saved.state.end(), [](const NamedTensor& part) {
               return part.name.starts_with("teacher.c.");
             })));
      Trainer after = student_of(RunConfig::from_text(saved.run_config));
      after.restore(saved);
      for (const double loss : losses(after, 12 - stop)) seen.push_back(loss);
      CHECK(seen == expected);
    }
    // Without the state of the teacher the same steps have other losses.
    Trainer before = student_of(config), after = student_of(config);
    losses(before, 3);
    Checkpoint cut = before.checkpoint();
    std::erase_if(cut.state, [](const NamedTensor& part) { return part.name.starts_with("teacher."); });
    after.restore(cut);
    CHECK(losses(after, 4) != std::vector<double>(expected.begin() + 3, expected.begin() + 7));
  }
}

TEST_CASE("imitation: a layer is compared with the one at the same part of the teacher's depth") {
  const auto layers = [](size_t n, size_t m) {
    std::vector<size_t> all;
    for (size_t i = 0; i < n; ++i) all.push_back(Imitation::layer_of_teacher(i, n, m));
    return all;
  };
  CHECK(layers(3, 3) == std::vector<size_t>{0, 1, 2});
  CHECK(layers(2, 6) == std::vector<size_t>{2, 5});
  CHECK(layers(6, 2) == std::vector<size_t>{0, 0, 0, 0, 1, 1});
  CHECK(layers(4, 1) == std::vector<size_t>{0, 0, 0, 0});
}

TEST_CASE("imitation: the loss is the mean squared error through the maps") {
  const auto student = make_model(R"({"model":"sru","vocabulary":6,"d":8,"layers":2,"dtype":"f64"})", 1),
             teacher = make_model(R"({"model":"sru","vocabulary":6,"d":12,"layers":4,"dtype":"f64"})", 2);
  const Imitation imitation(*student, *teacher, 3);
  const std::vector<NamedTensor> maps = imitation.parameters();
  REQUIRE(maps.size() == 2);
  std::vector<Tensor> own, its;
  for (int i = 0; i < 2; ++i)
    own.push_back(random_tensor({3, 2, 8}, DType::f64, 10 + static_cast<uint64_t>(i)));
  for (int i = 0; i < 4; ++i)
    its.push_back(random_tensor({3, 2, 12}, DType::f64, 20 + static_cast<uint64_t>(i)));
  double sum = 0;
  for (size_t i = 0; i < 2; ++i) {
    REQUIRE(maps[i].value.shape() == Shape{12, 8});
    for (int64_t t = 0; t < 6; ++t)
      for (int64_t j = 0; j < 12; ++j) {
        double y = 0;
        for (int64_t k = 0; k < 8; ++k)
          y += maps[i].value.data<double>()[j * 8 + k] * own[i].data<double>()[t * 8 + k];
        const double error = y - its[2 * i + 1].data<double>()[t * 12 + j];
        sum += error * error / 72;
      }
  }
  CHECK(imitation.loss(own, its).item() == doctest::Approx(sum / 2).epsilon(1e-12));
  own.pop_back();
  CHECK(contains(error_of([&] { imitation.loss(own, its); }),
                 "1 and 4 layers have outputs; the maps are between 2"));
}

TEST_CASE(
    "imitation: layers come to give what the teacher's do, and no more than a state of training remains") {
  RunConfig config = without_dropout(distilled());
  config.distillation.imitate_steps = 30;
  config.recipe.lr = 1e-2;
  Trainer trainer = student_of(config), alone = student_of(distilled());
  const Teacher teacher = teacher_of(kWide);
  const auto distance = [&trainer, &teacher] {
    const Imitation maps(trainer.model(), *teacher.model, 1);
    const std::vector<NamedTensor> saved = trainer.checkpoint().state;
    for (const NamedTensor& map : maps.parameters())
      for (const NamedTensor& part : saved)
        if (part.name == map.name) copy(map.value, part.value);
    const Tensor tokens = tensor_of<int32_t>({6, 1}, {0, 3, 1, 5, 2, 4});
    State state;
    const SoftCrossEntropy y =
        imitation_loss(trainer.model(), *teacher.model, maps, tokens, tokens, state, {});
    return y.loss.item() - 0.1 * y.nll.item();
  };
  const double before = distance();
  losses(trainer, 30);
  CHECK(distance() < 0.8 * before);
  CHECK(trainer.weights().parameters.size() == alone.weights().parameters.size());
  CHECK(trainer.model().parameter_count() == alone.model().parameter_count());
}

TEST_CASE("imitation: a run resumes bit for bit before, at and behind the end of the phase") {
  RunConfig config = distilled();
  config.distillation.imitate_steps = 5;
  config.recipe.accumulate = 2;
  Trainer whole = student_of(config), without = student_of(distilled());
  const std::vector<double> expected = losses(whole, 10);
  CHECK(losses(without, 10) != expected);
  const TempDir folder;
  const std::string path = folder / "resume";
  for (const int64_t stop : {0, 2, 5, 6}) {
    CAPTURE(stop);
    Trainer before = student_of(config);
    std::vector<double> seen = losses(before, stop);
    save_checkpoint(path, before.checkpoint());
    const Checkpoint saved = load_checkpoint(path);
    Trainer after = student_of(RunConfig::from_text(saved.run_config));
    after.restore(saved);
    for (const double loss : losses(after, 10 - stop)) seen.push_back(loss);
    CHECK(seen == expected);
  }
  CHECK(contains(error_of([&] { without.restore(load_checkpoint(path)); }), "5 steps of imitation"));
}

TEST_CASE("distillation: shards give the same losses on any number of ranks") {
  RunConfig config = distilled();
  config.recipe.shards = 3;
  config.distillation.imitate_steps = 3;
  const Vocabulary vocabulary = Vocabulary::of(sample_text());
  const auto losses_on = [&config, &vocabulary](int ranks) {
    std::vector<std::vector<double>> all(static_cast<size_t>(ranks));
    run_as_ranks(ranks, [&](const std::shared_ptr<Ranks>& group) {
      Trainer trainer(config, Tokens(sample_text(), vocabulary), vocabulary, Device::cpu(), group);
      trainer.set_teacher(teacher_of(kWide));
      all[static_cast<size_t>(group->rank())] = losses(trainer, 6);
      const Checkpoint checkpoint = trainer.checkpoint();
      if (group->leads())
        CHECK(std::any_of(checkpoint.state.begin(), checkpoint.state.end(),
                          [](const NamedTensor& part) { return part.name.starts_with("shard.2.teacher."); }));
    });
    return all;
  };
  const std::vector<double> alone = losses_on(1)[0];
  for (const std::vector<double>& seen : losses_on(3)) CHECK(seen == alone);
}

TEST_CASE("distillation: no gradient reaches the teacher, and no recomputation changes a bit") {
  RunConfig config = distilled();
  const Teacher teacher = teacher_of(kWide);
  Trainer trainer = make_trainer(config);
  trainer.set_teacher(teacher);
  const std::vector<double> expected = losses(trainer, 4);
  for (const NamedTensor& parameter : teacher.model->parameters()) CHECK(!grad(parameter.value).defined());
  CHECK(teacher_of(kWide).digest == teacher.digest);  // its weights are what they were
  config.recompute = true;
  Trainer again = student_of(config);
  CHECK(losses(again, 4) == expected);
}

TEST_CASE("distillation: what does not fit is refused, and told with both sides") {
  Trainer trainer = make_trainer(distilled());
  CHECK(contains(error_of([&] { trainer.advance(); }),
                 "the run learns from the teacher in memory, which it does not have"));
  Teacher other = teacher_of(kWide);
  other.vocabulary = Vocabulary::from_hex("6162636465");
  CHECK(contains(error_of([&] { trainer.set_teacher(other); }), "its vocabulary has 5 symbols (digest "));
  CHECK(contains(error_of([&] { trainer.set_teacher(Teacher()); }), "the model is null"));
  CHECK(contains(error_of([] { make_teacher(nullptr, Vocabulary(), ""); }), "the model is null"));
  Trainer plain = make_trainer(small_run());
  CHECK(contains(error_of([&] { plain.set_teacher(teacher_of(kWide)); }), "its weight in the loss is 0"));

  const Teacher first = teacher_of(kWide);
  trainer.set_teacher(first);
  CHECK(trainer.config().distillation.digest == first.digest);
  CHECK(contains(error_of([&] { trainer.set_teacher(teacher_of(kWide, 10)); }),
                 "the teacher has changed: in memory has the digest "));
  trainer.step();
  Trainer warmer = student_of(distilled(0.5, 3));
  CHECK(contains(
      error_of([&] { warmer.restore(trainer.checkpoint()); }),
      "the teacher has the weight 0.5, the temperature 2 and 0 steps of imitation, in this one 0.5, 3 and 0"));

  RunConfig adaptive = distilled();
  adaptive.model_config = kClusters;
  Trainer clusters = make_trainer(adaptive);
  CHECK(contains(error_of([&] { clusters.set_teacher(teacher_of(kWide)); }),
                 "the student's adaptive softmax has the cutoffs 2, 4, the teacher's has none"));
}

TEST_CASE(
    "distillation: of an adaptive softmax, the divergences of head and tails are that of the vocabulary") {
  // One table for all clusters, tied ones, with and without projections and biases.
  for (const char* const model :
       {R"("model":"transformer-xl","layers":1,"d":16,"heads":2,"d_head":8,"d_inner":24,"cutoffs":[3,7])",
        R"("model":"transformer-xl","layers":1,"d":16,"heads":2,"d_head":8,"d_inner":24,"cutoffs":[3,7],
           "band_divisor":2,"tied_projections":"tails")",
        R"("model":"srupp","d":24,"d_projected":8,"layers":1,"cutoffs":[3,7],"band_width":12,"band_divisor":2,
           "tied":true,"tied_projections":"all")",
        R"("model":"transformer","layers":1,"d":16,"heads":2,"d_head":8,"d_inner":24,"cutoffs":[5],
           "band_divisor":4,"tied":true,"adaptive":"baevski")",
        R"("model":"lstm","d":40,"layers":1,"cutoffs":[2,6],"band_divisor":2,"adaptive":"pytorch")"}) {
    CAPTURE(model);
    const std::string config = std::string("{") + model + R"(,"vocabulary":11,"dtype":"f64"})";
    const auto student = make_model(config, 1), teacher = make_model(config, 2);
    const Tensor tokens = random_ids({7, 3}, 11, 1), targets = random_ids({7, 3}, 11, 2);
    const auto from_start = [&tokens](const LanguageModel& model) {
      State state;
      return model.logits(tokens, state, {});
    };
    State none;
    const Tensor nll = student->loss(tokens, targets, none, {});
    for (const double weight : {0.0, 0.3, 1.0}) {
      State state;
      const SoftCrossEntropy found =
          distillation_loss(*student, *teacher, {weight, 1}, tokens, targets, state, {});
      const Tensor whole = from_start(*student);
      const SoftCrossEntropy expected = soft_cross_entropy(whole, targets, from_start(*teacher), {weight, 1});
      CHECK(found.loss.item() == doctest::Approx(expected.loss.item()).epsilon(1e-12));
      CHECK(found.nll.item() == doctest::Approx(nll.item()).epsilon(1e-12));
    }
    // Without a teacher's part the gradients are those of the model's own loss.
    const auto gradients = [&](bool distils) {
      for (const NamedTensor& parameter : student->parameters()) zero_grad(parameter.value);
      State state;
      Tape tape;
      tape.backward(distils ? distillation_loss(*student, *teacher, {0, 1}, tokens, targets, state, {}).loss
                            : student->loss(tokens, targets, state, {}));
      std::vector<Tensor> all;
      for (const NamedTensor& parameter : student->parameters()) all.push_back(grad(parameter.value).clone());
      return all;
    };
    const std::vector<Tensor> own = gradients(false), distilled = gradients(true);
    for (size_t i = 0; i < own.size(); ++i) CHECK(relative_error(distilled[i], own[i]) < 1e-10);
  }
}

TEST_CASE("distillation: a student with an adaptive softmax learns, with dropout of its clusters too") {
  RunConfig config = distilled(0.8);
  nlohmann::json json = nlohmann::json::parse(kClusters);
  json["band_dropout"] = 0.1;
  config.model_config = json.dump();
  config.recipe.lr = 1e-2;
  Trainer trainer = student_of(config, kClusters);
  const std::vector<double> seen = losses(trainer, 40);
  CHECK(seen.back() < seen.front());
}

TEST_CASE("distillation: the run's configuration keeps it, and runs without it keep their text") {
  CHECK(small_run().text().find("distillation") == std::string::npos);
  RunConfig config = distilled(0.7, 3);
  config.distillation.teacher = "a \xff file";
  config.distillation.digest = "0123";
  config.distillation.imitate_steps = 17;
  const Distillation back = RunConfig::from_text(config.text()).distillation;
  CHECK(back.teacher == config.distillation.teacher);
  CHECK(back.digest == "0123");
  CHECK(back.weight == 0.7);
  CHECK(back.temperature == 3);
  CHECK(back.imitate_steps == 17);
  for (const double weight : {-0.1, 1.1}) {
    config.distillation.weight = weight;
    CHECK(contains(error_of([&] { config.check(); }), "distillation.weight is "));
  }
  config.distillation.weight = 0.5;
  for (const double temperature : {0.0, -1.0, static_cast<double>(INFINITY)}) {
    config.distillation.temperature = temperature;
    CHECK(contains(error_of([&] { config.check(); }), "distillation.temperature is "));
  }
}

}  // namespace tandem::testing
