// Writes and maps token files.
#include "data/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/safetensors.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFormat = "tandem-tokens-1";

std::string text_of(const std::array<TokenRange, 3>& splits) {
  nlohmann::json json;
  for (const TokenRange& split : splits) json.push_back({split.begin, split.end});
  return json.dump();
}

std::array<TokenRange, 3> splits_of(const std::string& text, const fs::path& path, int64_t tokens) {
  std::array<TokenRange, 3> splits;
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    for (size_t i = 0; i < splits.size(); ++i) splits[i] = {json.at(i).at(0), json.at(i).at(1)};
  } catch (const nlohmann::json::exception& error) {
    detail::fail("{}: metadata \"splits\" cannot be read: {}: {}", path.string(), error.what(), text);
  }
  for (const TokenRange& split : splits)
    CHECK(0 <= split.begin && split.begin <= split.end && split.end <= tokens,
          "{}: metadata \"splits\" {} do not fit {} tokens", path.string(), text, tokens);
  return splits;
}

}  // namespace

// A read-only mapping of a whole file. The system loads its pages when they are used, and may drop them again.
class TokenFile::Mapping {
 public:
  Mapping(const fs::path& path, uint64_t ids_begin, int64_t tokens)
      : bytes_(ids_begin + static_cast<uint64_t>(tokens) * sizeof(int32_t)),
        ids_begin_(ids_begin),
        tokens_(static_cast<size_t>(tokens)) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file >= 0) base_ = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file, 0);
    const int error = errno;
    if (file >= 0) ::close(file);
    CHECK(base_ != MAP_FAILED, "{}: cannot be mapped: {}", path.string(), std::strerror(error));
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { munmap(base_, bytes_); }

  std::span<const int32_t> ids() const {
    return {reinterpret_cast<const int32_t*>(static_cast<const char*>(base_) + ids_begin_), tokens_};
  }

 private:
  void* base_ = MAP_FAILED;
  size_t bytes_;
  uint64_t ids_begin_;
  size_t tokens_;
};

TokenFile TokenFile::open(const fs::path& path, const std::string& key) {
  const SafetensorsFile file = SafetensorsFile::open(path.string());
  const auto field = [&file, &path](const char* name) {
    const auto found = file.metadata().find(name);
    CHECK(found != file.metadata().end(), "{}: not a token file: no metadata \"{}\"", path.string(), name);
    return found->second;
  };
  CHECK(field("format") == kFormat, "{}: not a token file of this version: its format is {}, not {}",
        path.string(), field("format"), kFormat);
  CHECK(field("key") == key, "{}: holds other tokens: its key is {}, not {}; remove it", path.string(),
        field("key"), key);
  CHECK(file.dtype("ids") == DType::i32 && file.dtype("words") == DType::u8,
        "{}: not a token file: its ids are {} and its words {}", path.string(), name_of(file.dtype("ids")),
        name_of(file.dtype("words")));
  TokenFile tokens;
  tokens.path_ = path;
  tokens.info_ = {.source = field("source"),
                  .key = key,
                  .splits = splits_of(field("splits"), path, file.shape("ids").numel()),
                  .tokens = file.shape("ids").numel()};
  const std::vector<uint8_t> words = file.get("words").to_vector<uint8_t>();
  tokens.vocabulary_ = Vocabulary::of_words({reinterpret_cast<const char*>(words.data()), words.size()});
  tokens.mapping_ = std::make_shared<const Mapping>(path, file.offset("ids"), tokens.info_.tokens);
  return tokens;
}

std::span<const int32_t> TokenFile::ids() const {
  return mapping_->ids();
}

TokenFileWriter::TokenFileWriter(const fs::path& path, const TokenFileInfo& info, const WordVocabulary& words)
    : path_(path.string()), tokens_(info.tokens), file_(path_) {
  const std::string& text = words.text();
  const std::string header = safetensors_header(
      path_, {{"ids", DType::i32, {tokens_}}, {"words", DType::u8, {static_cast<int64_t>(text.size())}}},
      {{"format", kFormat}, {"source", info.source}, {"key", info.key}, {"splits", text_of(info.splits)}});
  file_.write(header);
  ids_begin_ = header.size();
  file_.write_at(ids_begin_ + static_cast<uint64_t>(tokens_) * sizeof(int32_t), text.data(), text.size());
}

void TokenFileWriter::write(int64_t at, std::span<const int32_t> ids) {
  const auto count = static_cast<int64_t>(ids.size());
  CHECK(at >= 0 && at + count <= tokens_, "{}: tokens {} .. {} lie outside of the {} announced", path_, at,
        at + count - 1, tokens_);
  file_.write_at(ids_begin_ + static_cast<uint64_t>(at) * sizeof(int32_t), ids.data(), ids.size_bytes());
  written_ += count;
}

void TokenFileWriter::commit() {
  CHECK(written_ == tokens_, "{}: {} tokens were written of {} announced", path_, written_, tokens_);
  file_.commit();
}

}  // namespace tandem
