// The flags of the programs, by CLI11.
#include "tandem/tools/run/flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string_view>
#include <type_traits>
#include <utility>

namespace tandem {
namespace {

constexpr size_t kHelpWidth = 78;  // columns of a flag's text in --help, beside its name

// Breaks a text into lines of at most kHelpWidth columns.
std::string wrapped(const std::string& text) {
  std::istringstream words(text);
  std::string lines, word;
  for (size_t column = 0; words >> word; column += word.size()) {
    if (column > 0 && column + 1 + word.size() > kHelpWidth) {
      lines += '\n';
      column = 0;
    } else if (column > 0) {
      lines += ' ';
      ++column;
    }
    lines += word;
  }
  return lines;
}

// Returns the text with the program's name in place of each {program}.
std::string named(std::string text, const std::string& program) {
  constexpr std::string_view kPlace = "{program}";
  for (size_t at = 0; (at = text.find(kPlace, at)) != std::string::npos; at += program.size())
    text.replace(at, kPlace.size(), program);
  return text;
}

// The type of a flag's values: T itself, or that of a list or of an optional one.
template <class T>
struct Element {
  using type = T;
};
template <class T>
struct Element<std::vector<T>> {
  using type = T;
};
template <class T>
struct Element<std::optional<T>> {
  using type = T;
};

// Returns what is wrong with a number as it was typed; "" if nothing is. Numbers are decimal, and they must fit: CLI11
// alone reads 010 as 8 and takes the largest number for one that is larger.
template <class T>
std::string wrong_number(const std::string& text) {
  T value{};
  const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(begin, end, value);
  const bool whole = std::is_integral_v<T>;
  if (error == std::errc::result_out_of_range)
    return text + (whole ? " is too large" : " is too large or too small");
  if (error != std::errc() || stopped != end)
    return text + (whole ? " is not a whole number" : " is not a number");
  if constexpr (std::is_floating_point_v<T>)
    if (!std::isfinite(value)) return text + " is not a finite number";
  const size_t first = text.find_first_not_of("+-");
  if (text.size() > first + 1 && text[first] == '0' &&
      std::isdigit(static_cast<unsigned char>(text[first + 1])))
    return text + " begins with a 0, which some programs read as octal; leave that out";
  return "";
}

// Refuses "--out=", as a script gives it whose variable is unset: CLI11 would take the next argument for the value.
void check_empty_values(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.empty())
      throw UsageError("argument " + std::to_string(i) + " is empty; is a variable of the shell unset?");
    if (argument.starts_with("--") && argument.find('=') == argument.size() - 1)
      throw UsageError(std::string(argument) + " has an empty value; is a variable of the shell unset?");
  }
}

constexpr const char* kConfig = "--config";

// Returns what a file of flags gives, as arguments: --NAME=VALUE, also for an argument without dashes.
// Error: UsageError, naming the file.
std::vector<std::string> read_config_file(const CLI::App& app, const std::string& path) {
  const auto refuse = [&path](const std::string& what) {
    throw UsageError(std::string(kConfig) + "=" + path + ": " + what);
  };
  std::ifstream in(path);
  if (!in || std::filesystem::is_directory(path)) refuse("cannot be read");
  std::vector<std::string> arguments;
  std::set<std::string> names;
  for (const CLI::ConfigItem& item : CLI::ConfigBase().from_config(in)) {
    if (!item.parents.empty()) refuse("[" + item.parents.front() + "]: there are no sections here");
    const CLI::Option* option = app.get_option_no_throw("--" + item.name);
    if (!option) option = app.get_option_no_throw(item.name);
    if (!option || item.name.empty() || item.name.front() == '-' || item.name == "help")
      refuse("there is no flag called " + item.name);
    if ("--" + item.name == kConfig) refuse("a file names no other file");
    if (!names.insert(item.name).second) refuse(item.name + " is given twice");
    if (item.inputs.size() != 1 && option->get_multi_option_policy() != CLI::MultiOptionPolicy::TakeAll)
      refuse(item.name + " has " + std::to_string(item.inputs.size()) +
             " values, where one is expected; is a text without quotes?");
    for (const std::string& value : item.inputs) {
      if (value.empty()) refuse(item.name + " has an empty value");
      arguments.push_back("--" + item.name + "=" + value);
    }
  }
  if (in.bad()) refuse("cannot be read to its end");
  return arguments;
}

}  // namespace

Flag& Flag::required() {
  option_->required();
  return *this;
}
Flag& Flag::positive() {
  check("POSITIVE", [](double value) { return value > 0 ? "" : "it must be above 0"; });
  return *this;
}
Flag& Flag::non_negative() {
  check("NONNEGATIVE", [](double value) { return value >= 0 ? "" : "it must be 0 or above"; });
  return *this;
}
Flag& Flag::range(int64_t low, int64_t high) {
  const std::string wish = "it must be from " + std::to_string(low) + " to " + std::to_string(high);
  check("", [low, high, wish](double value) {
    return static_cast<double>(low) <= value && value <= static_cast<double>(high) ? "" : wish;
  });
  return *this;
}
// Adds a check of a number, which returns what is wrong with it. What is no number is the business of check_number().
void Flag::check(const std::string& help, const std::function<std::string(double)>& wrong) {
  option_->check(
      [wrong](const std::string& text) {
        double value = 0;
        const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
        const char* const end = text.data() + text.size();
        if (std::from_chars(begin, end, value).ec != std::errc()) return std::string();
        const std::string reason = wrong(value);
        return reason.empty() ? reason : text + ": " + reason;
      },
      help);
}
Flag& Flag::one_of(const std::vector<std::string>& values) {
  option_->check(CLI::IsMember(values));
  return *this;
}
Flag& Flag::comma_separated() {
  option_->delimiter(',');
  return *this;
}
Flag& Flag::one_argument() {
  option_->allow_extra_args(false);
  return *this;
}
Flag& Flag::keep_all() {
  option_->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return *this;
}
Flag& Flag::optional_value() {
  option_->expected(0, 1);
  return *this;
}
Flag& Flag::show_default() {
  option_->capture_default_str();
  return *this;
}
Flag& Flag::needs(const Flag& other) {
  option_->needs(other.option_);
  return *this;
}
Flag& Flag::on_value(const std::function<void(const std::string&)>& f) {
  option_->each(f);
  return *this;
}
Flag& Flag::in_group(const std::string& group) {
  option_->group(group);
  return *this;
}

Flags::Flags(const std::string& program, const std::string& description, const std::string& manual)
    : app_(new CLI::App(named(description, program), program)) {
  if (!manual.empty()) app_->footer("\n" + named(manual, program));
}

Flags::~Flags() {
  delete app_;
}

template <class T>
Flag Flags::add(const std::string& names, T& target, const std::string& help) {
  CLI::Option* const option = app_->add_option(names, target, wrapped(help));
  using Number = typename Element<T>::type;
  if constexpr (std::is_arithmetic_v<Number>) option->check(wrong_number<Number>, "");
  return Flag(option);
}

template Flag Flags::add(const std::string&, std::string&, const std::string&);
template Flag Flags::add(const std::string&, std::filesystem::path&, const std::string&);
template Flag Flags::add(const std::string&, int&, const std::string&);
template Flag Flags::add(const std::string&, int64_t&, const std::string&);
template Flag Flags::add(const std::string&, uint64_t&, const std::string&);
template Flag Flags::add(const std::string&, double&, const std::string&);
template Flag Flags::add(const std::string&, std::vector<std::string>&, const std::string&);
template Flag Flags::add(const std::string&, std::vector<int>&, const std::string&);
template Flag Flags::add(const std::string&, std::vector<int64_t>&, const std::string&);
template Flag Flags::add(const std::string&, std::vector<double>&, const std::string&);
template Flag Flags::add(const std::string&, std::optional<std::string>&, const std::string&);
template Flag Flags::add(const std::string&, std::optional<int64_t>&, const std::string&);
template Flag Flags::add(const std::string&, std::optional<double>&, const std::string&);

Flag Flags::add_switch(const std::string& names, bool& target, const std::string& help) {
  switches_.insert(names.substr(names.find('-')));  // without the ! of one that sets false
  return added_switch(app_->add_flag(names, target, wrapped(help)));
}

Flag Flags::add_switch(const std::string& names, std::string& target, const std::string& help) {
  return added_switch(app_->add_flag(names, target, wrapped(help)));
}

Flag Flags::add_switch(const std::string& names, int64_t& target, const std::string& help) {
  CLI::Option* const option = app_->add_flag(names, target, wrapped(help));
  option->check(wrong_number<int64_t>, "");
  return added_switch(option);
}

Flag Flags::added_switch(CLI::Option* option) {
  // CLI11 gives flags whose value may be left out a rule of their own: it adds up numbers, and takes the last of others.
  option->multi_option_policy(app_->option_defaults()->get_multi_option_policy());
  return Flag(option);
}

void Flags::last_value_wins() {
  app_->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

bool Flags::parse(int argc, char** argv) {
  check_empty_values(argc, argv);
  arguments_.assign(argv + 1, argv + argc);
  if (has(kConfig)) expand_config_file();
  try {
    parse_arguments();
    return true;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0)
      throw UsageError(error.what() +
                       (config_file_.empty() ? "" : " (with the flags of " + config_file_ + ")"));
    app_->exit(error);  // prints the help
    return false;
  }
}

void Flags::check_switch_values() const {
  for (const std::string& argument : arguments_) {
    const size_t equals = argument.find('=');
    if (equals == std::string::npos || !switches_.contains(argument.substr(0, equals))) continue;
    const std::string value = argument.substr(equals + 1);
    if (value != "true" && value != "false")
      throw UsageError(argument + ": the flag has no value, or true or false");
  }
}

void Flags::parse_arguments() {
  check_switch_values();
  app_->parse(
      std::vector<std::string>(arguments_.rbegin(), arguments_.rend()));  // CLI11 takes the last first
}

void Flags::add_config_file(const std::string& positional, const std::string& help) {
  config_positional_ = positional;
  add(kConfig, config_file_, help);
}

void Flags::expand_config_file() {
  const std::vector<std::string> typed = std::exchange(arguments_, {});
  for (size_t i = 0; i < typed.size(); ++i) {
    const bool apart = typed[i] == kConfig;  // the value is the next argument
    if (apart && i + 1 == typed.size()) throw UsageError(std::string(kConfig) + ": give a file");
    if (apart)
      config_file_ = typed[++i];
    else if (typed[i].starts_with(std::string(kConfig) + "="))
      config_file_ = typed[i].substr(std::string_view(kConfig).size() + 1);
    else
      arguments_.push_back(typed[i]);
  }
  if (config_file_.empty()) return;
  try {
    parse_arguments();
  } catch (const CLI::ParseError&) {  // the file may give what is missing; all else is told later
  }
  const std::vector<std::string> given = all_given();
  by_user_.emplace(given.begin(), given.end());
  std::vector<std::string> of_file = read_config_file(*app_, config_file_);
  if (!config_positional_.empty()) {
    const std::string prefix = "--" + config_positional_ + "=";
    const auto found = std::find_if(of_file.begin(), of_file.end(), [&prefix](const std::string& argument) {
      return argument.starts_with(prefix);
    });
    if (found != of_file.end() && by_user_->contains(config_positional_))
      of_file.erase(found);
    else if (found != of_file.end())
      *found = found->substr(prefix.size());
  }
  arguments_.insert(arguments_.begin(), of_file.begin(), of_file.end());
}

bool Flags::has(const std::string& name) const {
  return app_->get_option_no_throw(name) != nullptr;
}

bool Flags::given(const std::string& name) const {
  return app_->count(name) > 0;
}

std::vector<std::string> Flags::all_given() const {
  std::vector<std::string> names;
  for (const CLI::Option* option : app_->get_options())
    if (option->count() > 0) names.push_back(option->get_name());
  return names;
}

bool Flags::given_by_file(const std::string& name) const {
  return by_user_ && given(name) && !by_user_->contains(name);
}

std::vector<std::string> Flags::values(const std::string& name) const {
  const CLI::Option* const option = app_->get_option_no_throw(name);
  return option ? option->results() : std::vector<std::string>();
}

std::string Flags::program() const {
  return app_->get_name();
}

std::string quoted_for_config(const std::string& text) {
  for (const char quote : {'\'', '"'}) {
    const std::string quoted = quote + text + quote;
    std::istringstream lines("one = " + quoted + "\nlist = [" + quoted + ",\n" + quoted + "]\n");
    const std::vector<CLI::ConfigItem> items = CLI::ConfigBase().from_config(lines);
    if (items.size() == 2 && items[0].inputs == std::vector{text} &&
        items[1].inputs == std::vector{text, text})
      return quoted;
  }
  throw Error("a file of flags cannot hold this text, which CLI11 would not read as it is: " + text);
}

}  // namespace tandem
