// Downloads: what can be downloaded into the data folder, and how a verified file gets there.
#pragma once
#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/data/download/data_dir.h"
#include "tandem/data/download/download.h"
#include "tandem/data/download/files.h"

namespace tandem {

// A file that is downloaded once and kept as DATA_DIR/NAME.
struct DownloadSpec {
  std::string name;
  std::vector<std::string> urls;      // mirrors, in the order tried
  int64_t size = 0;                   // expected bytes; 0: not known (at most 4 GiB), allowed if not packed
  Checksum content = {"sha256", ""};  // expected checksum; empty: accept any file
  bool packed = false;              // arrives as zip, gzip or plain, told apart by content; is kept unpacked
  std::string archive_sha256 = {};  // the author's NAME.zip; shown if an archive is refused
};

// A corpus that is downloaded and read as bytes: one row of downloadable_corpora().
struct CorpusSpec {
  std::string name;               // also names the file, in the archive and in the data folder
  std::vector<std::string> urls;  // mirrors, in the order tried: zip, gzip or plain, told apart by content
  std::array<int64_t, 3> split_sizes;  // bytes of train, dev and test, which follow each other in the file
  Checksum content;                    // expected checksum of the unpacked file
  std::string zip_sha256;              // the author's NAME.zip; shown if an archive is refused

  int64_t size() const { return split_sizes[0] + split_sizes[1] + split_sizes[2]; }
};

// enwik8 and text8.
const std::vector<CorpusSpec>& downloadable_corpora();

struct FetchOptions {
  std::filesystem::path data_dir;  // empty: default_data_dir()
  std::string url;                 // unless empty, tried in place of the mirrors
  CorpusProgress progress;
  DownloadOptions download;  // time-outs; its progress is not used
};

// All URLs of a file failed. The message names each with its reason, where to put the file by hand, and the
// corpus that needs no download.
class DownloadError : public Error {
 public:
  DownloadError(const std::string& message, std::string file) : Error(message), file_(std::move(file)) {}
  const std::string& file() const { return file_; }  // name of the file to get elsewhere: "enwik8.zip"

 private:
  std::string file_;
};

// Returns the path of the verified file DATA_DIR/NAME. Looks, in this order, for the file itself; for
// DATA_DIR/NAME.zip or NAME.gz put there by hand, if it is packed; at the URLs. A file with a wrong checksum is
// renamed to *.bad, so that the next run does not find it. Processes that ask for one file at the same time
// wait for each other. A server that sends more than the file can have is stopped.
// Error: a file that is refused; the message has the expected and the actual checksum. DownloadError: all URLs
// failed.
std::filesystem::path fetch_file(const DownloadSpec& spec, const FetchOptions& options);

// Returns the path of a corpus's file, unpacked and verified. Error: as fetch_file().
std::filesystem::path fetch_corpus(const CorpusSpec& spec, const FetchOptions& options);

}  // namespace tandem
