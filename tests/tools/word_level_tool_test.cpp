// Models of words from end to end: train, resume, evaluate and generate on a text of sentences.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tandem/core/random.h"
#include "tandem/models/training/model_file.h"
#include "tests/support/errors.h"
#include "tests/support/level_run.h"
#include "tests/support/train_process.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

// Writes sentences of a small language, in which some nouns are too rare for a vocabulary of 9.
fs::path write_sentences(const TempDir& folder) {
  Random random(1);
  const char* nouns[] = {"tape", "tensor", "gradient", "scan"};
  std::ofstream out(folder / "text.txt");
  for (uint64_t i = 0; i < 900; ++i) {
    const std::string noun = random.below(20) == 0 ? "noun" + std::to_string(i) : nouns[random.below(4)];
    out << "the " << noun << " reads the " << nouns[random.below(4)] << " .\n";
  }
  return folder / "text.txt";
}

const std::vector<std::string> kLevel = {"--level=word", "--vocab-size=9", "--eval-tokens=0"};

TEST_CASE("words: train, resume, evaluate and generate") {
  const TempDir folder;
  write_sentences(folder);
  const ToolRun whole = train(folder, "whole", kLevel);
  for (const char* part : {"6,300 tokens (train ", "9 symbols", " ppl)", "dev: ", "test: ", "sample at step"})
    CHECK(contains(whole.out, part));
  CHECK(whole.out.find("bpc") == std::string::npos);

  double test_ppl = 0, best_nats = 1e9;
  nlohmann::json test_symbols;
  for (const nlohmann::json& line : metrics(folder / "whole")) {
    CHECK_FALSE(line.contains("bpc"));
    if (line.contains("loss"))
      CHECK(line["ppl"].get<double>() == doctest::Approx(std::exp(line["loss"].get<double>())));
    if (line.contains("dev_nats")) {
      CHECK(line["dev_ppl"].get<double>() == doctest::Approx(std::exp(line["dev_nats"].get<double>())));
      best_nats = std::min(best_nats, line["dev_nats"].get<double>());
    }
    if (line.contains("test_ppl")) test_ppl = line["test_ppl"], test_symbols = line["symbols"];
  }
  const nlohmann::json first = metrics(folder / "whole").at(0);
  CHECK(first["step"] == 0);
  CHECK(first["unknown_train"].get<double>() > 0.004);  // one line of 20 has a rare noun among its 7 tokens
  CHECK(first["unknown_train"].get<double>() < 0.01);
  CHECK(contains(
      whole.out,
      fmt::format("unknown words: {:.2f} % of train, {:.2f} % of dev, {:.2f} % of test are <unk>",
                  100 * first["unknown_train"].get<double>(), 100 * first["unknown_dev"].get<double>(),
                  100 * first["unknown_test"].get<double>())));
  CHECK(best_nats < 0.9);  // of 7 tokens in a line, only the two nouns cannot be known: below log(4) / 3
  REQUIRE(test_ppl > 1);

  SUBCASE("a stopped run goes on to the same losses") {
    train(folder, "stopped", kLevel, {"--max-steps=50"});
    tool("train", folder, {(folder / "text.txt").string(), "--resume=" + (folder / "stopped").string()});
    CHECK(losses(folder / "stopped").size() == 150);
    CHECK(losses(folder / "stopped") == losses(folder / "whole"));
  }
  SUBCASE("a run does not go on with another text") {
    std::ofstream(folder / "text.txt", std::ios::app) << "the scan reads the tape .\n";
    const ToolRun other =
        run_tool("train", {(folder / "text.txt").string(), "--resume=" + (folder / "whole").string(),
                           "--data-dir=" + (folder / "data").string()});
    CHECK(other.exit_code == 1);
    CHECK(contains(other.err, "resume: the run was on"));
  }
  SUBCASE("evaluate scores the test split as training did, from the same token file") {
    const std::string checkpoint = "--checkpoint=" + (folder / "whole/best.safetensors").string();
    const std::string corpus = "--corpus=" + (folder / "text.txt").string();
    const nlohmann::json json =
        nlohmann::json::parse(tool("evaluate", folder, {checkpoint, corpus, "--json"}).out);
    CHECK(json["ppl"].get<double>() == doctest::Approx(test_ppl).epsilon(1e-6));
    CHECK(json["nats"].get<double>() == doctest::Approx(std::log(test_ppl)).epsilon(1e-6));
    CHECK_FALSE(json.contains("bpc"));
    CHECK(json["symbols"] == test_symbols);
    CHECK(contains(tool("evaluate", folder, {checkpoint, corpus, "--limit=100"}).out, "\nppl: "));
    int64_t token_files = 0;
    for (const auto& entry : fs::directory_iterator(folder / "data"))
      token_files += entry.path().extension() == ".tokens";
    CHECK(token_files == 1);

    write_text(folder / "other.txt", "the tape reads\nno such word .\n");  // 9 tokens, some of unknown words
    const nlohmann::json other = nlohmann::json::parse(
        tool("evaluate", folder,
             {checkpoint, "--corpus=" + (folder / "other.txt").string(), "--split=all", "--json"})
            .out);
    CHECK(other["symbols"] == 8);
  }
  SUBCASE("generate writes words and lines") {
    const LoadedModel loaded = load_model_file((folder / "whole/best.safetensors").string());
    CHECK(loaded.vocabulary.level() == TokenUnit::word);
    CHECK(loaded.vocabulary.size() == 9);
    const ToolRun run = tool("generate", folder,
                             {"--checkpoint=" + (folder / "whole/best.safetensors").string(),
                              "--prompt=the tape reads", "--tokens=40", "--top-k=4"});
    REQUIRE(run.out.starts_with("the tape reads the "));
    CHECK(loaded.vocabulary.encode(run.out).size() == 43);
    CHECK(loaded.vocabulary.decode(loaded.vocabulary.encode(run.out)) == run.out);
    CHECK(contains(run.out, " .\nthe "));
    CHECK(contains(run.err, "generated: 40 tokens"));
  }
}

}  // namespace
}  // namespace tandem::testing
