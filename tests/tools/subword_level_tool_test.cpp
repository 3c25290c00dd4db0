// Models of subwords from end to end: train, resume, evaluate, generate and compress, and bits per byte beside a model of bytes.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tandem/core/random.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/model_file.h"
#include "tests/support/errors.h"
#include "tests/support/level_run.h"
#include "tests/support/train_process.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSentences = 1500;

// Writes sentences of a small language.
fs::path write_sentences(const TempDir& folder) {
  Random random(1);
  const char* nouns[] = {"tape", "tensor", "gradient", "größe"};
  std::ofstream out(folder / "text.txt");
  for (int64_t i = 0; i < kSentences; ++i)
    out << "the " << nouns[random.below(4)] << " reads the " << nouns[random.below(4)] << " " << i % 97
        << ".\n";
  return folder / "text.txt";
}

const std::vector<std::string> kLevel = {"--level=subword", "--vocab-size=300", "--eval-batch-size=3",
                                         "--eval-bytes=1500"};

TEST_CASE("subwords: train, resume, evaluate, generate and compress") {
  const TempDir folder;
  const fs::path text = write_sentences(folder);
  const ToolRun whole = train(folder, "whole", kLevel);
  for (const char* part : {" tokens (train ", "300 symbols", " bytes of text each in train", " ppl)",
                           " bpb over ", "dev: ", "test: ", "sample at step", "\"tied\":true"})
    CHECK(contains(whole.out, part));
  CHECK(whole.out.find("bpc") == std::string::npos);
  CHECK(whole.err.find("trainer_interface") == std::string::npos);  // SentencePiece is silent

  nlohmann::json test, dev;
  for (const nlohmann::json& line : metrics(folder / "whole")) {
    if (line.contains("loss")) CHECK(line.contains("ppl"));
    for (const std::string split : {"dev", "test"})
      if (line.contains(split + "_nats")) {
        (split == "dev" ? dev : test) = line;
        const double nats = line[split + "_nats"], symbols = line["symbols"], bytes = line["bytes"];
        CHECK(line[split + "_ppl"].get<double>() == doctest::Approx(std::exp(nats)));
        CHECK(line[split + "_bpb"].get<double>() == doctest::Approx(nats * symbols / std::log(2.0) / bytes));
      }
  }
  const Checkpoint best = load_checkpoint((folder / "whole/best.safetensors").string());
  const Vocabulary& vocabulary = best.vocabulary;
  REQUIRE(vocabulary.level() == TokenUnit::subword);
  CHECK(vocabulary.size() == 300);
  // The test part is the last 5 % of the bytes, and only its first token is not predicted.
  const std::string all = read_text(text);
  const std::string last = all.substr(all.size() - all.size() / 20);
  const size_t unscored = vocabulary.piece(vocabulary.encode(last)[0], -1).size();
  CHECK(test["bytes"] == last.size() - unscored);
  CHECK(test["symbols"] == vocabulary.encode(last).size() - 1);
  CHECK(test["test_bpb"].get<double>() < 1.5);  // untrained: log2(300) bits a token
  CHECK(dev["bytes"].get<int64_t>() <= 1500);
  CHECK(dev["bytes"].get<int64_t>() > 1450);

  const std::string checkpoint = "--checkpoint=" + (folder / "whole/best.safetensors").string();
  SUBCASE("a stopped run goes on to the same losses and files, also when the data folder is gone") {
    train(folder, "stopped", kLevel, {"--max-steps=50"});
    fs::remove_all(folder / "data");
    tool("train", folder, {text.string(), "--resume=" + (folder / "stopped").string()});
    CHECK(losses(folder / "stopped").size() == 150);
    CHECK(losses(folder / "stopped") == losses(folder / "whole"));
    CHECK(read_text(folder / "stopped/last.safetensors") == read_text(folder / "whole/last.safetensors"));
    for (const auto& entry : fs::directory_iterator(folder / "data"))  // the vocabulary is the checkpoint's
      CHECK(entry.path().extension() != ".subwords");
  }
  SUBCASE("evaluate scores the test part as training did, whatever the path") {
    fs::create_directory(folder / "elsewhere");
    fs::copy_file(text, folder / "elsewhere/copy");
    for (const fs::path& path : {text, folder / "elsewhere/../text.txt", folder / "elsewhere/copy"}) {
      const nlohmann::json json = nlohmann::json::parse(
          tool("evaluate", folder, {checkpoint, "--corpus=" + path.string(), "--json"}).out);
      CHECK(json["ppl"].get<double>() == doctest::Approx(test["test_ppl"].get<double>()).epsilon(1e-6));
      CHECK(json["bpb"].get<double>() == doctest::Approx(test["test_bpb"].get<double>()).epsilon(1e-6));
      CHECK(json["bytes"] == test["bytes"]);
      CHECK(json["symbols"] == test["symbols"]);
      CHECK_FALSE(json.contains("bpc"));
    }
    const std::string printed = tool("evaluate", folder, {checkpoint, "--corpus=" + text.string()}).out;
    CHECK(contains(printed, fmt::format("\nbpb: {:.6f}, of ", test["test_bpb"].get<double>())));
    // Columns drop tokens at the end, and their bytes do not count.
    const nlohmann::json columns = nlohmann::json::parse(
        tool("evaluate", folder, {checkpoint, "--corpus=" + text.string(), "--batch-size=7", "--json"}).out);
    const std::vector<int32_t> ids = vocabulary.encode(last);
    const auto end = ids.end() - columns["dropped"].get<int64_t>();
    CHECK(columns["bytes"] == vocabulary.decode(std::vector<int32_t>(ids.begin() + 1, end)).size());
    // Any bytes can be scored.
    write_text(folder / "other", std::string("the t\xff\0\n\t\xe2\x96\x81 ape", 15));
    const nlohmann::json other = nlohmann::json::parse(
        tool("evaluate", folder,
             {checkpoint, "--corpus=" + (folder / "other").string(), "--split=all", "--json"})
            .out);
    CHECK(other["bytes"] == 15 - 3);
  }
  SUBCASE("generate continues a prompt byte for byte") {
    const ToolRun run =
        tool("generate", folder, {checkpoint, "--prompt=the tape reads", "--tokens=40", "--top-k=4"});
    REQUIRE(run.out.starts_with("the tape reads"));
    CHECK(contains(run.out, "the "));
    CHECK(run.out.size() > 60);
    CHECK(contains(run.err, "generated: 40 tokens"));
    const std::string odd = std::string("\xff the\t\xe2\x96\x81\n", 10);
    CHECK(run_tool("generate", {checkpoint, "--prompt=-", "--tokens=0"}, odd).out == odd);
    CHECK(tool("generate", folder, {checkpoint, "--tokens=5"}).out.size() >= 5);
  }
  SUBCASE("prune and quantize score the dev part of training") {
    const ToolRun quantized =
        tool("quantize", folder,
             {(folder / "whole/best.safetensors").string(), "--out=" + (folder / "q").string(), "--bits=8"});
    CHECK(contains(quantized.out, "       ppl       bpb\n"));
    CHECK(load_model_file((folder / "q/8-bit.safetensors").string()).vocabulary == vocabulary);
    tool("prune", folder,
         {(folder / "whole/best.safetensors").string(), "--out=" + (folder / "p").string(), "--sparsity=30"});
  }
  SUBCASE("a model of subwords teaches one of the same subwords alone") {
    const std::string teacher = "--teacher=" + (folder / "whole/best.safetensors").string();
    const ToolRun taught = train(folder, "student", kLevel, {teacher, "--layers=1", "--steps=20"});
    CHECK(contains(taught.out, "teacher: "));
    const std::vector<std::vector<std::string>> other_symbols = {{"--level=subword", "--vocab-size=290"}, {}};
    for (const std::vector<std::string>& level : other_symbols) {
      std::vector<std::string> arguments = {text.string(), "--out=" + (folder / "others").string(),
                                            teacher,       "--warmup=1",
                                            "--steps=5",   "--data-dir=" + (folder / "data").string()};
      arguments.insert(arguments.end(), level.begin(), level.end());
      const ToolRun refused = run_tool("train", arguments);
      CHECK(refused.exit_code == 1);
      CHECK(contains(refused.err, "its vocabulary has 300 symbols"));
    }
  }
  SUBCASE("explore shows them, and export has no tokenizer for them") {
    const std::string trained = (folder / "whole/best.safetensors").string();
    const ToolRun explored = run_tool("explore", {trained, "--text=" + text.string(), "--tokens=40",
                                                  "--out=" + (folder / "page.html").string()});
    CAPTURE(explored.err);
    CHECK(explored.exit_code == 0);
    CHECK(contains(read_text(folder / "page.html"), "subword"));
    for (const char* format : {"srupp-authors", "transformers"}) {
      const ToolRun refused = run_tool(
          "export", {trained, std::string("--format=") + format, "--out=" + (folder / "exported").string()});
      CHECK(refused.exit_code == 1);
      CHECK(contains(refused.err, "subwords"));
      CHECK(!fs::exists(folder / "exported"));
    }
  }
  SUBCASE("settings are described and dumped") {
    const std::vector<std::string> settings = {text.string(), "--level=subword", "--vocab-size=300"};
    std::vector<std::string> arguments = settings;
    arguments.push_back("--dump-config");
    const std::string dumped = tool("train", folder, arguments).out;
    CHECK(contains(dumped, "level = 'subword'\nvocab-size = 300\n"));
    CHECK(contains(dumped, "tied=true"));
    arguments.back() = "--describe";
    const nlohmann::json described = nlohmann::json::parse(tool("train", folder, arguments).out);
    CHECK(described["level"] == "subword");
    CHECK(described["model"]["vocabulary"] == 300);
    arguments.push_back("--set=tied=false");
    CHECK(nlohmann::json::parse(tool("train", folder, arguments).out)["parameters"].get<int64_t>() ==
          described["parameters"].get<int64_t>() + 300 * described["model"]["d"].get<int64_t>());
  }
  SUBCASE("a vocabulary that is damaged, or of another size than the model, is refused") {
    Checkpoint other = best;
    other.vocabulary = Vocabulary::from_hex("6162");
    const std::string path = (folder / "other.safetensors").string();
    save_checkpoint(path, other);
    CHECK(contains(error_of([&] { load_model_file(path); }),
                   "the vocabulary has 2 symbols, the model predicts 300"));
    const std::string file = read_text(folder / "whole/best.safetensors");
    const size_t at = file.find("<0x41>");
    REQUIRE(at != std::string::npos);
    std::string damaged = file;
    damaged[at + 3] = '5';
    write_text(path, damaged);
    const ToolRun refused = run_tool("generate", {"--checkpoint=" + path});
    CHECK(refused.exit_code == 1);
    CHECK(contains(refused.err, path + ": "));
    const ToolRun unverified = run_tool("generate", {"--checkpoint=" + path, "--verify=off"});
    CHECK(unverified.exit_code == 1);
    CHECK(contains(unverified.err, path + ": subwords: "));
  }
}

TEST_CASE("subwords: flags that contradict each other") {
  const TempDir folder;
  const std::string text = write_sentences(folder).string(),
                    data = "--data-dir=" + (folder / "data").string();
  const auto fails = [&](std::vector<std::string> arguments, const std::string& message) {
    arguments.insert(arguments.begin(), {text, data, "--out=" + (folder / "run").string()});
    const ToolRun run = run_tool("train", arguments);
    CAPTURE(run.err);
    CHECK(run.exit_code == 1);
    CHECK(contains(run.err, message));
  };
  fails({"--vocab-size=300"},
        "a vocabulary of bytes has no limits; size (--vocab-size) is for subwords and words");
  fails({"--level=subword"}, "and 8000 are asked for; give --vocab-size=");
  fails({"--level=subword", "--vocab-size=256"}, "256 of them are single bytes, so give 257 to");
  fails({"--level=subword", "--vocab-size=300", "--min-count=2"}, "no smallest count");
  CHECK(run_tool("train", {text, "--level=syllable"}).exit_code == 2);
}

}  // namespace
}  // namespace tandem::testing
