// Command lines: numbers, empty values, ranges.
#include "tandem/tools/run/flags.h"

#include <doctest/doctest.h>

#include <optional>

#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

struct Values {
  int64_t steps = 1;
  uint64_t seed = 2;
  int bits = 3;
  double lr = 4;
  std::optional<int64_t> layers;
  std::vector<double> percent = {5};
  std::string out = "out";
  std::string json;
  bool eager = false, test = true;
};

// Parses "program ARGUMENTS" into values. Error: what parse() throws.
Values parsed(std::vector<std::string> arguments) {
  Values v;
  Flags flags("program", "");
  flags.add("--steps", v.steps, "").positive();
  flags.add("--seed", v.seed, "");
  flags.add("--bits", v.bits, "").range(2, 8);
  flags.add("--lr", v.lr, "").non_negative();
  flags.add("--layers", v.layers, "");
  flags.add("--percent", v.percent, "").comma_separated().one_argument();
  flags.add("--out", v.out, "");
  flags.add_switch("--json{-}", v.json, "");
  flags.add_switch("--eager", v.eager, "");
  flags.add_switch("!--no-test", v.test, "");
  arguments.insert(arguments.begin(), "program");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  REQUIRE(flags.parse(static_cast<int>(argv.size()), argv.data()));
  return v;
}

std::string refusal(const std::vector<std::string>& arguments) {
  return error_of([&arguments] { parsed(arguments); });
}

}  // namespace

TEST_CASE("flags: numbers are decimal and must fit") {
  CHECK(parsed({"--steps=10"}).steps == 10);
  CHECK(parsed({"--steps=9223372036854775807"}).steps == 9223372036854775807);
  CHECK(parsed({"--seed=18446744073709551615"}).seed == 18446744073709551615u);
  CHECK(parsed({"--lr=1e-3"}).lr == 1e-3);
  CHECK(parsed({"--lr=0"}).lr == 0);
  CHECK(parsed({"--lr=0.5"}).lr == 0.5);
  CHECK(parsed({"--layers=-1"}).layers == -1);
  CHECK(parsed({"--percent=1,2.5"}).percent == std::vector<double>{1, 2.5});

  CHECK(contains(refusal({"--steps=010"}), "010 begins with a 0"));
  CHECK(contains(refusal({"--lr=010"}), "010 begins with a 0"));
  CHECK(contains(refusal({"--steps=0x10"}), "0x10 is not a whole number"));
  CHECK(contains(refusal({"--steps=1.5"}), "1.5 is not a whole number"));
  CHECK(contains(refusal({"--steps=9223372036854775808"}), "9223372036854775808 is too large"));
  CHECK(contains(refusal({"--bits=2147483648"}), "2147483648 is too large"));
  CHECK(contains(refusal({"--layers=99999999999999999999"}), "is too large"));
  CHECK(contains(refusal({"--seed=-1"}), "-1 is not a whole number"));
  for (const char* value : {"1e999", "1e-400"})
    CHECK(
        contains(refusal({std::string("--lr=") + value}), std::string(value) + " is too large or too small"));
  for (const char* value : {"nan", "inf", "-inf"})
    CHECK(contains(refusal({std::string("--lr=") + value}), value));
  CHECK(contains(refusal({"--percent=1,x"}), "x is not a number"));
}

TEST_CASE("flags: a number outside of its range is named with the range") {
  CHECK(contains(refusal({"--steps=0"}), "0: it must be above 0"));
  CHECK(contains(refusal({"--steps=+0"}), "+0: it must be above 0"));
  CHECK(contains(refusal({"--lr=-1"}), "-1: it must be 0 or above"));
  CHECK(contains(refusal({"--bits=9"}), "9: it must be from 2 to 8"));
}

TEST_CASE("flags: an empty value is refused, and never taken from the next argument") {
  CHECK(parsed({"--out", "x"}).out == "x");
  CHECK(contains(refusal({"--out=", "--steps=5"}), "--out= has an empty value"));
  CHECK(contains(refusal({"--steps="}), "--steps= has an empty value"));
  CHECK(contains(refusal({"--out", "", "--steps=5"}), "argument 2 is empty"));
}

TEST_CASE("flags: where a value may be left out, the last occurrence wins or is refused, as of any other") {
  const auto parse = [](const std::vector<std::string>& arguments, bool last) {
    int64_t steps = 0;
    Flags flags("program", "");
    if (last) flags.last_value_wins();
    flags.add_switch("--find{200}", steps, "").positive();
    std::vector<std::string> all = {"program"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& argument : all) argv.push_back(argument.data());
    REQUIRE(flags.parse(static_cast<int>(argv.size()), argv.data()));
    return steps;
  };
  CHECK(parse({"--find"}, true) == 200);
  CHECK(parse({"--find=5", "--find=7"}, true) == 7);
  CHECK(parse({"--find=5", "--find"}, true) == 200);
  CHECK(parse({"--find=9223372036854775807", "--find=9223372036854775807"}, true) == 9223372036854775807);
  CHECK(parse({"--find=5"}, false) == 5);
  CHECK(contains(error_of([&parse] { parse({"--find=5", "--find=7"}, false); }), "--find"));
  CHECK(contains(refusal({"--eager", "--eager"}), "--eager"));
  CHECK(contains(refusal({"--json=a", "--json=b"}), "--json"));
  CHECK(parsed({"--json"}).json == "-");
  CHECK(parsed({"--json=a"}).json == "a");
}

TEST_CASE("flags: a switch has no value, or true or false") {
  CHECK_FALSE(parsed({}).eager);
  CHECK(parsed({"--eager"}).eager);
  CHECK(parsed({"--eager=true"}).eager);
  CHECK_FALSE(parsed({"--eager=false"}).eager);
  CHECK_FALSE(parsed({"--no-test"}).test);
  CHECK_FALSE(parsed({"--no-test=true"}).test);
  CHECK(parsed({"--no-test=false"}).test);
  for (const char* value : {"2", "-1", "maybe", "9223372036854775808", "True"}) {
    CHECK(contains(refusal({std::string("--eager=") + value}), std::string("--eager=") + value));
    CHECK(contains(refusal({std::string("--no-test=") + value}), "true or false"));
  }
}

}  // namespace tandem::testing
