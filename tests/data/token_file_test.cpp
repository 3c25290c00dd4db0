// Token files: written in any order, mapped, and wrong in every way.
#include "tandem/data/token_file.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include "tandem/core/safetensors.h"
#include "tandem/core/tensor.h"
#include "tandem/data/token_digest.h"
#include "tests/support/digest_verification.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

const std::string kWords = "<eos>\nthe\n<unk>\na\nb\nc\nd\n";

TokenFileInfo info_of(int64_t tokens) {
  return {.source = "sha256:00",
          .key = "0123",
          .splits = {TokenRange{0, tokens - 3}, {tokens - 3, tokens - 1}, {tokens - 1, tokens}},
          .tokens = tokens};
}

void write(const fs::path& path, const std::vector<int32_t>& ids) {
  TokenFileWriter file(path, info_of(static_cast<int64_t>(ids.size())), Vocabulary::of_words(kWords));
  file.write(0, ids);
  file.commit();
}

TEST_CASE("token file: written piece by piece in any order, and mapped") {
  TempDir dir;
  const fs::path path = dir / "tokens";
  const Vocabulary words = Vocabulary::of_words(kWords);
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

// Writes the tokens 2, 1, 0, 1 as an earlier version did, without a digest, or with other ids or fields.
struct OldFile {
  std::vector<int32_t> ids = {2, 1, 0, 1};
  std::string words = kWords;
  std::map<std::string, std::string> metadata = {
      {"format", "tandem-tokens-1"}, {"key", "0123"}, {"source", ""}, {"splits", "[[0,1],[1,3],[3,4]]"}};

  void write(const fs::path& path) const {
    write_safetensors(path.string(),
                      {{"ids", tensor_of({static_cast<int64_t>(ids.size())}, ids)},
                       {"words", tensor_of({static_cast<int64_t>(words.size())},
                                           std::vector<uint8_t>(words.begin(), words.end()))}},
                      metadata);
  }
};

TEST_CASE("token file: altered ids, words or splits are refused when the file is opened") {
  TempDir dir;
  const fs::path path = dir / "tokens";
  write(path, {2, 1, 0, 1, 3, 0});
  const std::string whole = read_text(path);
  const size_t ids = 8 + *reinterpret_cast<const uint64_t*>(whole.data());
  for (size_t at :
       {ids, ids + 12, ids + 6 * 4 + 6, whole.find("[[0,3]") + 4, whole.find("tokens_xxh3") + 14}) {
    CAPTURE(at);
    std::string altered = whole;
    altered[at] = altered[at] == '2' ? '1' : altered[at] < 32 ? 4 : '2';
    REQUIRE(altered != whole);
    write_text(path, altered);
    CHECK(contains(error_of([&] { TokenFile::open(path, "0123"); }),
                   path.string() + ": damaged: the xxh3 of its tokens"));
  }
  std::string zeros = whole;
  zeros.replace(ids, 6 * 4, 6 * 4, '\0');
  write_text(path, zeros);
  CHECK(contains(error_of([&] { TokenFile::open(path, "0123"); }), "remove it, and it is built again"));
  write_text(path, whole);
  CHECK_NOTHROW(TokenFile::open(path, "0123"));
}

TEST_CASE(
    "token file: the digest is that of ids, words and splits in the file, in whatever order they are written") {
  TempDir dir;
  write(dir / "a", {2, 1, 0, 1, 3, 0});
  {
    TokenFileWriter file(dir / "b", info_of(6), Vocabulary::of_words(kWords));
    file.write(4, std::vector<int32_t>{3, 0});
    file.write(0, std::vector<int32_t>{2, 1, 0, 1});
    file.commit();
  }
  CHECK(read_text(dir / "a") == read_text(dir / "b"));
  const std::string stated = SafetensorsFile::open(dir / "a").metadata().at("tokens_xxh3");
  CHECK(stated ==
        check_tokens("a", std::vector<int32_t>{2, 1, 0, 1, 3, 0}, 7, kWords, "[[0,3],[3,5],[5,6]]"));
  CHECK(check_tokens("", {}, 7, "", "") ==
        "99aa06d3014798d86001c324468d497f");  // xxhsum -H2 of an empty file
}

TEST_CASE("token file: files of earlier versions open, and their ids are checked too") {
  TempDir dir;
  const fs::path path = dir / "tokens";
  OldFile old;
  old.write(path);
  CHECK(TokenFile::open(path, "0123").ids()[0] == 2);
  for (const int32_t bad : {-1, 7, INT32_MIN, INT32_MAX}) {
    CAPTURE(bad);
    old.ids = {2, 1, bad, 1};
    old.write(path);
    const std::string message = error_of([&] { TokenFile::open(path, "0123"); });
    CHECK(contains(message, fmt::format("{}: id {} among tokens 0 .. 3 is outside of the vocabulary, 0 .. 6",
                                        path.string(), bad)));
  }
  old = {};
  old.ids = std::vector<int32_t>(40'000, 1);
  old.ids[39'999] = 7;  // in the last of several blocks
  old.write(path);
  CHECK(contains(error_of([&] { TokenFile::open(path, "0123"); }), "id 7 among tokens 32768 .. 39999"));
}

TEST_CASE("token file: a writer refuses ids outside of the vocabulary") {
  TempDir dir;
  CHECK(contains(error_of([&] { write(dir / "tokens", {0, 1, 2, 7}); }), "id 7 among tokens 0 .. 3"));
  CHECK(count(dir) == 0);
}

TEST_CASE("token file: ids at an odd offset are refused") {
  TempDir dir;
  const fs::path path = dir / "tokens";
  OldFile().write(path);
  std::string bytes = read_text(path);
  const uint64_t length = *reinterpret_cast<const uint64_t*>(bytes.data()) + 1;
  bytes.replace(0, 8, reinterpret_cast<const char*>(&length), 8);
  bytes.insert(7 + length, " ");
  write_text(path, bytes);
  CHECK(contains(error_of([&] { TokenFile::open(path, "0123"); }), "altered or damaged"));
  const DigestVerification off(false);
  CHECK(contains(error_of([&] { TokenFile::open(path, "0123"); }), "not at a multiple of 4"));
}

TEST_CASE("token file: words that make no vocabulary are refused with the name of the file") {
  TempDir dir;
  const fs::path path = dir / "tokens";
  for (const char* words : {"no newline", "<unk>\n<eos>\n\n", "<unk>\n<eos>\n<eos>\n", "<unk>\na\n"}) {
    CAPTURE(words);
    OldFile old;
    old.words = words;
    old.write(path);
    CHECK(contains(error_of([&] { TokenFile::open(path, "0123"); }),
                   path.string() + ": damaged: vocabulary: "));
  }
}

TEST_CASE("token file: splits are JSON within limits, and shown without control characters") {
  TempDir dir;
  const fs::path path = dir / "tokens";
  for (const std::string& splits :
       {std::string("[[[0,1]]]"), std::string(100'000, '['), std::string("{\"a\":0}"),
        std::string("[[0,1],[1,3]]"), std::string("[[0,1],[1,3],[3.5,4]]"),
        std::string("[[0,1],[1,3],[3,4],[4,4]]"), std::string("[[0],[1],[2]]"),
        "[[0,1],[1,3],[3,4]]" + std::string(2000, ' '), std::string("\x1b[31m"), std::string()}) {
    CAPTURE(splits.substr(0, 40));
    OldFile old;
    old.metadata["splits"] = splits;
    old.write(path);
    const std::string message = error_of([&] { TokenFile::open(path, "0123"); });
    CHECK(contains(message, "metadata \"splits\""));
    CHECK(message.find('\x1b') == std::string::npos);
    CHECK(message.size() < 1000);
  }
  OldFile old;
  for (const char* splits :
       {"[[0,1],[1,3],[3,18446744073709551615]]", "[[0,1],[3,1],[3,4]]", "[[-1,1],[1,3],[3,4]]"}) {
    old.metadata["splits"] = splits;
    old.write(path);
    CHECK(contains(error_of([&] { TokenFile::open(path, "0123"); }), "do not fit 4 tokens"));
  }
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
