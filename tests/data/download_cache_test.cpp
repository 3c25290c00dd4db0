// A small corpus on its way into the data folder, over file:// URLs: mirrors, resumption, and every kind of bad
// file.
#include "tandem/data/download/cache.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

// A corpus "small8" of 100,000 bytes, its zip on a "server" folder, and an empty cache.
struct Fixture {
  TempDir server;
  TempDir cache;
  std::string text = noisy_text(100'000);
  fs::path zip = server / "small8.zip";
  CorpusSpec spec;

  Fixture() {
    write_zip(zip, "small8", text);
    spec = {.name = "small8",
            .urls = {url(zip)},
            .split_sizes = {90'000, 5'000, 5'000},
            .content = {"sha256", checksum("sha256", as_bytes(text))},
            .zip_sha256 = file_checksum("sha256", zip)};
  }
  static std::string url(const fs::path& path) { return "file://" + path.string(); }
  fs::path target() const { return cache / "small8"; }
  FetchOptions options(const std::string& override_url = "") const {
    return {.data_dir = cache.path(), .url = override_url, .progress = {}, .download = {}};
  }
  fs::path fetch(const std::string& override_url = "") const {
    return fetch_corpus(spec, options(override_url));
  }
  std::string failure(const std::string& override_url = "") const {
    return error_of([&] { fetch(override_url); });
  }
  bool cached() const { return fs::exists(target()) && read_text(target()) == text; }
  // Returns the names of the files in the data folder, without the lock.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(cache.path()))
      if (entry.path().filename() != ".small8.lock") names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  using Names = std::vector<std::string>;
};

TEST_CASE("corpus cache: downloads, verifies, unpacks, and leaves only the corpus") {
  Fixture f;
  std::vector<std::string> stages;
  FetchOptions options = f.options();
  options.progress = [&](std::string_view what, int64_t done, int64_t total) {
    if (stages.empty() || stages.back() != what) stages.emplace_back(what);
    CHECK(done <= total);
  };
  CHECK(fetch_corpus(f.spec, options) == f.target());
  CHECK(f.cached());
  CHECK(f.files() == Fixture::Names{"small8"});
  CHECK(stages == Fixture::Names{"downloading " + f.spec.urls[0], "unpacking small8"});
}

TEST_CASE("corpus cache: a file already there is used without any URL") {
  Fixture f;
  f.spec.urls = {"http://127.0.0.1:1/small8.zip"};
  SUBCASE("unpacked") {
    write_text(f.target(), f.text);
  }
  SUBCASE("zip") {
    fs::copy(f.zip, f.cache / "small8.zip");
  }
  SUBCASE("gzip") {
    write_gzip(f.cache / "small8.gz", f.text);
  }
  const auto before = f.files();
  CHECK(f.fetch() == f.target());
  CHECK(f.cached());
  for (const std::string& name : before) CHECK(fs::exists(f.cache / name));  // what the user put there stays
  CHECK(f.fetch() == f.target());
}

TEST_CASE("corpus cache: an unpacked file in a read-only folder is used") {
  Fixture f;
  write_text(f.target(), f.text);
  fs::permissions(f.cache.path(), fs::perms::owner_read | fs::perms::owner_exec);
  CHECK(f.fetch() == f.target());
  CHECK(f.files() == Fixture::Names{"small8"});
  CHECK_FALSE(fs::exists(f.cache / ".small8.lock"));
  fs::permissions(f.cache.path(), fs::perms::owner_all);
}

TEST_CASE("corpus cache: mirrors are tried in order") {
  Fixture f;
  const fs::path altered = f.server / "altered.zip";
  write_zip(altered, "small8", noisy_text(100'000, 2));
  f.spec.urls = {"http://127.0.0.1:1/small8.zip", Fixture::url(f.server / "absent.zip"),
                 Fixture::url(altered), Fixture::url(f.zip), "http://127.0.0.1:1/never-reached.zip"};
  const ScopedEnv no_proxy("no_proxy", "*");
  CHECK(f.fetch() == f.target());
  CHECK(f.cached());
  CHECK(f.files() == Fixture::Names{"small8", "small8.zip.bad"});
}

TEST_CASE("corpus cache: a mirror may pack the same content in its own way") {
  Fixture f;
  SUBCASE("gzip") {
    write_gzip(f.server / "other", f.text);
  }
  SUBCASE("plain") {
    write_text(f.server / "other", f.text);
  }
  SUBCASE("zip with a folder") {
    write_zip(f.server / "other", "folder/small8", f.text);
  }
  CHECK(f.fetch(Fixture::url(f.server / "other")) == f.target());
  CHECK(f.cached());
}

TEST_CASE("corpus cache: without a network, one error says all") {
  Fixture f;
  const ScopedEnv no_proxy("no_proxy", "*");
  f.spec.urls = {"http://127.0.0.1:1/a/small8.zip", "http://127.0.0.1:1/b/small8.zip",
                 "http://no-such-host.invalid/small8.zip"};
  const std::string message = f.failure();
  CHECK(contains(message, "small8: could not be downloaded"));
  for (const std::string& url : f.spec.urls) CHECK(contains(message, "\n  " + url + ": "));
  CHECK(contains(message, "onnect"));  // curl's reason: "Failed to connect", "Couldn't connect"
  CHECK(contains(message, "no-such-host.invalid"));
  CHECK(contains(message, "put small8 or small8.zip into " + f.cache.path().string()));
  CHECK(contains(message, "TANDEM_DATA"));
  CHECK(contains(message, "give the URL of a copy"));
  CHECK(contains(message, "the corpus gcide, which needs no download"));
  try {
    f.fetch();
    FAIL("nothing was thrown");
  } catch (const DownloadError& error) {
    CHECK(error.file() == "small8.zip");
  }
  CHECK(f.files().empty());
}

TEST_CASE("corpus cache: the URL given replaces the mirrors, and its content is verified") {
  Fixture f;
  f.spec.urls = {"http://127.0.0.1:1/small8.zip"};
  CHECK(f.fetch(Fixture::url(f.zip)) == f.target());
  CHECK(f.cached());

  Fixture g;
  const std::string other = noisy_text(100'000, 3);
  const fs::path altered = g.server / "altered.zip";
  write_zip(altered, "small8", other);
  const std::string message = g.failure(Fixture::url(altered));
  CHECK(contains(message, Fixture::url(altered) + ": refused: "));
  CHECK_FALSE(message.find(g.spec.urls[0]) != std::string::npos);
  CHECK(contains(message, checksum("sha256", as_bytes(other))));
  CHECK(contains(message, g.spec.content.hex));
  CHECK(contains(message, file_checksum("sha256", altered)));
  CHECK(contains(message, g.spec.zip_sha256));
  CHECK(g.files() == Fixture::Names{"small8.zip.bad"});
  CHECK(contains(message, (g.cache / "small8.zip.bad").string()));
  CHECK(g.fetch() == g.target());  // the refused file does not block the next try
  CHECK(g.cached());
}

TEST_CASE("corpus cache: a truncated download is refused with both checksums") {
  Fixture f;
  const std::string whole = read_text(f.zip);
  for (const size_t left : {whole.size() - 1, whole.size() / 2, size_t{10}, size_t{0}}) {
    CAPTURE(left);
    write_text(f.zip, whole.substr(0, left));
    const std::string message = f.failure();
    CHECK(contains(message, "refused: "));
    CHECK(contains(message, file_checksum("sha256", f.zip)));
    CHECK(contains(message, f.spec.zip_sha256));
    CHECK(contains(message, std::to_string(left) + " bytes"));
    CHECK_FALSE(fs::exists(f.target()));
  }
  write_text(f.zip, whole);
  f.fetch();
  CHECK(f.cached());
}

TEST_CASE("corpus cache: an altered download of the right length is refused") {
  Fixture f;
  std::string bytes = read_text(f.zip);
  bytes[bytes.size() / 2] ^= 1;
  write_text(f.zip, bytes);
  CHECK(contains(f.failure(), "zip archive is truncated or altered"));
  write_zip(f.zip, "small8", f.text + "x");
  CHECK(contains(f.failure(), "more than the 100000 bytes expected"));
  write_zip(f.zip, "small8", f.text.substr(1));
  CHECK(contains(f.failure(), "its content, 99999 bytes"));
  write_zip(f.zip, "big8", f.text);
  CHECK(contains(f.failure(), "holds no file named 'small8'"));
  write_text(f.zip, "<html>Log in to the hotel's network</html>");
  CHECK(contains(f.failure(), "its content, 42 bytes"));
  CHECK(f.files() == Fixture::Names{"small8.zip.bad"});
}

TEST_CASE(
    "corpus cache: files put there by hand are refused when truncated or altered, and do not stay in the way") {
  Fixture f;
  SUBCASE("unpacked, truncated") {
    write_text(f.target(), f.text.substr(0, 99'000));
    const std::string message = f.failure();
    CHECK(contains(
        message, "it has 99000 bytes with sha256 " + checksum("sha256", as_bytes(f.text.substr(0, 99'000)))));
    CHECK(contains(message, "expected are 100000 bytes with " + f.spec.content.hex));
    CHECK(contains(message, "it is now " + f.target().string() + ".bad"));
    CHECK(f.files() == Fixture::Names{"small8.bad"});
  }
  SUBCASE("unpacked, altered") {
    std::string altered = f.text;
    altered[5] = '#';
    write_text(f.target(), altered);
    CHECK(contains(f.failure(), checksum("sha256", as_bytes(altered))));
    CHECK(f.files() == Fixture::Names{"small8.bad"});
  }
  SUBCASE("zip, truncated") {
    const std::string half = read_text(f.zip).substr(0, 40'000);
    write_text(f.cache / "small8.zip", half);
    const std::string message = f.failure();
    CHECK(contains(message, (f.cache / "small8.zip").string() + " is truncated or altered"));
    CHECK(contains(message, checksum("sha256", as_bytes(half))));
    CHECK(contains(message, f.spec.zip_sha256));
    CHECK(f.files() == Fixture::Names{"small8.zip.bad"});
  }
  f.fetch();
  CHECK(f.cached());
}

TEST_CASE("corpus cache: a download goes on from what an earlier run left") {
  Fixture f;
  const std::string whole = read_text(f.zip);
  const fs::path part = f.cache / "small8.zip.part";
  SUBCASE("a good beginning") {
    write_text(part, whole.substr(0, whole.size() / 3));
  }
  SUBCASE("all of it") {
    write_text(part, whole);
  }
  SUBCASE("nothing") {
    write_text(part, "");
  }
  SUBCASE("the beginning of another file") {
    write_text(part, noisy_text(20'000, 7));
  }
  SUBCASE("another file of the same length") {
    write_text(part, noisy_text(whole.size(), 7));
  }
  SUBCASE("a longer file") {
    write_text(part, whole + whole);
  }
  f.fetch();
  CHECK(f.cached());
  CHECK(f.files() == Fixture::Names{"small8"});
}

TEST_CASE("corpus cache: only the missing bytes are fetched") {
  Fixture f;
  const std::string whole = read_text(f.zip);
  write_text(f.cache / "small8.zip.part", whole.substr(0, 50'000));
  write_text(f.zip,
             std::string(50'000, '?') + whole.substr(50'000));  // downloading the beginning again would fail
  f.fetch();
  CHECK(f.cached());
}

TEST_CASE("corpus cache: cancelling keeps what was downloaded") {
  Fixture f;
  struct Cancelled {};
  FetchOptions options = f.options();
  options.progress = [](std::string_view what, int64_t, int64_t) {
    if (what == "unpacking small8") throw Cancelled();
  };
  CHECK_THROWS_AS(fetch_corpus(f.spec, options), Cancelled);
  CHECK(f.files() == Fixture::Names{"small8.zip.part"});
  f.fetch();
  CHECK(f.cached());
}

TEST_CASE("corpus cache: a server may not send more than the file can have") {
  Fixture f;
  write_text(f.server / "long", noisy_text(3'000'000));
  CHECK(
      contains(f.failure(Fixture::url(f.server / "long")), "it sends more than the 1149576 bytes expected"));
  CHECK(f.files().empty());

  const DownloadSpec plain{.name = "plain",
                           .urls = {Fixture::url(f.server / "long")},
                           .size = 2'999'999,
                           .content = {"sha256", f.spec.content.hex}};
  CHECK(contains(error_of([&] { fetch_file(plain, f.options()); }), "more than the 2999999 bytes"));
}

TEST_CASE("corpus cache: passwords and tokens of a URL are in no message") {
  Fixture f;
  const ScopedEnv no_proxy("no_proxy", "*");
  FetchOptions options = f.options("http://me:secret@127.0.0.1:1/small8.zip?token=secret");
  std::string shown;
  options.progress = [&shown](std::string_view what, int64_t, int64_t) { shown += what; };
  shown += error_of([&] { fetch_corpus(f.spec, options); });
  CHECK(contains(shown, "http://***@127.0.0.1:1/small8.zip?***"));
  CHECK(shown.find("secret") == std::string::npos);
}

TEST_CASE("corpus cache: symbolic links in the data folder are not written through") {
  Fixture f;
  write_text(f.server / "mine", "the user's");
  for (const char* name : {"small8.unpacking", "small8.zip.bad"})
    fs::create_symlink(f.server / "mine", f.cache / name);
  write_text(f.server / "altered", "not the text");
  CHECK(contains(f.failure(Fixture::url(f.server / "altered")), "refused"));
  CHECK(f.fetch() == f.target());
  CHECK(f.cached());
  fs::remove(f.target());
  fs::create_symlink(f.server / "mine", f.cache / "small8.zip.part");
  CHECK(contains(f.failure(), "small8.zip.part: cannot be written: it is a symbolic link"));
  CHECK(read_text(f.server / "mine") == "the user's");
}

TEST_CASE("corpus cache: a folder in which no lock can be made is named with the way out") {
  Fixture f;
  fs::create_directory(f.cache / ".small8.lock");
  const std::string message = f.failure();
  CHECK(contains(message, ".small8.lock: cannot be written"));
  CHECK(contains(message, "set TANDEM_DATA to a folder that can"));
}

TEST_CASE("corpus cache: several threads at a time get one whole file") {
  Fixture f;
  std::vector<std::thread> threads;
  std::array<std::string, 4> failures;
  for (std::string& failure : failures)
    threads.emplace_back([&f, &failure] {
      try {
        f.fetch();
      } catch (const std::exception& error) {
        failure = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) CHECK(failure == "");
  CHECK(f.cached());
  CHECK(f.files() == Fixture::Names{"small8"});
}

TEST_CASE("corpus cache: the data folder") {
  {
    const ScopedEnv data("TANDEM_DATA", "/some/where");
    CHECK(default_data_dir() == "/some/where");
  }
  for (const char* unset : {static_cast<const char*>(nullptr), ""}) {
    const ScopedEnv data("TANDEM_DATA", unset);
    const ScopedEnv home("HOME", "/home/somebody");
    CHECK(default_data_dir() == "/home/somebody/.cache/tandem");
    const ScopedEnv no_home("HOME", nullptr);
    CHECK(default_data_dir().empty());
    Fixture f;
    CHECK(contains(error_of([&] { fetch_corpus(f.spec, {}); }), "neither TANDEM_DATA nor HOME is set"));
  }
  Fixture f;
  const fs::path deep = f.cache / "not/yet/there";
  const ScopedEnv data("TANDEM_DATA", deep.c_str());
  CHECK(fetch_corpus(f.spec, {}) == deep / "small8");
  CHECK(read_text(deep / "small8") == f.text);

  write_text(f.cache / "file", "in the way");
  const ScopedEnv bad("TANDEM_DATA", (f.cache / "file/below").c_str());
  const std::string message = error_of([&] { fetch_corpus(f.spec, {}); });
  CHECK(contains(message, "file/below"));
  CHECK(contains(message, "set TANDEM_DATA"));
}

TEST_CASE("corpus cache: what is known of enwik8 and text8") {
  const auto& corpora = downloadable_corpora();
  REQUIRE(corpora.size() == 2);
  CHECK(corpora[0].name == "enwik8");
  CHECK(corpora[1].name == "text8");
  for (const CorpusSpec& spec : corpora) {
    CHECK(spec.split_sizes == std::array<int64_t, 3>{90'000'000, 5'000'000, 5'000'000});
    CHECK(spec.size() == 100'000'000);
    CHECK(spec.urls.size() >= 3);
    for (const std::string& url : spec.urls) CHECK(contains(url, spec.name));
    CHECK(checksum(spec.content.algorithm, {}).size() == spec.content.hex.size());
    CHECK(spec.zip_sha256.size() == 64);
  }
}

}  // namespace
}  // namespace tandem::testing
