// Small corpora in the layouts of the real benchmarks, over file:// URLs. (Other files as words:
// build_token_file_test.cpp.)
#include "tandem/data/words/benchmarks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/support/corpora.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

std::string url(const fs::path& path) {
  return "file://" + path.string();
}

DownloadSpec download_of(const fs::path& file, const std::string& algorithm) {
  return {.name = file.filename().string(),
          .urls = {url(file)},
          .content = {algorithm, file_checksum(algorithm, file)}};
}

const std::string kTrainText = " \n = Title = \n \n the cat saw the <unk> \n the dog \n";
const std::string kValidText = " \n the cat \n";
const std::string kTestText = " a dog \n";

// An archive in the layout of wikitext-103-v1.zip.
WordCorpusSpec tiny_wikitext(const TempDir& server) {
  const fs::path zip = server / "tinytext-v1.zip";
  write_zip(zip, {{"tinytext/", ""},
                  {"tinytext/wiki.test.tokens", kTestText},
                  {"tinytext/wiki.valid.tokens", kValidText},
                  {"tinytext/wiki.train.tokens", kTrainText},
                  {"__MACOSX/tinytext/._wiki.train.tokens", "not text"}});
  return {.name = "tinytext",
          .files = {download_of(zip, "md5")},
          .parts = {"*/wiki.train.tokens", "*/wiki.valid.tokens", "*/wiki.test.tokens"},
          .tokens = {15, 4, 3},
          .vocabulary = 8};
}

TEST_CASE("word corpus: the layout of wikitext") {
  const TempDir server;
  const Cache cache;
  const WordCorpusSpec spec = tiny_wikitext(server);
  CorpusOptions options = cache.options("tinytext");
  std::vector<std::string> stages;
  options.progress = [&stages](std::string_view what, int64_t, int64_t) {
    if (stages.empty() || stages.back() != what) stages.emplace_back(what);
  };
  const Corpus corpus = load_corpus(options, {}, {spec});
  CHECK(stages == std::vector<std::string>{"downloading " + spec.files[0].urls[0],
                                           "counting the words of tinytext",
                                           "encoding the words of tinytext"});
  CHECK(corpus.level() == TokenUnit::word);
  CHECK(corpus.vocabulary.words().text() == "<eos>\nthe\n=\n<unk>\nTitle\ncat\ndog\nsaw\n");
  CHECK(text_of(corpus, "train") == "\n= Title =\n\nthe cat saw the <unk>\nthe dog\n");
  CHECK(text_of(corpus, "dev") == "\nthe cat\n");
  CHECK(text_of(corpus, "test") == "<unk> dog\n");
  CHECK(text_of(corpus, "all") ==
        text_of(corpus, "train") + text_of(corpus, "dev") + text_of(corpus, "test"));
  CHECK(corpus.size() == 22);
  CHECK(corpus.words.info().source == "md5:" + spec.files[0].content.hex);
  CHECK(corpus.source == cache.token_files().at(0).string());

  // From now on the token file is enough.
  fs::remove(cache.dir / "tinytext-v1.zip");
  fs::remove_all(server.path());
  stages.clear();
  const Corpus again = load_corpus(options, {}, {spec});
  CHECK(stages.empty());
  CHECK(again.sha256 == corpus.sha256);
  CHECK(text_of(again, "all") == text_of(corpus, "all"));
}

TEST_CASE("word corpus: the benchmark of a run is recognised by its digests") {
  const TempDir server;
  const Cache cache;
  const WordCorpusSpec spec = tiny_wikitext(server);
  CorpusOptions options = cache.options("tinytext");
  options.words.size = 5;
  const Corpus trained = load_corpus(options, {}, {spec});
  CHECK_FALSE(trained.trained);
  CHECK(trained.text_sha256.size() == 64);
  for (const std::string& text : {trained.text_sha256, std::string()}) {
    CorpusOptions later = cache.options("tinytext");
    later.trained = {.corpus_sha256 = trained.sha256, .text_sha256 = text, .words = options.words};
    const Corpus again = load_corpus(later, {}, {spec});
    CHECK(again.trained);
    CHECK(again.sha256 == trained.sha256);
    CHECK(again.vocabulary == trained.vocabulary);
    later.split_anew = true;
    const Corpus anew = load_corpus(later, {}, {spec});
    CHECK(anew.trained);
    CHECK(anew.vocabulary.size() == 8);
    later.trained->corpus_sha256 = later.trained->text_sha256 = std::string(64, '0');
    CHECK_FALSE(load_corpus(later, {}, {spec}).trained);
  }
}

TEST_CASE("word corpus: an archive that is altered while it is read leaves no token file") {
  const TempDir server;
  const Cache cache;
  WordCorpusSpec spec = tiny_wikitext(server);
  spec.tokens = {};
  spec.vocabulary = 0;
  CorpusOptions options = cache.options("tinytext");
  options.progress = [&](std::string_view what, int64_t, int64_t) {
    if (what.starts_with("counting"))
      write_zip(cache.dir / "tinytext-v1.zip", {{"a/wiki.train.tokens", "another text"}});
  };
  CHECK(contains(error_of([&] { load_corpus(options, {}, {spec}); }), "tinytext-v1.zip"));
  CHECK(cache.token_files().empty());
}

TEST_CASE("word corpus: other numbers of tokens or words than the published ones are refused") {
  const TempDir server;
  const Cache cache;
  const WordCorpusSpec spec = tiny_wikitext(server);
  const CorpusOptions options = cache.options("tinytext");
  const auto error = [&](const WordCorpusSpec& other) {
    return error_of([&] { load_corpus(options, {}, {other}); });
  };
  WordCorpusSpec other = spec;
  other.tokens[1] = 5;
  CHECK(contains(error(other), "tinytext: 4 tokens in */wiki.valid.tokens where 5 are published"));
  other = spec;
  other.vocabulary = 9;
  CHECK(contains(error(other), "tinytext: a vocabulary of 8 words where 9 are published"));
  other = spec;
  other.parts[2] = "*/wiki.absent.tokens";
  CHECK(contains(error(other), "tinytext: holds no text named */wiki.absent.tokens"));
  CHECK(cache.token_files().empty());
  other = spec;
  other.files[0].content.hex = std::string(32, '0');
  const std::string altered = error(other);
  CHECK(contains(altered, "tinytext-v1.zip is truncated or altered: it has "));
  CHECK(contains(altered, "with md5 " + spec.files[0].content.hex + ", expected is " + std::string(32, '0')));
  CHECK(fs::exists(cache.dir / "tinytext-v1.zip.bad"));
  CHECK(contains(error(other), spec.files[0].urls[0] + ": refused: it has "));
  CHECK(load_corpus(options, {}, {spec}).size() == 22);

  CorpusOptions choice = options;
  choice.words.size = 5;  // the published size does not apply to a limited vocabulary
  CHECK(load_corpus(choice, {}, {spec}).vocabulary.words().text() == "<eos>\n<unk>\nthe\n=\nTitle\n");
  CHECK(cache.token_files().size() == 2);
  choice.valid_fraction = 0.1;
  CHECK(contains(error_of([&] { load_corpus(choice, {}, {spec}); }), "is always split by its authors"));
  choice = options;
  choice.level = TokenUnit::byte;
  CHECK(contains(error_of([&] { load_corpus(choice, {}, {spec}); }), "has no level of bytes"));
  choice = options;
  choice.vocabulary = Vocabulary::from_hex("6162");
  CHECK(contains(error_of([&] { load_corpus(choice, {}, {spec}); }), "has no level of bytes"));
}

TEST_CASE("word corpus: the layout of ptb, one file for each split") {
  const TempDir server;
  const Cache cache;
  WordCorpusSpec spec{.name = "tinybank",
                      .parts = {"tiny.train.txt", "tiny.valid.txt", "tiny.test.txt"},
                      .tokens = {7, 3, 3},
                      .vocabulary = 5};
  for (const auto& [name, text] : {std::pair{"tiny.train.txt", " N of <unk> \n N of\n"},
                                   {"tiny.valid.txt", " of them\n"},
                                   {"tiny.test.txt", " N N \n"}}) {
    write_text(server / name, text);
    spec.files.push_back(download_of(server / name, "md5"));
    spec.files.back().urls = {"http://127.0.0.1:1/never-asked"};
  }
  CorpusOptions options = cache.options("tinybank");
  options.url = url(server.path());  // the folder that holds all three
  spec.vocabulary = 4;
  const Corpus corpus = load_corpus(options, {}, {spec});
  CHECK(corpus.vocabulary.words().text() == "<eos>\nN\nof\n<unk>\n");
  CHECK(text_of(corpus, "train") == "N of <unk>\nN of\n");
  CHECK(text_of(corpus, "dev") == "of <unk>\n");
  CHECK(text_of(corpus, "test") == "N N\n");
}

// An archive in the layout of the One Billion Word benchmark: unordered shards among folders and held-out
// files.
struct TinyBillion {
  TempDir server;
  WordCorpusSpec spec;

  TinyBillion() {
    const std::string top = "a-language-modeling-benchmark-with-a-name-so-long-r13output/";
    const std::string train = top + "training-monolingual.tokenized.shuffled/news.en-";
    const std::string held = top + "heldout-monolingual.tokenized.shuffled/news.en";
    const std::vector<std::pair<std::string, std::string>> files = {
        {held + "-00000-of-00100", "all of the held out\n"},
        {train + "00002-of-00100", "third line\n"},
        {held + ".heldout-00001-of-00050", "not this one\n"},
        {held + ".heldout-00000-of-00050", "held out line\n"},
        {train + "00001-of-00100", "first line\nsecond line\n"}};
    std::string command = "cd " + server.path().string() + " && tar -czf benchmark.tar.gz";
    for (const auto& [name, text] : files) {
      fs::create_directories((server / name).parent_path());
      write_text(server / name, text);
      command += " " + name;
    }
    REQUIRE(std::system(command.c_str()) == 0);
    write_text(server / "words.txt", "line 3\n<S> 3\n</S> 3\n<UNK> 2\nfirst 1\nthird 1\nout 1\n");
    spec = {.name = "tinybillion",
            .files = {download_of(server / "benchmark.tar.gz", "sha256")},
            .parts = {"*/training-monolingual.tokenized.shuffled/news.en-*-of-00100",
                      "*/news.en.heldout-00000-of-00050", "*/news.en.heldout-00000-of-00050"},
            .marks = {.end = "<S>", .begin = true},
            .word_list = DownloadSpec{.name = "words.txt", .urls = {url(server / "words.txt")}},
            .tokens = {12, 0, 0},
            .vocabulary = 7};
  }
};

TEST_CASE("word corpus: the layout of lm1b") {
  const TinyBillion tiny;
  const Cache cache;
  const Corpus corpus = load_corpus(cache.options("tinybillion"), {}, {tiny.spec});
  CHECK(text_of(corpus, "train") == "\nfirst line\n\n<UNK> line\n\nthird line\n");  // each <S> is a newline
  CHECK(corpus.train.size() == 12);
  CHECK(text_of(corpus, "dev") == "\n<UNK> out line\n");
  CHECK(corpus.dev == corpus.test);
  CHECK(corpus.size() == 17);
  CHECK(corpus.vocabulary.words().text() == "line\n<S>\n</S>\n<UNK>\nfirst\nthird\nout\n");

  CorpusOptions counted = cache.options("tinybillion");
  counted.words.min_count = 2;
  CHECK(load_corpus(counted, {}, {tiny.spec}).vocabulary.words().text() == "<S>\n<unk>\nline\n");
}

TEST_CASE("word corpus: a word list of another length is refused") {
  const TinyBillion tiny;
  const Cache cache;
  write_text(tiny.server / "words.txt", "<html>Log in</html>\n");
  const auto error = [&] {
    return error_of([&] { load_corpus(cache.options("tinybillion"), {}, {tiny.spec}); });
  };
  CHECK(contains(error(), "words.txt: lists 1 words where 7 are published"));
  CHECK(contains(error(), "remove it"));
  CHECK(cache.token_files().empty());
}

TEST_CASE("word corpus: the table of benchmarks") {
  const std::vector<WordCorpusSpec>& corpora = word_corpora();
  REQUIRE(corpora.size() == 4);
  const auto spec = [&corpora](const std::string& name) {
    return *std::find_if(corpora.begin(), corpora.end(), [&](const auto& row) { return row.name == name; });
  };
  CHECK(spec("wikitext-103").tokens == std::array<int64_t, 3>{103'227'021, 217'646, 245'569});
  CHECK(spec("wikitext-103").vocabulary == 267'735);
  CHECK(spec("wikitext-2").tokens == std::array<int64_t, 3>{2'088'628, 217'646, 245'569});
  CHECK(spec("wikitext-2").vocabulary == 33'278);
  // Number of words plus one line end for each line.
  CHECK(spec("ptb").tokens == std::array<int64_t, 3>{887'521 + 42'068, 70'390 + 3'370, 78'669 + 3'761});
  CHECK(spec("ptb").vocabulary == 10'000);
  CHECK(spec("lm1b").tokens[0] == 829'250'940);
  CHECK(spec("lm1b").vocabulary == 793'471);
  for (const WordCorpusSpec& row : corpora)
    for (const DownloadSpec& file : row.files) {
      CHECK(file.content.hex.size() == checksum(file.content.algorithm, {}).size());
      CHECK_FALSE(file.packed);
      REQUIRE_FALSE(file.urls.empty());
      for (const std::string& mirror : file.urls) CHECK(mirror.ends_with("/" + file.name));
      CHECK(has_own_split(row.name));
    }
  CHECK_FALSE(has_own_split("gcide"));
}

}  // namespace
}  // namespace tandem::testing
