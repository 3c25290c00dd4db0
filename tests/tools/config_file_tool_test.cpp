// train --config and --dump-config: what a run is, written as a file and read back.
#include <doctest/doctest.h>

#include "tests/support/errors.h"
#include "tests/support/run_tool.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

std::string dumped(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = arguments;
  all.push_back("--dump-config");
  const ToolRun run = run_tool("train", all);
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  return run.out;
}

// Returns `train --describe` without what it says of the machine.
nlohmann::json description(std::vector<std::string> arguments) {
  arguments.push_back("--describe");
  const ToolRun run = run_tool("train", arguments);
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  return nlohmann::json::parse(run.out);
}

}  // namespace

TEST_CASE("train: what --dump-config prints gives the same run by --config") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const std::vector<std::vector<std::string>> runs = {
      {},
      {"--lr=3e-05", "--seed=18446744073709551615", "--recompute", "--no-test", "--max-time=8h", "--shards=2",
       "--set=highway_bias=-1.5", "--early-stop=3", "--keep=2", "--sample-every=100", "--sample-bytes=0"},
      {"--model=transformer", "--eval-memory=0", "--eval-clamp=7", "--decay=matrices", "--clip=0.25"},
      {"--model=stack", "--set=layers=sru*2,attention", "--precision=f32", "--valid-fraction=0.1"},
      {"--model=transformer-xl", "--preset=base", "--eval-bytes=1000", "--optimizer=lamb"}};
  for (std::vector<std::string> arguments : runs) {
    arguments.insert(arguments.begin(), text.string());
    CAPTURE(arguments);
    const std::string config = dumped(arguments);
    CAPTURE(config);
    write_text(folder / "config.toml", config);
    const std::string flag = "--config=" + (folder / "config.toml").string();
    CHECK(dumped({flag}) == config);
    CHECK(description({flag}) == description(arguments));
  }
}

TEST_CASE("train: a run of a file is the run of the flags, bit for bit") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const std::vector<std::string> more = {"--steps=12", "--sample-every=5", "--early-stop=9"};
  REQUIRE(run(folder, small_run(text, "flags", more)).code == 0);
  std::vector<std::string> arguments = small_run(text, "unused", more);
  write_text(folder / "config.toml", "# A comment.\n" + dumped(arguments));
  CHECK_FALSE(fs::exists(folder / "unused"));
  REQUIRE(run(folder, {"--config=config.toml", "--out=file"}).code == 0);
  check_same_files(folder / "flags", folder / "file");

  // A resumed run takes the file, which must say what the run was begun with.
  REQUIRE(run(folder, {"--config", "config.toml", "--out=parts", "--max-steps=5"}).code == 0);
  const ProcessResult rest = run(folder, {"--config=config.toml", "--resume=parts"});
  CAPTURE(rest.output);
  CHECK(rest.code == 0);
  check_same_files(folder / "flags", folder / "parts");
  CHECK("# A comment.\n" + run(folder, {"--resume=flags", text.string(), "--dump-config"}).output ==
        read_text(folder / "config.toml"));
  for (const auto& [line, message] :
       {std::pair<std::string, std::string>{"lr = 0.5", "lr is 0.5 there and 0.003 in the run"},
        {"seed = 5", "seed is 5 there and 1234 in the run"},
        {"set = 'highway_bias=7'", "highway_bias is 7 there and "},
        {"no-test = true", "test is false there and true in the run"}}) {
    write_text(folder / "other.toml", line + "\n");
    const ProcessResult refused = run(folder, {text.string(), "--config=other.toml", "--resume=parts"});
    CAPTURE(refused.output);
    CHECK(refused.code == 2);
    CHECK(contains(refused.output, message));
  }
}

TEST_CASE("train: flags of the command line win over those of --config, and lists of both count") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  write_text(folder / "other.txt", read_text(text));
  write_text(folder / "config.toml", "corpus = '" + text.string() +
                                         "'\nlr = 0.5\nd = 32\nset = ['highway_bias=-1', 'conv_width=2']\n");
  const std::string flag = "--config=" + (folder / "config.toml").string();
  const nlohmann::json plain = description({flag}),
                       changed = description(
                           {flag, "--lr=0.25", "--set=highway_bias=-3", (folder / "other.txt").string()});
  CHECK(plain["recipe"]["lr"] == 0.5);
  CHECK(changed["recipe"]["lr"] == 0.25);
  CHECK(changed["model"]["d"] == 32);
  CHECK(changed["model"]["highway_bias"] == -3);
  CHECK(changed["model"]["conv_width"] == 2);
  CHECK(contains(plain["corpus"]["source"].get<std::string>(), "text.txt"));
  CHECK(contains(changed["corpus"]["source"].get<std::string>(), "other.txt"));
}

TEST_CASE("train: a file of flags that is wrong is refused with what is wrong") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const auto refusal = [&](const std::string& content) {
    write_text(folder / "wrong.toml", content);
    const ToolRun run =
        run_tool("train", {text.string(), "--config=" + (folder / "wrong.toml").string(), "--describe"});
    CHECK(run.exit_code == 2);
    return run.err;
  };
  CHECK(contains(refusal("leraning-rate = 3\n"), "wrong.toml: there is no flag called leraning-rate"));
  CHECK(contains(refusal("--lr = 3\n"), "there is no flag called --lr"));
  CHECK(contains(refusal("help = true\n"), "there is no flag called help"));
  CHECK(contains(refusal("config = 'other.toml'\n"), "a file names no other file"));
  CHECK(contains(refusal("[recipe]\nlr = 3\n"), "there are no sections here"));
  CHECK(contains(refusal("lr = many\n"), "many is not a number"));
  CHECK(contains(refusal("lr = many\n"), "wrong.toml"));
  CHECK(contains(refusal("lr = [1, 2]\n"), "lr has 2 values"));
  CHECK(contains(refusal("lr = 1\nd = 2\nlr = 1\n"), "lr is given twice"));
  CHECK(contains(refusal("out = ''\n"), "out has an empty value"));
  const ToolRun missing = run_tool("train", {text.string(), "--config=/no/such.toml"});
  CHECK(missing.exit_code == 2);
  CHECK(contains(missing.err, "--config=/no/such.toml: cannot be read"));
  CHECK(contains(run_tool("train", {text.string(), "--config"}).err, "--config: give a file"));
  // The format has no way to write a # within a text.
  fs::copy_file(text, folder / "a#b.txt");
  CHECK(contains(run_tool("train", {(folder / "a#b.txt").string(), "--dump-config"}).err,
                 "cannot hold this text"));
}
