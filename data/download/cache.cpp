// The table of known downloads, and the way from a mirror to a verified file in the data folder.
#include "tandem/data/download/cache.h"

#include <fmt/format.h>

#include "tandem/core/check.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kLargestUnknown = int64_t{4} << 30;  // bytes of a file whose size is not known

bool is_file(const fs::path& path) {
  std::error_code missing;
  return fs::is_regular_file(path, missing);
}

// Renames a refused file to `bad`. Returns a text that says where it is.
std::string set_aside(const fs::path& path, const fs::path& bad) {
  std::error_code error;
  fs::rename(path, bad, error);
  return error ? fmt::format("remove {}", path.string()) : fmt::format("it is now {}", bad.string());
}

class Fetch {
 public:
  Fetch(const DownloadSpec& spec, const FetchOptions& options)
      : spec_(spec),
        options_(options),
        dir_(data_dir(spec.name, options.data_dir)),
        target_(dir_ / spec.name) {}

  fs::path run() {
    if (use_target()) return target_;  // first, because it works in a read-only folder, too
    make_data_dir(dir_);
    const FileLock lock = lock_data_file(dir_, spec_.name, options_.progress);
    if (use_target() || (spec_.packed && (use_archive(".zip") || use_archive(".gz")))) return target_;
    download_any();
    return target_;
  }

 private:
  void report(const std::string& what, int64_t done, int64_t total) const {
    if (options_.progress) options_.progress(what, done, total);
  }

  bool is_right(const std::string& digest) const {
    return spec_.content.hex.empty() || digest == spec_.content.hex;
  }
  // Returns "it has 10 bytes with md5 0a.., expected are 20 bytes with 0b..".
  std::string mismatch(const char* subject, uintmax_t size, const std::string& digest) const {
    const std::string expected = spec_.size > 0 ? fmt::format("are {} bytes with ", spec_.size) : "is ";
    return fmt::format("{} {} bytes with {} {}, expected {}{}", subject, size, spec_.content.algorithm,
                       digest, expected, spec_.content.hex);
  }

  // Returns whether the file is there. Error: its checksum is wrong.
  bool use_target() const {
    if (!is_file(target_)) return false;
    const std::string actual = file_checksum(spec_.content.algorithm, target_);
    if (is_right(actual)) return true;
    const std::string reason = mismatch("it has", fs::file_size(target_), actual);
    const std::string fate = set_aside(target_, target_.string() + ".bad");
    tandem::detail::fail("{}: {} is truncated or altered: {}; {}, and the next run downloads it again",
                         spec_.name, target_.string(), reason, fate);
  }

  // Unpacks an archive that was put there by hand, and keeps it. Returns whether there is one. Error: its
  // content is wrong.
  bool use_archive(const std::string& extension) const {
    const fs::path archive = target_.string() + extension;
    if (!is_file(archive)) return false;
    const std::string reason = install(archive);
    if (reason.empty()) return true;
    const std::string fate = set_aside(archive, archive.string() + ".bad");
    tandem::detail::fail("{}: {} is truncated or altered: {}; {}, and the next run downloads it again",
                         spec_.name, archive.string(), reason, fate);
  }

  // Verifies a file, unpacked if need be, and moves it into place. Returns the reason if it is refused, else "".
  std::string install(const fs::path& file) const {
    if (spec_.packed) return install_unpacked(file);
    const std::string digest = file_checksum(spec_.content.algorithm, file);
    if (!is_right(digest)) return mismatch("it has", fs::file_size(file), digest);
    commit_file(file, target_);
    return {};
  }

  std::string install_unpacked(const fs::path& archive) const {
    const fs::path temporary = target_.string() + ".unpacking";
    const std::string what = "unpacking " + spec_.name;
    std::string reason;
    try {
      const Unpacked unpacked =
          unpack(archive, spec_.name, temporary, spec_.size, spec_.content.algorithm,
                 [this, &what](int64_t done, int64_t total) { report(what, done, total); });
      if (is_right(unpacked.checksum)) {
        commit_file(temporary, target_);
        return {};
      }
      std::error_code ignored;
      fs::remove(temporary, ignored);
      reason = mismatch("its content,", static_cast<uintmax_t>(unpacked.size), unpacked.checksum);
    } catch (const CorruptArchive& error) {
      reason = error.what();
    }
    return fmt::format("{}; the archive, {} bytes, has sha256 {}, the author's {}.zip has {}", reason,
                       fs::file_size(archive), file_checksum("sha256", archive), spec_.name,
                       spec_.archive_sha256);
  }

  // Returns the most bytes that a server may send. Packing makes a text longer by a few bytes in each block, and
  // archives have headers.
  int64_t max_download() const {
    if (spec_.size == 0) return kLargestUnknown;
    return spec_.packed ? spec_.size + spec_.size / 100 + (int64_t{1} << 20) : spec_.size;
  }

  // Downloads `url` and installs the file. Returns the reason if that fails, else "".
  std::string try_url(const std::string& url) const {
    const std::string stem = target_.string() + (spec_.packed ? ".zip" : "");
    const fs::path part = stem + ".part";
    DownloadOptions download_options = options_.download;
    download_options.max_bytes = max_download();
    const std::string what = "downloading " + url_for_message(url);
    download_options.progress = [this, &what](int64_t done, int64_t total) { report(what, done, total); };
    while (true) {
      const DownloadResult result = download(url, part, download_options);
      if (!result.failure.empty()) return result.failure;
      const std::string reason = install(part);
      std::error_code ignored;
      if (reason.empty() || result.resumed) fs::remove(part, ignored);
      if (reason.empty()) return {};
      // The part that an earlier run left may belong to another file, so try once more from the beginning.
      if (result.resumed) continue;
      return fmt::format("refused: {}; {}", reason, set_aside(part, stem + ".bad"));
    }
  }

  void download_any() const {
    const std::vector<std::string> urls = options_.url.empty() ? spec_.urls : std::vector{options_.url};
    std::string failures;
    for (const std::string& url : urls) {
      const std::string reason = try_url(url);
      if (reason.empty()) return;
      failures += fmt::format("\n  {}: {}", url_for_message(url), reason);
    }
    const std::string archive = spec_.packed ? spec_.name + ".zip" : spec_.name;
    throw DownloadError(
        fmt::format(
            "{0}: could not be downloaded; tried{1}\nWithout a network: put {2} into {3} (set TANDEM_DATA for "
            "another folder), or give the URL of a copy, or use the corpus gcide, which needs no download.",
            spec_.name, failures, spec_.packed ? spec_.name + " or " + archive : archive, dir_.string()),
        archive);
  }

  const DownloadSpec& spec_;
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

fs::path fetch_file(const DownloadSpec& spec, const FetchOptions& options) {
  return Fetch(spec, options).run();
}

fs::path fetch_corpus(const CorpusSpec& spec, const FetchOptions& options) {
  return fetch_file({.name = spec.name,
                     .urls = spec.urls,
                     .size = spec.size(),
                     .content = spec.content,
                     .packed = true,
                     .archive_sha256 = spec.zip_sha256},
                    options);
}

}  // namespace tandem
