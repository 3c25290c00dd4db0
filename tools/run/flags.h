// Command lines: flags that fill variables. flags.cpp is the only file that includes CLI11, which takes long
// to compile.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tandem/core/error.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace tandem {

// Wrong usage that only shows after the command line was parsed. The program ends with exit code 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

// One flag of a Flags, to be described further: flags.add("--steps", steps, "...").positive().show_default().
// Each method returns the flag itself.
class Flag {
 public:
  explicit Flag(CLI::Option* option) : option_(option) {}

  Flag& required();
  Flag& positive();                                      // > 0
  Flag& non_negative();                                  // >= 0
  Flag& range(int64_t low, int64_t high);                // low <= value <= high
  Flag& one_of(const std::vector<std::string>& values);  // help lists them
  Flag& comma_separated();                               // the value is a list: --bits=8,6,4
  Flag& one_argument();                                  // a list does not take the arguments that follow
  Flag& keep_all();                                      // every occurrence adds to the list
  Flag& optional_value();                                // --resume as well as --resume=RUN
  Flag& show_default();                                  // help shows the value that the variable has now
  Flag& needs(const Flag& other);                        // wrong usage without `other`
  Flag& on_value(const std::function<void(const std::string&)>& f);  // calls f with each value
  Flag& in_group(const std::string& group);                          // help lists it under this heading

 private:
  void check(const std::string& help, const std::function<std::string(double)>& wrong);

  CLI::Option* option_;
};

class Flags {
 public:
  // `manual` is printed by --help below the list of flags; it may have several paragraphs. In it and in the description
  // {program} stands for the program's name.
  Flags(const std::string& program, const std::string& description, const std::string& manual = "");
  ~Flags();
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;

  // Adds a flag ("--steps", "--bytes,--tokens" for two names) or, without dashes, a positional argument.
  // `target` is set by parse() if the flag is given; it must outlive the parsing. T: std::string,
  // std::filesystem::path, an integer of 32 or 64 bits, double, a vector of these, or a std::optional of
  // string, int64_t or double.
  template <class T>
  Flag add(const std::string& names, T& target, const std::string& help);

  // Adds a flag without a value: target becomes true. "!--no-test" sets it to false.
  Flag add_switch(const std::string& names, bool& target, const std::string& help);
  // Adds a flag whose value may be left out: "--json{-}" alone sets target to "-".
  Flag add_switch(const std::string& names, std::string& target, const std::string& help);

  // Lets the last occurrence of a flag win. Otherwise a flag that is given twice is wrong usage. Applies to
  // the flags that are added afterwards.
  void last_value_wins();

  // Fills the targets. Returns false if it printed --help instead. Numbers are decimal. Error: UsageError, with what is
  // wrong: among other things a value that is empty, or a number that the variable cannot hold.
  bool parse(int argc, char** argv);

  bool has(const std::string& name) const;  // true if a flag of this name was added
  bool given(const std::string& name) const;
  std::vector<std::string> all_given() const;  // by the first name of each
  std::string program() const;

 private:
  CLI::App* app_;
};

}  // namespace tandem
