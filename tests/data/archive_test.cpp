// Archives as streams: zip, tar in all formats that tar programs write, single files, truncated and altered archives.
#include "tandem/data/download/archive.h"

#include <doctest/doctest.h>
#include <fmt/core.h>

#include <cstdlib>
#include <map>
#include <utility>

#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

using Files = std::vector<std::pair<std::string, std::string>>;

std::string rest_of(ByteSource& source, size_t block_size) {
  std::vector<uint8_t> block(block_size);
  std::string all;
  while (const size_t count = source.read(block)) all.append(block.begin(), block.begin() + count);
  return all;
}

Files files_in(const fs::path& path, size_t block_size = 1000) {
  const std::unique_ptr<Archive> archive = Archive::open(path);
  Files files;
  for (std::string name; archive->next(name);) files.emplace_back(name, rest_of(*archive, block_size));
  return files;
}

// A folder whose file names are short, exactly 100 bytes long, and longer; some sizes are whole blocks.
struct Folder {
  TempDir dir;
  Files files;

  Folder() {
    const std::string deep = "a-benchmark-of-words/" + std::string(60, 'd') + "/";
    for (const auto& [name, size] : {std::pair{std::string("empty"), 0},
                                     {"sub/block", 512},
                                     {deep + std::string(18, 'f'), 511},
                                     {deep + std::string(60, 'g'), 513},
                                     {deep + std::string(90, 'h'), 100'000}}) {
      files.emplace_back(name, noisy_text(static_cast<size_t>(size)));
      fs::create_directories((dir / name).parent_path());
      write_text(dir / name, files.back().second);
    }
    REQUIRE(files[2].first.size() == 100);
  }
  // Packs the files by the system's tar, in the order of `files`, folders included.
  fs::path pack(const std::string& flags) const {
    const fs::path packed = dir / "packed";
    std::string command = "cd " + dir.path().string() + " && tar " + flags + " -cf packed --no-recursion sub";
    for (const auto& [name, text] : files) command += " " + name;
    REQUIRE(std::system(command.c_str()) == 0);
    return packed;
  }
};

TEST_CASE("archive: tar in every format, gzipped or not") {
  const Folder folder;
  for (const char* flags :
       {"--format=gnu", "--format=ustar", "--format=pax", "--format=gnu -z", "--format=posix -z"}) {
    CAPTURE(flags);
    const fs::path packed = folder.pack(flags);
    Files expected = folder.files;
    if (std::string(flags) == "--format=ustar") {  // this format cannot store the longest name
      CHECK(files_in(packed).size() + 1 >= expected.size());
      continue;
    }
    CHECK(files_in(packed) == expected);
    CHECK(files_in(packed, 7).back() == expected.back());
  }
}

TEST_CASE("archive: files that are not read are passed over") {
  const Folder folder;
  const std::unique_ptr<Archive> archive = Archive::open(folder.pack("-z"));
  std::string name;
  for (size_t i = 0; i < folder.files.size(); ++i) {
    REQUIRE(archive->next(name));
    CHECK(name == folder.files[i].first);
    uint8_t byte = 0;
    if (i == 1) CHECK(archive->read({&byte, 1}) == 1);
  }
  CHECK_FALSE(archive->next(name));
}

TEST_CASE("archive: zip, gzip and plain files") {
  TempDir dir;
  const std::string text = noisy_text(3000);
  write_zip(dir / "zip", {{"folder/", ""}, {"folder/one", "first"}, {"two", text}});
  CHECK(files_in(dir / "zip") == Files{{"folder/", ""}, {"folder/one", "first"}, {"two", text}});
  write_gzip(dir / "gzip", text);
  write_text(dir / "plain", text);
  write_text(dir / "empty", "");
  CHECK(files_in(dir / "gzip") == Files{{"", text}});
  CHECK(files_in(dir / "plain") == Files{{"", text}});
  CHECK(files_in(dir / "empty") == Files{{"", ""}});
  CHECK(contains(error_of([&] { Archive::open(dir / "absent"); }), "absent: cannot be opened: No such file"));
  CHECK(contains(error_of([&] { Archive::open(dir.path()); }), "is a folder"));
}

TEST_CASE("archive: truncated and altered tar archives") {
  const Folder folder;
  const std::string whole = read_text(folder.pack("--format=gnu"));
  const fs::path bad = folder.dir / "bad";
  // Inside the last file, after a header, after the last file.
  for (const size_t left : {whole.find("hhhh") + 2000, size_t{1024}, whole.find_last_not_of('\0') + 1}) {
    CAPTURE(left);
    write_text(bad, whole.substr(0, left));
    CHECK_THROWS_AS(files_in(bad), CorruptArchive);
    CHECK(contains(error_of([&] { files_in(bad); }), "tar archive is truncated or altered"));
  }
  std::string altered = whole;
  altered[124] = 'x';  // the size of the first entry
  write_text(bad, altered);
  CHECK(contains(error_of([&] { files_in(bad); }), "a header without a size"));
  altered.replace(124, 12, "-0000000001 ");
  write_text(bad, altered);
  CHECK(contains(error_of([&] { files_in(bad); }), "a header without a size"));
}

// A tar entry: a header and the data, in whole blocks.
std::string tar_entry(char type, const std::string& name, const std::string& data) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  const std::string size = fmt::format("{:011o}", data.size());
  header.replace(124, size.size(), size);
  header[156] = type;
  header.replace(257, 8,
                 std::string("ustar\0"
                             "00",
                             8));
  return header + data + std::string((512 - data.size() % 512) % 512, '\0');
}

std::string pax(const std::string& key, const std::string& value) {
  const std::string rest = " " + key + "=" + value + "\n";
  size_t length = rest.size() + 1;
  while (std::to_string(length).size() + rest.size() != length) ++length;
  return std::to_string(length) + rest;
}

TEST_CASE("archive: the path among the attributes of a tar entry") {
  TempDir dir;
  const auto name_with = [&dir](const std::string& attributes) {
    write_text(dir / "tar", tar_entry('x', "attributes", attributes) + tar_entry('0', "short", "text") +
                                std::string(1024, '\0'));
    const Files files = files_in(dir / "tar");
    REQUIRE(files.size() == 1);
    CHECK(files[0].second == "text");
    return files[0].first;
  };
  CHECK(name_with(pax("path", "a long name")) == "a long name");
  CHECK(name_with(pax("comment", "1 path=wrong\n11 path=bad")) == "short");
  CHECK(name_with(pax("comment", std::string(5000, 'c')) + pax("path", "right") + pax("mtime", "0")) ==
        "right");
  CHECK(name_with(pax("path", "first") + pax("path", "last")) == "last");
  for (const char* broken :
       {"path=name\n", "99 path=name\n", "0 path=name\n", "13 path=name!", "99999999999999999999 a=b\n"}) {
    CAPTURE(broken);
    CHECK(contains(error_of([&] { name_with(broken); }), "an attribute without its length"));
  }
}

TEST_CASE("archive: names and attributes of any length are refused in time") {
  TempDir dir;
  const std::string longest(4096, 'n');
  const auto error_with = [&dir](const std::string& entry) {
    write_text(dir / "tar", entry + tar_entry('0', "short", "text") + std::string(1024, '\0'));
    return error_of([&] { files_in(dir / "tar"); });
  };
  CHECK(error_with(tar_entry('L', "long", longest + '\0')) == "no error");
  CHECK(error_with(tar_entry('x', "long", pax("path", longest))) == "no error");
  CHECK(contains(error_with(tar_entry('L', "long", longest + "n")), "a name of more than 4096 bytes"));
  CHECK(contains(error_with(tar_entry('x', "long", pax("path", longest + "n"))),
                 "a name of more than 4096 bytes"));
  CHECK(contains(error_with(tar_entry('x', "long", pax("comment", std::string(1 << 20, 'c')))),
                 "of more than 1 MiB"));
  write_zip(dir / "zip", {{longest + "n", "text"}});
  CHECK(contains(error_of([&] { files_in(dir / "zip"); }), "a name of more than 4096 bytes"));
}

}  // namespace
}  // namespace tandem::testing
