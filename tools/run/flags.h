// Command lines: flags that fill variables. flags.cpp is the only file that includes CLI11, which takes long
// to compile.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
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

  // Adds a flag without a value, or with =true or =false: target becomes true. "!--no-test" sets it to false.
  Flag add_switch(const std::string& names, bool& target, const std::string& help);
  // Adds a flag whose value may be left out: "--json{-}" alone sets target to "-".
  Flag add_switch(const std::string& names, std::string& target, const std::string& help);
  Flag add_switch(const std::string& names, int64_t& target, const std::string& help);

  // Lets the last occurrence of a flag win. Otherwise a flag that is given twice is wrong usage. Applies to
  // the flags that are added afterwards.
  void last_value_wins();

  // Adds --config=FILE. The file gives flags by their names without dashes, as `steps = 2000`, in the TOML that CLI11
  // reads: no sections, and no # within a text. A flag of the command line wins over the same flag of the file; lists of
  // both are joined. `positional` names an argument without dashes that the file may give, too.
  void add_config_file(const std::string& positional, const std::string& help);

  // Fills the targets. Returns false if it printed --help instead. Numbers are decimal. Error: UsageError, with what is
  // wrong: among other things a value that is empty, or a number that the variable cannot hold.
  bool parse(int argc, char** argv);

  bool has(const std::string& name) const;  // true if a flag of this name was added
  bool given(const std::string& name) const;
  std::vector<std::string> all_given() const;  // by the first name of each
  // Returns whether a flag that is given comes from the file of --config alone.
  bool given_by_file(const std::string& name) const;
  // Returns the values that a flag has got, as they were typed.
  std::vector<std::string> values(const std::string& name) const;
  // Returns the arguments of the program, those of the file of --config in its place.
  const std::vector<std::string>& arguments() const { return arguments_; }
  std::string program() const;

 private:
  // Gives a flag whose value may be left out the rule for those that are given twice.
  Flag added_switch(CLI::Option* option);
  // Replaces --config=FILE among the arguments by what the file gives.
  void expand_config_file();
  void parse_arguments();
  // Refuses --eager=2 or --eager=maybe: CLI11 would count with the former, and its error for the latter names no flag.
  void check_switch_values() const;

  CLI::App* app_;
  std::vector<std::string> arguments_;
  std::set<std::string> switches_;                // the names of flags with a bool
  std::string config_file_;                       // the last value of --config
  std::string config_positional_;                 // see add_config_file()
  std::optional<std::set<std::string>> by_user_;  // flags of the command line, if there is a file of --config
};

// Returns a text as a value for the file of --config, in quotes. Error: CLI11 would not read it back as it is.
std::string quoted_for_config(const std::string& text);

}  // namespace tandem
