// Token files: any bytes are one or an Error; every id can be decoded or is refused; one that was read can be written and
// read back.
#include "tandem/data/token_file.h"

#include <algorithm>
#include <optional>

#include "mutators.h"
#include "support.h"

namespace tandem::fuzz {
namespace {

constexpr const char* kKey = "key";  // of the seeds

bool same(const TokenFile& a, const TokenFile& b) {
  return a.info().source == b.info().source && a.info().splits == b.info().splits &&
         a.vocabulary() == b.vocabulary() && std::ranges::equal(a.ids(), b.ids());
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  return tandem::fuzz::mutate_safetensors(data, size, max_size, seed, "token_file");
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem;
  using namespace tandem::fuzz;
  std::optional<TokenFile> file;
  const std::string path = file_of(data, size);
  if (!accepts([&] { file = TokenFile::open(path, kKey); })) return 0;

  const auto ids = file->ids();
  require(std::ssize(ids) == file->info().tokens, "a file has as many ids as it says");
  for (const TokenRange& split : file->info().splits)
    require(0 <= split.begin && split.begin <= split.end && split.end <= file->info().tokens,
            "a split lies in the text");
  accepts([&] { file->vocabulary().decode(ids); });

  const std::string again = scratch_file("again");
  TokenFileWriter writer(again, file->info(), file->vocabulary());
  writer.write(0, ids);
  writer.commit();
  std::optional<TokenFile> back;
  // The writer does not look at ids; a reader may refuse those that the vocabulary lacks.
  if (accepts([&] { back = TokenFile::open(again, kKey); }))
    require(same(*file, *back), "a token file comes back");
  return 0;
}
