// Tests of the program export: what it writes in each format, what it refuses, and that nothing is written over.
#include <nlohmann/json.hpp>
#include <vector>

#include "tandem/core/safetensors.h"
#include "tandem/core/tensor.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/model_file.h"
#include "tandem/tools/run/embedded_files.h"
#include "tests/support/compression_run.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/run_tool.h"
#include "tests/support/same_bits.h"

namespace tandem::testing {
namespace {

const std::string kAuthors = "--format=srupp-authors", kTransformers = "--format=transformers";
const std::string kSrupp = R"({"model":"srupp","vocabulary":6,"d":24,"d_projected":8,"layers":4,"alpha":1)";

std::string text_of_six_letters() {
  const std::vector<uint8_t> bytes = random_text(400);
  return {bytes.begin(), bytes.end()};
}

// Writes a new model of this configuration, of six letters or words, without a training run.
std::string write_model(const TempDir& folder, const std::string& config, bool words = false) {
  const std::unique_ptr<LanguageModel> model = make_model(config, 3);
  Checkpoint checkpoint;
  checkpoint.model_config = model->config();
  checkpoint.vocabulary = words ? Vocabulary::of_words("<unk>\n<eos>\na\nb\nc\nd\n")
                                : Vocabulary::of(as_bytes(text_of_six_letters()));
  checkpoint.parameters = model->parameters();
  const std::string path = folder / "model.safetensors";
  save_checkpoint(path, checkpoint);
  return path;
}

ToolRun export_tool(const std::vector<std::string>& arguments) {
  return run_tool("export", arguments);
}

void check_refused(const std::string& config, const std::string& format, const std::string& message,
                   bool words = false) {
  CAPTURE(config);
  const TempDir folder;
  const ToolRun run = export_tool(
      {write_model(folder, config, words), format, "--window=16", "--out=" + (folder / "out").string()});
  CHECK(run.exit_code == 1);
  CHECK(contains(run.err, message));
  CHECK(!std::filesystem::exists(folder / "out"));
}

double total_nats(const std::string& checkpoint, const std::string& text,
                  const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"--checkpoint=" + checkpoint,
                                        "--corpus=" + text,
                                        "--split=all",
                                        "--window=16",
                                        "--json",
                                        "--device=cpu"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const ToolRun run = run_tool("evaluate", arguments);
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  return nlohmann::json::parse(run.out)["total_nats"];
}

TEST_CASE("export: the authors' layout gives back the same tensors and the same score") {
  for (const char* options : {"", R"(,"heads":2,"attention_every":2,"highway_bias":0)",
                              R"(,"attention_every":0,"attention_last":1,"dropout":0.3)",
                              R"(,"attention_every":0,"conv_width":3)", R"(,"tied":true)"}) {
    CAPTURE(options);
    const TempDir folder;
    const std::string model = write_model(folder, kSrupp + options + "}"), text = folder / "text",
                      out = folder / "authors.safetensors";
    write_text(text, text_of_six_letters());
    const ToolRun run = export_tool({model, kAuthors, "--out=" + out, "--window=16"});
    CAPTURE(run.err);
    REQUIRE(run.exit_code == 0);
    const bool two_heads = std::string(options).find("heads") != std::string::npos,
               tied = std::string(options).ends_with("true");
    CHECK((run.out.find("--window=16 --heads=2\n") != std::string::npos) == two_heads);
    CHECK((run.out.find("note: the output rows are the embedding's") != std::string::npos) == tied);

    const LoadedModel ours = load_model_file(model), theirs = load_model_file(out, two_heads ? 2 : 1);
    std::vector<NamedTensor> expected = ours.model->parameters();
    if (tied) expected.push_back({"output.weight", find_tensor(expected, "embedding.weight")});
    CHECK(theirs.model->parameters().size() == expected.size());
    for (const NamedTensor& parameter : theirs.model->parameters()) {
      CAPTURE(parameter.name);
      CHECK(same_bits(parameter.value, find_tensor(expected, parameter.name)));
    }
    CHECK(theirs.vocabulary == ours.vocabulary);
    const std::vector<std::string> heads =
        two_heads ? std::vector<std::string>{"--heads=2"} : std::vector<std::string>{};
    CHECK(total_nats(out, text, heads) == total_nats(model, text, {}));
    const bool attends = std::string(options).find("conv_width") == std::string::npos;
    CHECK((total_nats(out, text, heads) != total_nats(model, text, {"--memory=3"})) == attends);
  }
}

TEST_CASE("export: the authors' own file comes back with all of its tensors") {
  const TempDir folder;
  const std::string path = golden_path("srupp/weights.safetensors"), out = folder / "again.safetensors";
  const ToolRun run = export_tool({path, kAuthors, "--out=" + out});
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(contains(run.out, "--window=N\n"));
  const SafetensorsFile before = SafetensorsFile::open(path), after = SafetensorsFile::open(out);
  CHECK(before.names().size() == after.names().size());
  for (const std::string& name : before.names()) {
    CAPTURE(name);
    CHECK(same_bits(before.get(name), after.get(name)));
  }
  CHECK(before.metadata().at("vocab") == after.metadata().at("vocab"));
}

TEST_CASE("export: the folder for transformers holds weights, configuration, vocabulary and code") {
  const std::string sizes = R"("vocabulary":6,"d":8,"layers":2)";
  for (const std::string& config :
       {kSrupp + R"(,"conv_width":3,"heads":2})", R"({"model":"sru",)" + sizes + "}",
        R"({"model":"transformer-xl",)" + sizes + R"(,"heads":2,"d_head":4,"d_inner":16})",
        R"({"model":"primer",)" + sizes + R"(,"heads":2,"d_head":4,"d_inner":16})",
        R"({"model":"primer-ez",)" + sizes + R"(,"heads":2,"d_head":4,"d_inner":16})"}) {
    CAPTURE(config);
    const TempDir folder;
    const std::string model = write_model(folder, config);
    const std::filesystem::path out = folder / "a/b";
    const ToolRun run = export_tool(
        {model, kTransformers, "--out=" + out.string(), "--window=16", "--memory=20", "--clamp=5"});
    CAPTURE(run.err);
    REQUIRE(run.exit_code == 0);
    CHECK(contains(run.out, "written: " + out.string() + "\n"));

    const SafetensorsFile weights = SafetensorsFile::open(out / "model.safetensors");
    const std::unique_ptr<LanguageModel> expected = make_model(config, 3);
    CHECK(weights.metadata().at("format") == "pt");
    CHECK(weights.names().size() == expected->parameters().size());
    for (const NamedTensor& parameter : expected->parameters())
      CHECK(same_bits(weights.get(parameter.name), parameter.value));
    const nlohmann::json written = nlohmann::json::parse(read_text(out / "config.json"));
    CHECK(written["tandem"] == nlohmann::json::parse(expected->config()));
    CHECK(written["window"] == 16);
    CHECK(written["memory"] == 20);
    CHECK(written["clamp"] == 5);
    CHECK(read_text(out / "vocab.txt") == "61\n62\n63\n64\n65\n66\n");
    CHECK(nlohmann::json::parse(read_text(out / "tokenizer_config.json"))["unit"] == "byte");
    CHECK(contains(read_text(out / "README.md"), "`model.safetensors`: checkpoint of Tandem"));
    for (const char* name :
         {"configuration_tandem.py", "layers_tandem.py", "modeling_tandem.py", "tokenization_tandem.py"}) {
      CAPTURE(name);
      const std::string source = read_text(test_dir() + "/../tools/transformers/" + name);
      CHECK(read_text(out / name) == source);
      CHECK(embedded_file(std::string("transformers/") + name) == source);
    }
    CHECK(contains(error_of([] { embedded_file("transformers/none.py"); }), "transformers/none.py: no file"));
  }
}

TEST_CASE("export: words travel as a list, and compressed weights become dense") {
  TempDir folder;
  const std::string words = write_model(folder, kSrupp + "}", true), out = folder / "words";
  REQUIRE(export_tool({words, kTransformers, "--window=8", "--out=" + out}).exit_code == 0);
  CHECK(read_text(out + "/vocab.txt") == "<unk>\n<eos>\na\nb\nc\nd\n");
  CHECK(nlohmann::json::parse(read_text(out + "/tokenizer_config.json"))["unit"] == "word");

  const std::string dense = write_small_run(folder), quantized = (folder / "q").string();
  REQUIRE(run_tool("quantize", {dense, "--bits=4", "--out=" + quantized, "--device=cpu"}).exit_code == 0);
  const std::string small = quantized + "/4-bit.safetensors", again = folder / "dense";
  const ToolRun run = export_tool({small, kTransformers, "--out=" + again});
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  CHECK(contains(run.out, "4-bit weights"));
  CHECK(contains(run.out, "note: the compressed weights are written as dense f32\n"));
  CHECK(contains(read_text(again + "/README.md"), "`text`, sha256 `"));
  const SafetensorsFile weights = SafetensorsFile::open(again + "/model.safetensors");
  for (const NamedTensor& parameter : load_model_file(small).model->parameters())
    CHECK(same_bits(weights.get(parameter.name), parameter.value));
}

TEST_CASE("export: what a format cannot hold is named") {
  check_refused(kSrupp + R"(,"conv_width":3})", kAuthors, "conv_width is 3");
  check_refused(kSrupp + R"(,"cutoffs":[2,4]})", kAuthors, "cutoffs are 2, 4");
  check_refused(kSrupp + "}", kAuthors, "the tokens are words", true);
  check_refused(R"({"model":"sru","vocabulary":6,"d":8})", kAuthors, "the model is sru");
  check_refused(R"({"model":"lstm","vocabulary":6,"d":8})", kTransformers, "the model is lstm");
  const std::string attention = R"(","vocabulary":6,"layers":1,"d":8,"heads":2,"d_head":4,"d_inner":8})";
  check_refused(R"({"model":"transformer)" + attention, kTransformers, "positions are \"absolute\"");

  const TempDir folder;
  const std::string model = write_model(folder, R"({"model":"transformer-xl)" + attention),
                    out = "--out=" + (folder / "out").string();
  const ToolRun blind = export_tool({model, kTransformers, out, "--window=8", "--memory=0"});
  CHECK(blind.exit_code == 1);
  CHECK(contains(blind.err, "the memory is 0 tokens"));
  const ToolRun unknown_window = export_tool({model, kTransformers, out});
  CHECK(unknown_window.exit_code == 2);
  CHECK(contains(unknown_window.err, "give --window=N"));
  CHECK(export_tool({model, "--format=onnx", out}).exit_code == 2);
  CHECK(export_tool({model, out}).exit_code == 2);
  CHECK(!std::filesystem::exists(folder / "out"));
}

TEST_CASE("export: nothing that exists is written over, and a failed export leaves nothing") {
  const TempDir folder;
  const std::string model = write_model(folder, kSrupp + "}");
  std::filesystem::create_directory(folder / "empty");
  std::filesystem::create_directory(folder / "full");
  write_text(folder / "full/mine", "x");
  write_text(folder / "file", "x");
  const auto run = [&model, &folder](const std::string& format, const std::string& out) {
    return export_tool({model, format, "--window=8", "--out=" + (folder / out).string()});
  };
  for (const std::string& format : {kAuthors, kTransformers})
    for (const char* out : {"file", "full"}) {
      const ToolRun refused = run(format, out);
      CHECK(refused.exit_code == 1);
      CHECK(contains(refused.err, "exists already and is not written over"));
    }
  CHECK(read_text(folder / "file") == "x");
  CHECK(run(kTransformers, "empty").exit_code == 0);
  CHECK(run(kTransformers, "file/below").exit_code == 1);
  CHECK(run(kAuthors, "file/below").exit_code == 1);
}

}  // namespace
}  // namespace tandem::testing
