// Finds, makes and locks the data folder.
#include "tandem/data/download/data_dir.h"

#include <cstdlib>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"

namespace tandem {
namespace fs = std::filesystem;

fs::path default_data_dir() {
  const char* data = std::getenv("TANDEM_DATA");
  if (data && *data) return data;
  const char* home = std::getenv("HOME");
  return home && *home ? fs::path(home) / ".cache" / "tandem" : fs::path();
}

fs::path data_dir(const std::string& what, const fs::path& given) {
  const fs::path dir = given.empty() ? default_data_dir() : given;
  TANDEM_CHECK(
      !dir.empty(),
      "{}: neither TANDEM_DATA nor HOME is set; set TANDEM_DATA to the folder for downloaded corpora", what);
  return dir;
}

void make_data_dir(const fs::path& dir) {
  std::error_code error;
  fs::create_directories(dir, error);
  TANDEM_CHECK(!error, "{}: cannot be made: {}; set TANDEM_DATA to a folder that can", dir.string(),
               error.message());
}

FileLock lock_data_file(const fs::path& dir, const std::string& name, const CorpusProgress& progress) {
  const auto on_wait = [&progress](const std::string& holder) {
    if (progress) progress("waiting for " + printable_start(holder), 0, 0);
  };
  std::string failure;
  try {
    return FileLock((dir / ("." + name + ".lock")).string(), on_wait);
  } catch (const Error& error) {
    failure = error.what();
  }
  detail::fail("{}; set TANDEM_DATA to a folder that can", failure);
}

}  // namespace tandem
