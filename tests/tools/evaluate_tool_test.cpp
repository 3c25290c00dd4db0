// Tests of the program evaluate: scores, flags, exit codes and messages.
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tandem/data/download/files.h"
#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/run_config.h"
#include "tandem/models/training/score.h"
#include "tandem/ops/gemm/precision.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/run_tool.h"

namespace tandem::testing {
namespace {

const std::string kWeights = "--checkpoint=" + golden_path("srupp/weights.safetensors");
const std::string kText = "--corpus=" + golden_path("srupp/text.bin");

ToolRun evaluate_tool(std::vector<std::string> arguments) {
  return run_tool("evaluate", arguments);
}

nlohmann::json json_of(std::vector<std::string> arguments) {
  arguments.insert(arguments.end(), {kWeights, "--json"});
  const ToolRun run = evaluate_tool(arguments);
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  return nlohmann::json::parse(run.out);
}

TEST_CASE("evaluate: the authors' bits per character, in words and as JSON") {
  const nlohmann::json golden = golden_json("srupp/expected.json");
  for (const nlohmann::json& expected : golden["eval"]) {
    const std::string window = expected["window"].dump();
    const ToolRun run =
        evaluate_tool({kWeights, kText, "--split=all", "--window=" + window, "--precision=f64"});
    CAPTURE(run.err);
    CHECK(run.exit_code == 0);
    CHECK(run.err.empty());
    CHECK(contains(run.out, "\nbpc: " + std::string(window == "32" ? "2.794896" : "2.790723") + "\n"));
    CHECK(contains(run.out, "\nnats: 1.93"));
    CHECK(contains(run.out, "\nsymbols: 19,999 scored, 0 dropped\n"));
    CHECK(contains(run.out, "\ncontext: memory of " + window + " tokens"));
    CHECK(contains(run.out, "device: cpu, "));
    CHECK(contains(run.out, " symbols/s\n"));

    for (const std::string precision : {"f64", "f32"}) {
      CAPTURE(precision);
      const nlohmann::json json =
          json_of({kText, "--split=all", "--window=" + window, "--precision=" + precision});
      CHECK(std::abs(json["bpc"].get<double>() - expected["bpc"].get<double>()) <
            (precision == "f64" ? 1e-9 : 1e-5));
      CHECK(json["nats"].get<double>() == doctest::Approx(json["bpc"].get<double>() * std::log(2.0)));
      CHECK(json["total_nats"].get<double>() == doctest::Approx(json["nats"].get<double>() * 19999));
      CHECK(json["symbols"] == 19999);
      CHECK(json["memory"] == expected["window"]);
      CHECK(json["precision"] == precision);
    }
  }
}

TEST_CASE("evaluate: bf16 products stay within 1 %, or are refused where there are none") {
  const std::vector<std::string> arguments = {kWeights, kText, "--split=dev", "--window=32",
                                              "--precision=bf16"};
  const ToolRun run = evaluate_tool(arguments);
  if (!cpu_has_bf16()) {
    CHECK(run.exit_code == 1);
    CHECK(contains(run.err, "bf16"));
    return;
  }
  const double bf16 = json_of({kText, "--split=dev", "--window=32", "--precision=bf16"})["bpc"];
  const double f32 = json_of({kText, "--split=dev", "--window=32"})["bpc"];
  CHECK(bf16 != f32);
  CHECK(bf16 == doctest::Approx(f32).epsilon(0.01));
}

TEST_CASE("evaluate: splits, fractions, limit and batch size choose what is scored") {
  const auto symbols = [](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--window=64", kText});
    return json_of(arguments)["symbols"].get<int64_t>();
  };
  CHECK(symbols({}) == 999);  // test: 5 % of 20,000
  CHECK(symbols({"--split=dev", "--valid-fraction=0.1"}) == 1999);
  CHECK(symbols({"--split=train", "--valid-fraction=0.3", "--test-fraction=0.6"}) == 1999);
  CHECK(symbols({"--split=all", "--limit=301"}) == 300);
  CHECK(symbols({"--limit=1000000"}) == 999);
  const nlohmann::json columns = json_of({kText, "--window=64", "--batch-size=7"});
  CHECK(columns["symbols"] == 994);
  CHECK(columns["dropped"] == 5);
  CHECK(columns["batch_size"] == 7);

  const TempDir folder;
  write_text(folder / "two", "ab");  // too short for splits
  CHECK(json_of({"--corpus=" + (folder / "two").string(), "--split=all", "--window=8"})["symbols"] == 1);
}

TEST_CASE("evaluate: --log-probabilities writes a line for each token that is scored, to a new file") {
  const TempDir folder;
  const std::string path = folder / "log_p.txt", flag = "--log-probabilities=" + path;
  const nlohmann::json json = json_of({kText, "--split=dev", "--window=32", flag});
  std::istringstream lines(read_text(path));
  double sum = 0;
  int64_t count = 0;
  for (double log_p = 0; lines >> log_p; ++count) {
    CHECK(log_p <= 0);
    sum += log_p;
  }
  CHECK(lines.eof());
  CHECK(count == json["symbols"].get<int64_t>());
  CHECK(sum == doctest::Approx(-json["total_nats"].get<double>()).epsilon(1e-7));

  const ToolRun again = evaluate_tool({kWeights, kText, "--split=dev", "--window=32", flag});
  CHECK(again.exit_code == 1);
  CHECK(contains(again.err, "the file exists"));
  const ToolRun columns =
      evaluate_tool({kWeights, kText, "--window=32", "--batch-size=2", flag + ".columns"});
  CHECK(columns.exit_code == 2);
  CHECK(contains(columns.err, "--batch-size=1, not 2"));
  CHECK(!std::filesystem::exists(path + ".columns"));
}

TEST_CASE("evaluate: a checkpoint brings its window and, for its own text, its fractions") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors", text = folder / "text";
  write_text(text, read_text(golden_path("srupp/text.bin")).substr(0, 1000));
  const std::unique_ptr<LanguageModel> model =
      make_model(R"({"model":"srupp","vocabulary":256,"d":12,"d_projected":4,"layers":2})", 3);
  Checkpoint checkpoint;
  checkpoint.model_config = model->config();
  std::string all(256, '\0');
  for (int i = 0; i < 256; ++i) all[static_cast<size_t>(i)] = static_cast<char>(i);
  checkpoint.vocabulary = Vocabulary::of(as_bytes(all));
  checkpoint.parameters = model->parameters();
  RunConfig run;
  run.corpus = text;
  run.corpus_sha256 = run.text_sha256 = file_checksum("sha256", text);
  run.test_fraction = 0.25;
  run.recipe = preset("srupp", "laptop").recipe;
  run.recipe.eval_window = 24;
  checkpoint.run_config = run.text();
  save_checkpoint(path, checkpoint);

  const auto json = [&path](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--checkpoint=" + path, "--json"});
    const ToolRun done = evaluate_tool(arguments);
    CAPTURE(done.err);
    REQUIRE(done.exit_code == 0);
    return nlohmann::json::parse(done.out);
  };
  const nlohmann::json own = json({"--corpus=" + text});
  CHECK(own["window"] == 24);
  CHECK(own["symbols"] == 249);
  const std::string held_out = read_text(text).substr(750);
  const Evaluation expected =
      evaluate(*model, Tokens(as_bytes(held_out), checkpoint.vocabulary), {.window = 24});
  CHECK(own["nats"].get<double>() == doctest::Approx(expected.mean_nats()).epsilon(1e-12));
  CHECK(own["bpc"].get<double>() ==
        doctest::Approx(score(TokenUnit::byte, expected.mean_nats())).epsilon(1e-12));
  CHECK(json({"--corpus=" + text, "--window=9"})["window"] == 9);
  CHECK(json({"--corpus=" + text, "--test-fraction=0.1"})["symbols"] == 99);
  CHECK(json({kText})["symbols"] == 999);  // another text: the default

  // The digest tells the text, not the spelling of its path.
  const std::string copy = folder / "copy";
  write_text(copy, read_text(text));
  for (const std::string& same : {copy, folder.path().string() + "/./text"})
    CHECK(json({"--corpus=" + same})["total_nats"] == own["total_nats"]);
  write_text(text, read_text(golden_path("srupp/text.bin")).substr(1000, 1000));
  CHECK(json({"--corpus=" + text})["symbols"] == 49);
  const ToolRun anew = evaluate_tool({"--corpus=" + copy, "--test-fraction=0.5", "--checkpoint=" + path});
  CHECK(contains(anew.err, "tokens that it was trained on may be scored as held out"));
}

TEST_CASE("evaluate: a damaged checkpoint is refused, and read with --verify=off") {
  const TempDir folder;
  const std::string path = folder / "model.safetensors", text = test_dir() + "/golden/old_run/text.txt";
  save_checkpoint(path, load_checkpoint(test_dir() + "/golden/old_run/best.safetensors"));
  std::string bytes = read_text(path);
  bytes[bytes.size() - 100] ^= 1;  // a small change of one weight
  write_text(path, bytes);
  const std::vector<std::string> arguments = {"--checkpoint=" + path, "--corpus=" + text, "--device=cpu"};
  const ToolRun refused = evaluate_tool(arguments);
  CHECK(refused.exit_code == 1);
  CHECK(contains(refused.err, "altered or damaged since it was written"));
  CHECK(contains(refused.err, "--verify=off"));
  std::vector<std::string> anyway = arguments;
  anyway.push_back("--verify=off");
  CHECK(evaluate_tool(anyway).exit_code == 0);
}

TEST_CASE("evaluate: wrong usage exits with 2") {
  const auto refused = [](const std::vector<std::string>& arguments, const std::string& message) {
    const ToolRun run = evaluate_tool(arguments);
    CHECK(run.exit_code == 2);
    CHECK(run.out.empty());
    CHECK(run.err.starts_with("error: "));
    CHECK(contains(run.err, message));
    CHECK(contains(run.err, "`evaluate --help` lists the options"));
  };
  refused({}, "--checkpoint");
  refused({kWeights}, "--corpus");
  refused({kWeights, kText, "--window=0"}, "--window");
  refused({kWeights, kText, "--window=32", "--precision=f16"}, "--precision");
  refused({kWeights, kText, "--window=32", "--split=tests"}, "--split");
  refused({kWeights, kText, "--window=32", "--wnidow=32"}, "--wnidow");
  refused({kWeights, kText, "--window=a"}, "--window");
  refused({kWeights, kText}, "has no evaluation window; give --window=N");
  const ToolRun help = evaluate_tool({"--help"});
  CHECK(help.exit_code == 0);
  CHECK(contains(help.out, "--valid-fraction"));
}

TEST_CASE("evaluate: failures exit with 1 and one message") {
  const TempDir folder;
  const auto failed = [](const std::vector<std::string>& arguments, const std::string& message) {
    const ToolRun run = evaluate_tool(arguments);
    CHECK(run.exit_code == 1);
    CHECK(run.err.starts_with("error: "));
    CHECK(contains(run.err, message));
  };
  failed({"--checkpoint=" + (folder / "none").string(), kText, "--window=32"}, (folder / "none").string());
  failed({"--checkpoint=" + golden_path("srupp/text.bin"), kText, "--window=32"}, "expected a checkpoint");
  failed({kWeights, "--corpus=" + (folder / "none").string(), "--window=32"}, "neither a corpus");
  write_text(folder / "odd", "plain text, then \x01");
  failed({kWeights, "--corpus=" + (folder / "odd").string(), "--split=all", "--window=32"},
         "byte 0x01 at offset 17");
  failed({kWeights, kText, "--window=32", "--limit=1"}, "1 bytes in test leave nothing to predict");
  failed({kWeights, kText, "--window=32", "--heads=3"}, "heads must divide d'");
  failed({kWeights, kText, "--window=32", "--url=file:///x"}, "a URL (file:///x) has no use");
}

}  // namespace
}  // namespace tandem::testing
