// Known downloads and their checksums; the way from a mirror to a verified file in the cache.
#include "data/corpus_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/check.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

bool is_file(const fs::path& path) {
  std::error_code missing;
  return fs::exists(path, missing) && !missing;
}

// Holds DATA_DIR/.NAME.lock for one process at a time. Where the file system has no locks, goes on without.
class FileLock {
 public:
  explicit FileLock(const fs::path& path)
      : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    CHECK(descriptor_ >= 0, "{}: cannot be written: {}; set TANDEM_DATA to a folder that can",
          path.parent_path().string(), std::strerror(errno));
    while (::flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() { ::close(descriptor_); }

 private:
  int descriptor_;
};

// Renames a refused file to `bad`; says what became of it.
std::string set_aside(const fs::path& path, const fs::path& bad) {
  std::error_code error;
  fs::rename(path, bad, error);
  return error ? fmt::format("remove {}", path.string()) : fmt::format("it is now {}", bad.string());
}

class Fetch {
 public:
  Fetch(const CorpusSpec& spec, const FetchOptions& options)
      : spec_(spec),
        options_(options),
        dir_(options.data_dir.empty() ? default_data_dir() : options.data_dir),
        target_(dir_ / spec.name) {}

  fs::path run() {
    CHECK(!dir_.empty(),
          "{}: neither TANDEM_DATA nor HOME is set; set TANDEM_DATA to the folder for downloaded corpora",
          spec_.name);
    if (use_target()) return target_;  // before anything is written: the folder may be read-only
    std::error_code error;
    fs::create_directories(dir_, error);
    CHECK(!error, "{}: cannot be made: {}; set TANDEM_DATA to a folder that can", dir_.string(),
          error.message());
    const FileLock lock(dir_ / ("." + spec_.name + ".lock"));
    if (use_target() || use_archive(".zip") || use_archive(".gz")) return target_;
    download_any();
    return target_;
  }

 private:
  void tell(const std::string& what, int64_t done, int64_t total) const {
    if (options_.progress) options_.progress(what, done, total);
  }

  // Whether the unpacked file is there; throws when it is another one.
  bool use_target() const {
    if (!is_file(target_)) return false;
    const std::string actual = file_checksum(spec_.content.algorithm, target_);
    if (actual == spec_.content.hex) return true;
    const auto size = fs::file_size(target_);
    const std::string fate = set_aside(target_, target_.string() + ".bad");
    tandem::detail::fail(
        "{}: {} is truncated or altered: it has {} bytes with {} {}, expected are {} bytes with {}; {}, and "
        "the next "
        "run downloads it again",
        spec_.name, target_.string(), size, spec_.content.algorithm, actual, spec_.size(), spec_.content.hex,
        fate);
  }

  // Whether an archive put there by hand was unpacked; throws when it is another one. A good one is left.
  bool use_archive(const std::string& extension) const {
    const fs::path archive = target_.string() + extension;
    if (!is_file(archive)) return false;
    const std::string reason = install(archive);
    if (reason.empty()) return true;
    const std::string fate = set_aside(archive, archive.string() + ".bad");
    tandem::detail::fail("{}: {} is truncated or altered: {}; {}, and the next run downloads it again",
                         spec_.name, archive.string(), reason, fate);
  }

  // Unpacks, verifies and moves into place; gives the reason when the archive is refused.
  std::string install(const fs::path& archive) const {
    const fs::path temporary = target_.string() + ".unpacking";
    const std::string what = "unpacking " + spec_.name;
    std::string reason;
    try {
      const Unpacked unpacked =
          unpack(archive, spec_.name, temporary, spec_.size(), spec_.content.algorithm,
                 [this, &what](int64_t done, int64_t total) { tell(what, done, total); });
      if (unpacked.checksum == spec_.content.hex) {
        commit_file(temporary, target_);
        return {};
      }
      std::error_code ignored;
      fs::remove(temporary, ignored);
      reason = fmt::format("its content, {} bytes, has {} {}, expected are {} bytes with {}", unpacked.size,
                           spec_.content.algorithm, unpacked.checksum, spec_.size(), spec_.content.hex);
    } catch (const CorruptArchive& error) {
      reason = error.what();
    }
    return fmt::format("{}; the archive, {} bytes, has sha256 {}, the author's {}.zip has {}", reason,
                       fs::file_size(archive), file_checksum("sha256", archive), spec_.name,
                       spec_.zip_sha256);
  }

  // Downloads `url` and installs it; gives the reason when that fails.
  std::string try_url(const std::string& url) const {
    const fs::path part = target_.string() + ".zip.part";
    DownloadOptions download_options = options_.download;
    const std::string what = "downloading " + url;
    download_options.progress = [this, &what](int64_t done, int64_t total) { tell(what, done, total); };
    while (true) {
      const DownloadResult result = download(url, part, download_options);
      if (!result.failure.empty()) return result.failure;
      const std::string reason = install(part);
      std::error_code ignored;
      if (reason.empty() || result.resumed) fs::remove(part, ignored);
      if (reason.empty()) return {};
      // What an earlier run had left may have come from another file: once more, from the beginning.
      if (result.resumed) continue;
      return fmt::format("refused: {}; {}", reason, set_aside(part, target_.string() + ".zip.bad"));
    }
  }

  void download_any() const {
    const std::vector<std::string> urls = options_.url.empty() ? spec_.urls : std::vector{options_.url};
    std::string failures;
    for (const std::string& url : urls) {
      const std::string reason = try_url(url);
      if (reason.empty()) return;
      failures += fmt::format("\n  {}: {}", url, reason);
    }
    tandem::detail::fail(
        "{0}: could not be downloaded; tried{1}\nWith no network: put {0} or {0}.zip into {2} (set "
        "TANDEM_DATA for "
        "another folder), or name a copy by --url=file:///path/to/{0}.zip, or run `train gcide`, which needs "
        "no "
        "download.",
        spec_.name, failures, dir_.string());
  }

  const CorpusSpec& spec_;
  const FetchOptions& options_;
  fs::path dir_;
  fs::path target_;
};

}  // namespace

const std::vector<CorpusSpec>& downloadable_corpora() {
  static const std::vector<CorpusSpec> corpora = {
      {.name = "enwik8",
       .urls = {"https://mattmahoney.net/dc/enwik8.zip", "http://mattmahoney.net/dc/enwik8.zip",
                "https://data.deepai.org/enwik8.zip", "http://cs.fit.edu/~mmahoney/compression/enwik8.zip"},
       .split_sizes = {90'000'000, 5'000'000, 5'000'000},
       .content = {"sha256", "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"},
       .zip_sha256 = "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"},
      {.name = "text8",
       .urls = {"https://mattmahoney.net/dc/text8.zip", "http://mattmahoney.net/dc/text8.zip",
                "https://data.deepai.org/text8.zip",
                "https://github.com/RaRe-Technologies/gensim-data/releases/download/text8/text8.gz"},
       .split_sizes = {90'000'000, 5'000'000, 5'000'000},
       .content = {"md5", "3bea1919949baf155f99411df5fada7e"},
       .zip_sha256 = "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232"},
  };
  return corpora;
}

fs::path default_data_dir() {
  const char* data = std::getenv("TANDEM_DATA");
  if (data && *data) return data;
  const char* home = std::getenv("HOME");
  return home && *home ? fs::path(home) / ".cache" / "tandem" : fs::path();
}

fs::path fetch_corpus(const CorpusSpec& spec, const FetchOptions& options) {
  return Fetch(spec, options).run();
}

}  // namespace tandem
