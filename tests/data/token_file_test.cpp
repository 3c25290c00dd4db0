// Token files: written in any order, mapped, and wrong in every way.
#include "data/token_file.h"

#include <doctest/doctest.h>

#include "core/safetensors.h"
#include "core/tensor.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

const std::string kWords = "<eos>\nthe\n<unk>\n";

TokenFileInfo info_of(int64_t tokens) {
  return {.source = "sha256:00",
          .key = "0123",
          .splits = {TokenRange{0, tokens - 3}, {tokens - 3, tokens - 1}, {tokens - 1, tokens}},
          .tokens = tokens};
}

void write(const fs::path& path, const std::vector<int32_t>& ids) {
  TokenFileWriter file(path, info_of(static_cast<int64_t>(ids.size())), WordVocabulary(kWords));
  file.write(0, ids);
  file.commit();
}

TEST_CASE("token file: written piece by piece in any order, and mapped") {
  TempDir dir;
  const fs::path path = dir / "tokens";
  const WordVocabulary words(kWords);
  {
    TokenFileWriter file(path, info_of(7), words);
    file.write(5, std::vector<int32_t>{5, 6});
    file.write(0, std::vector<int32_t>{0, 1, 2});
    CHECK(contains(error_of([&] {
                     file.write(6, std::vector<int32_t>{1, 2});
                   }),
                   "tokens 6 .. 7 lie outside of the 7"));
    CHECK(contains(error_of([&] { file.write(-1, std::vector<int32_t>{1}); }), "tokens -1 .. -1"));
    CHECK(contains(error_of([&] { file.commit(); }), "5 tokens were written of 7"));
    CHECK_FALSE(fs::exists(path));
    file.write(3, std::vector<int32_t>{3, 4});
    file.commit();
  }
  TokenFile copy;
  {
    const TokenFile file = TokenFile::open(path, "0123");
    CHECK(file.info().source == "sha256:00");
    CHECK(file.info().key == "0123");
    CHECK(file.info().tokens == 7);
    CHECK((file.info().splits == info_of(7).splits));
    CHECK(file.vocabulary() == Vocabulary::of_words(kWords));
    copy = file;
  }
  fs::remove(path);  // the mapping stays valid
  const std::span<const int32_t> ids = copy.ids();
  CHECK(std::vector<int32_t>(ids.begin(), ids.end()) == std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6});
  CHECK(reinterpret_cast<uintptr_t>(ids.data()) % alignof(int32_t) == 0);
}

TEST_CASE("token file: is a safetensors file") {
  TempDir dir;
  write(dir / "tokens", {2, 1, 0, 1});
  const SafetensorsFile file = SafetensorsFile::open(dir / "tokens");
  CHECK(file.get("ids").to_vector<int32_t>() == std::vector<int32_t>{2, 1, 0, 1});
  CHECK(file.metadata().at("splits") == "[[0,1],[1,3],[3,4]]");
}

TEST_CASE("token file: errors") {
  TempDir dir;
  const fs::path path = dir / "tokens";
  const auto error = [&path] { return error_of([&] { TokenFile::open(path, "0123"); }); };
  CHECK(contains(error(), "cannot read " + path.string()));
  write(path, {0, 1, 2, 0});
  CHECK(contains(error_of([&] { TokenFile::open(path, "4567"); }), "its key is 0123, not 4567; remove it"));
  const std::string whole = read_text(path);
  write_text(path, whole.substr(0, whole.size() - 1));
  CHECK(contains(error(), "truncated"));
  write_text(path, "no tokens");
  CHECK(contains(error(), path.string()));

  const auto rewrite = [&path](std::map<std::string, std::string> metadata, DType dtype) {
    const std::vector<uint8_t> words(kWords.begin(), kWords.end());
    write_safetensors(
        path.string(),
        {{"ids", Tensor({4}, dtype)}, {"words", tensor_of({static_cast<int64_t>(words.size())}, words)}},
        metadata);
  };
  std::map<std::string, std::string> metadata = {
      {"format", "tandem-tokens-1"}, {"key", "0123"}, {"source", ""}, {"splits", "[[0,2],[2,3],[3,5]]"}};
  rewrite(metadata, DType::i32);
  CHECK(contains(error(), "do not fit 4 tokens"));
  metadata["splits"] = "[[0,2],[2,3]]";
  rewrite(metadata, DType::i32);
  CHECK(contains(error(), "\"splits\" cannot be read"));
  rewrite(metadata, DType::f32);
  CHECK(contains(error(), "its ids are f32"));
  metadata["format"] = "tandem-tokens-0";
  rewrite(metadata, DType::i32);
  CHECK(contains(error(), "not a token file of this version"));
  metadata.erase("format");
  rewrite(metadata, DType::i32);
  CHECK(contains(error(), "no metadata \"format\""));
}

}  // namespace
}  // namespace tandem::testing
