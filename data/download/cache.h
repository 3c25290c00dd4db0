// The folder of downloaded corpora: where it is, what can be downloaded, and how a verified file gets there.
#pragma once
#include <array>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/download/download.h"
#include "data/download/files.h"

namespace tandem {

// Told what is going on ("downloading http://...", "unpacking enwik8"), bytes done and bytes in all (0 when
// unknown). It may throw to cancel; what was downloaded stays for the next time.
using CorpusProgress = std::function<void(std::string_view what, int64_t done, int64_t total)>;

// A file that is downloaded, once, and kept as DATA_DIR/NAME.
struct DownloadSpec {
  std::string name;
  std::vector<std::string> urls;      // mirrors in the order tried
  int64_t size = 0;                   // bytes; 0 where not known, of files that are not packed only
  Checksum content = {"sha256", ""};  // of the file; decides whether it is taken. No digest: any file is
  bool packed = false;  // comes as zip, gzip or plain, told apart by content, and is kept unpacked
  std::string archive_sha256 = {};  // of NAME.zip as its author packed it; shown when an archive is refused
};

// A corpus that is downloaded and read as bytes: one row of downloadable_corpora().
struct CorpusSpec {
  std::string name;               // also of the unpacked file, in the archive and in the cache
  std::vector<std::string> urls;  // mirrors in the order tried: zip, gzip or plain, told apart by content
  std::array<int64_t, 3> split_sizes;  // bytes of train, dev and test, in this order in the file
  Checksum content;                    // of the unpacked file; decides whether a file is taken
  std::string zip_sha256;  // of NAME.zip as its author packed it; shown when an archive is refused

  int64_t size() const { return split_sizes[0] + split_sizes[1] + split_sizes[2]; }
};

// enwik8 and text8.
const std::vector<CorpusSpec>& downloadable_corpora();

// $TANDEM_DATA, else ~/.cache/tandem; empty when neither TANDEM_DATA nor HOME is set.
std::filesystem::path default_data_dir();
// The folder given, or else the default one; throws, naming `what` needs it, when there is none.
std::filesystem::path data_dir(const std::string& what, const std::filesystem::path& given);
// Makes the folder where it is missing; throws when it cannot be made.
void make_data_dir(const std::filesystem::path& dir);

struct FetchOptions {
  std::filesystem::path data_dir;  // empty: default_data_dir()
  std::string url;                 // when given, tried instead of the mirrors
  CorpusProgress progress;
  DownloadOptions download;  // time-outs; its progress is not used
};

// The path of the verified file DATA_DIR/NAME. In this order: the file itself; where it comes packed,
// DATA_DIR/NAME.zip or NAME.gz put there by hand; the URLs. A file that fails its checksum is refused with
// the expected and the actual digest and renamed to *.bad, so that the next run does not meet it again.
// Processes that ask for one file at the same time wait for each other. Throws Error, when all URLs failed
// naming each with its reason, where to put the file, and the corpus that needs no download.
std::filesystem::path fetch_file(const DownloadSpec& spec, const FetchOptions& options);

// The same of a corpus: unpacked, verified.
std::filesystem::path fetch_corpus(const CorpusSpec& spec, const FetchOptions& options);

}  // namespace tandem
