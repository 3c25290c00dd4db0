// Builds the files of a text's subwords.
#include "tandem/data/subwords/build_token_file.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/parallel.h"
#include "tandem/core/safetensors.h"
#include "tandem/data/download/files.h"
#include "tandem/data/keyed_file.h"
#include "tandem/data/subwords/learn.h"
#include "tandem/data/subwords/units.h"
#include "tandem/data/text_file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr const char* kModel = "subwords";  // the tensor of a vocabulary's file
constexpr const char* kFormat = "tandem-subwords-1";
constexpr size_t kBlockBytes = size_t{1} << 22;

// Cuts a text after newlines into blocks of about kBlockBytes. A line is never cut.
std::vector<std::string_view> blocks_of(std::string_view text) {
  std::vector<std::string_view> blocks;
  while (!text.empty()) {
    const size_t newline = text.size() > kBlockBytes ? text.find('\n', kBlockBytes) : std::string_view::npos;
    blocks.push_back(text.substr(0, newline == std::string_view::npos ? newline : newline + 1));
    text.remove_prefix(blocks.back().size());
  }
  return blocks;
}

class SubwordFiles {
 public:
  SubwordFiles(const SubwordSource& source, const SubwordOptions& options)
      : source_(source), options_(options), dir_(data_dir(source.name, options.data_dir)) {}

  TokenFile open_or_build() {
    const Vocabulary vocabulary = options_.vocabulary ? *options_.vocabulary : own_vocabulary();
    const std::string key = token_file_key(source_, vocabulary);
    const fs::path path = keyed_file(dir_, source_.name, key, ".tokens");
    build_once(path, options_.progress, [&] { write_tokens(path, key, vocabulary); });
    return TokenFile::open(path, key);
  }

 private:
  Vocabulary own_vocabulary() {
    const int64_t size = options_.size == 0 ? kDefaultSubwords : options_.size;
    // Increase the number in "subwords 1" when the way of cutting text into units, or of learning from them, changes.
    const std::string key =
        sha256_of(fmt::format("subwords 1\n{}\n{}\n{}", source_.sha256, source_.train_end, size));
    const fs::path path = keyed_file(dir_, source_.name, key, ".subwords");
    build_once(path, options_.progress, [&] {
      progress(fmt::format("learning {} subwords of {}", size, source_.name), 0);
      const std::string model = learn_subwords(count_units(parts()[0]), size, source_.name);
      write_safetensors(path.string(),
                        {{kModel, tensor_of({static_cast<int64_t>(model.size())},
                                            std::vector<uint8_t>(model.begin(), model.end()))}},
                        {{"format", kFormat}, {"key", key}});
    });
    return read_vocabulary(path, key);
  }

  static Vocabulary read_vocabulary(const fs::path& path, const std::string& key) {
    std::string reason;
    try {
      const SafetensorsFile file = SafetensorsFile::open(path.string());
      const auto& fields = file.metadata();
      TANDEM_CHECK(fields.contains("key") && fields.at("key") == key && file.dtype(kModel) == DType::u8,
                   "it holds another vocabulary, or none");
      file.require_digests();
      const std::vector<uint8_t> model = file.get(kModel).to_vector<uint8_t>();
      return Vocabulary::of_subwords({reinterpret_cast<const char*>(model.data()), model.size()});
    } catch (const Error& error) {
      reason = error.what();
    }
    detail::fail("{}: damaged: {}; remove it, and it is made again", path.string(), reason);
  }

  void write_tokens(const fs::path& path, const std::string& key, const Vocabulary& vocabulary) {
    std::array<std::vector<std::vector<int32_t>>, 3> ids;  // of each block of each part
    TokenFileInfo info{.source = "sha256:" + source_.sha256, .key = key, .splits = {}, .tokens = 0};
    for (size_t split = 0; split < ids.size(); ++split) {
      ids[split] = encode(parts()[split], vocabulary.subwords());
      info.splits[split].begin = info.tokens;
      for (const std::vector<int32_t>& block : ids[split]) info.tokens += static_cast<int64_t>(block.size());
      info.splits[split].end = info.tokens;
    }
    TokenFileWriter file(path, info, vocabulary);
    int64_t at = 0;
    for (const auto& blocks : ids)
      for (const std::vector<int32_t>& block : blocks) {
        file.write(at, block);
        at += static_cast<int64_t>(block.size());
      }
    file.commit();
  }

  // Returns the ids of each block of a text. The blocks depend on the text alone, and threads share them.
  std::vector<std::vector<int32_t>> encode(std::string_view text, const SubwordVocabulary& vocabulary) {
    const std::vector<std::string_view> blocks = blocks_of(text);
    const int64_t at_a_time = 2 * cpu::max_threads(), count = std::ssize(blocks);
    std::vector<std::vector<int32_t>> ids(blocks.size());
    for (int64_t first = 0; first < count; first += at_a_time) {
      cpu::parallel_for(std::min(at_a_time, count - first), true, [&](int64_t i) {
        const auto block = static_cast<size_t>(first + i);
        ids[block] = vocabulary.encode(blocks[block]);
      });
      for (int64_t i = first; i < std::min(count, first + at_a_time); ++i)
        encoded_ += static_cast<int64_t>(blocks[static_cast<size_t>(i)].size());
      progress(fmt::format("encoding the subwords of {}", source_.name), encoded_);
    }
    return ids;
  }

  // Returns train, dev and test, and reads the text if that was not done yet.
  std::array<std::string_view, 3> parts() {
    if (!read_) {
      TextFile file(source_.path);
      text_ = read_text(file);
      const std::string found = checksum("sha256", text_);
      TANDEM_CHECK(found == source_.sha256,
                   "{}: was altered while it was read: its sha256 is {} now, and was {}; try again",
                   source_.path.string(), found, source_.sha256);
      read_ = true;
    }
    const std::string_view text(reinterpret_cast<const char*>(text_.data()), text_.size());
    const auto train_end = static_cast<size_t>(source_.train_end),
               dev_end = static_cast<size_t>(source_.dev_end);
    return {text.substr(0, train_end), text.substr(train_end, dev_end - train_end), text.substr(dev_end)};
  }

  void progress(const std::string& what, int64_t bytes) const {
    if (options_.progress) options_.progress(what, bytes, 0);
  }

  const SubwordSource& source_;
  const SubwordOptions& options_;
  fs::path dir_;
  std::vector<uint8_t> text_;
  bool read_ = false;
  int64_t encoded_ = 0;  // bytes
};

}  // namespace

std::string token_file_key(const SubwordSource& source, const Vocabulary& vocabulary) {
  return sha256_of(fmt::format("tokens of subwords 1\n{}\n{} {}\n{}", source.sha256, source.train_end,
                               source.dev_end, sha256_of(vocabulary.subwords().model())));
}

TokenFile load_subword_file(const SubwordSource& source, const SubwordOptions& options) {
  return SubwordFiles(source, options).open_or_build();
}

}  // namespace tandem
