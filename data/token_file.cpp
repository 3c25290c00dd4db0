// Writes and maps token files.
#include "tandem/data/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tandem/core/check.h"
#include "tandem/core/digest.h"
#include "tandem/core/json.h"
#include "tandem/core/safetensors.h"
#include "tandem/core/utf8.h"
#include "tandem/data/token_digest.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFormat = "tandem-tokens-1";
constexpr const char* kDigest = "tokens_xxh3";
constexpr size_t kLongestSplits = 1000;  // in bytes, of the metadata "splits"

std::string text_of(const std::array<TokenRange, 3>& splits) {
  nlohmann::json json;
  for (const TokenRange& split : splits) json.push_back({split.begin, split.end});
  return json.dump();
}

std::array<TokenRange, 3> splits_of(const std::string& text, const fs::path& path, int64_t tokens) {
  const nlohmann::json json =
      parse_json(text, path.string() + ": metadata \"splits\"", {.depth = 2, .bytes = kLongestSplits});
  const auto is_range = [](const nlohmann::json& pair) {
    return pair.is_array() && pair.size() == 2 && pair[0].is_number_integer() && pair[1].is_number_integer();
  };
  std::array<TokenRange, 3> splits;
  TANDEM_CHECK(
      json.is_array() && json.size() == splits.size() && std::all_of(json.begin(), json.end(), is_range),
      "{}: metadata \"splits\" cannot be read: {} is not the begin and end of three splits", path.string(),
      printable_start(text));
  for (size_t i = 0; i < splits.size(); ++i) splits[i] = {json[i][0], json[i][1]};
  for (const TokenRange& split : splits)
    TANDEM_CHECK(0 <= split.begin && split.begin <= split.end && split.end <= tokens,
                 "{}: metadata \"splits\" {} do not fit {} tokens", path.string(), printable_start(text),
                 tokens);
  return splits;
}

// Returns the name of the tensor that holds a vocabulary of this level.
const char* tensor_of_vocabulary(TokenUnit level) {
  return level == TokenUnit::word ? "words" : "subwords";
}

// Returns the vocabulary of a file. Error, which names the file: it is none.
Vocabulary vocabulary_of(TokenUnit level, std::string_view stored, const fs::path& path) {
  std::string reason;
  try {
    return Vocabulary::from_stored(level, stored);
  } catch (const Error& error) {
    reason = error.what();
  }
  detail::fail("{}: damaged: {}; remove it", path.string(), reason);
}

}  // namespace

// A read-only mapping of a whole file. The system loads its pages when they are used, and may drop them again.
class TokenFile::Mapping {
 public:
  // Error: the file cannot be mapped or is too short; the ids are not aligned.
  Mapping(const fs::path& path, uint64_t ids_begin, int64_t tokens)
      : bytes_(ids_begin + static_cast<uint64_t>(tokens) * sizeof(int32_t)),
        ids_begin_(ids_begin),
        tokens_(static_cast<size_t>(tokens)) {
    TANDEM_CHECK(ids_begin % alignof(int32_t) == 0,
                 "{}: damaged: its ids begin at byte {}, not at a multiple of {}; remove it", path.string(),
                 ids_begin, alignof(int32_t));
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    TANDEM_CHECK(file >= 0, "{}: cannot be mapped: {}", path.string(), std::strerror(errno));
    struct stat info {};
    const bool whole = fstat(file, &info) == 0 && static_cast<uint64_t>(info.st_size) >= bytes_;
    if (whole) base_ = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file, 0);
    const int error = errno;
    ::close(file);
    TANDEM_CHECK(whole, "{}: was truncated while it was opened", path.string());
    TANDEM_CHECK(base_ != MAP_FAILED, "{}: cannot be mapped: {}", path.string(), std::strerror(error));
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
    TANDEM_CHECK(found != file.metadata().end(), "{}: not a token file: no metadata \"{}\"", path.string(),
                 name);
    return found->second;
  };
  TANDEM_CHECK(field("format") == kFormat, "{}: not a token file of this version: its format is {}, not {}",
               path.string(), printable_start(field("format")), kFormat);
  TANDEM_CHECK(field("key") == key, "{}: holds other tokens: its key is {}, not {}; remove it", path.string(),
               printable_start(field("key")), key);
  const TokenUnit level =
      file.has(tensor_of_vocabulary(TokenUnit::subword)) ? TokenUnit::subword : TokenUnit::word;
  const char* const words = tensor_of_vocabulary(level);
  TANDEM_CHECK(file.dtype("ids") == DType::i32 && file.dtype(words) == DType::u8,
               "{}: not a token file: its ids are {} and its {} {}", path.string(),
               name_of(file.dtype("ids")), words, name_of(file.dtype(words)));
  const int64_t count = file.shape("ids").numel();
  TokenFile tokens;
  tokens.path_ = path;
  tokens.info_ = {.source = field("source"),
                  .key = key,
                  .splits = splits_of(field("splits"), path, count),
                  .tokens = count};
  const std::vector<uint8_t> bytes = file.get(words).to_vector<uint8_t>();
  const std::string_view stored(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  tokens.vocabulary_ = vocabulary_of(level, stored, path);
  tokens.mapping_ = std::make_shared<const Mapping>(path, file.offset("ids"), count);
  const std::string digest =
      check_tokens(path.string(), tokens.ids(), tokens.vocabulary_.size(), stored, field("splits"));
  if (verify_digests() && file.metadata().contains(kDigest))
    TANDEM_CHECK(
        field(kDigest) == digest,
        "{}: damaged: the xxh3 of its tokens is {}, and it states {}; remove it, and it is built again",
        path.string(), digest, printable_start(field(kDigest)));
  return tokens;
}

std::span<const int32_t> TokenFile::ids() const {
  return mapping_->ids();
}

TokenFileWriter::TokenFileWriter(const fs::path& path, const TokenFileInfo& info,
                                 const Vocabulary& vocabulary)
    : path_(path.string()),
      vocabulary_(vocabulary.stored()),
      splits_(text_of(info.splits)),
      vocabulary_size_(vocabulary.size()),
      tokens_(info.tokens),
      file_(path_) {
  TANDEM_CHECK(vocabulary.level() != TokenUnit::byte, "{}: a text of bytes needs no token file", path_);
  const std::string header = safetensors_header(
      path_,
      {{"ids", DType::i32, {tokens_}},
       {tensor_of_vocabulary(vocabulary.level()), DType::u8, {static_cast<int64_t>(vocabulary_.size())}}},
      {{"format", kFormat},
       {"source", info.source},
       {"key", info.key},
       {"splits", splits_},
       {kDigest, std::string(Digest::kCharacters, '0')}});
  const std::string before_digest = fmt::format("\"{}\":\"", kDigest);
  digest_begin_ = header.find(before_digest) + before_digest.size();
  file_.write(header);
  ids_begin_ = header.size();
  file_.write_at(ids_begin_ + static_cast<uint64_t>(tokens_) * sizeof(int32_t), vocabulary_.data(),
                 vocabulary_.size());
}

void TokenFileWriter::write(int64_t at, std::span<const int32_t> ids) {
  const auto count = static_cast<int64_t>(ids.size());
  TANDEM_CHECK(at >= 0 && at + count <= tokens_, "{}: tokens {} .. {} lie outside of the {} announced", path_,
               at, at + count - 1, tokens_);
  file_.write_at(ids_begin_ + static_cast<uint64_t>(at) * sizeof(int32_t), ids.data(), ids.size_bytes());
  written_ += count;
}

void TokenFileWriter::commit() {
  TANDEM_CHECK(written_ == tokens_, "{}: {} tokens were written of {} announced", path_, written_, tokens_);
  // The ids were written in any order, so their digest is that of what the file holds now.
  const TokenFile::Mapping written(path_ + ".tmp", ids_begin_, tokens_);
  const std::string digest = check_tokens(path_, written.ids(), vocabulary_size_, vocabulary_, splits_);
  file_.write_at(digest_begin_, digest.data(), digest.size());
  file_.commit();
}

}  // namespace tandem
