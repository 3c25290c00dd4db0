// The flags of the programs, by CLI11.
#include "tools/run/flags.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <optional>
#include <sstream>

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

}  // namespace

Flag& Flag::required() {
  option_->required();
  return *this;
}
Flag& Flag::positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}
Flag& Flag::non_negative() {
  option_->check(CLI::NonNegativeNumber);
  return *this;
}
Flag& Flag::range(int64_t low, int64_t high) {
  option_->check(CLI::Range(low, high));
  return *this;
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
Flag& Flag::in_group(const std::string& group) {
  option_->group(group);
  return *this;
}

Flags::Flags(const std::string& program, const std::string& description, const std::string& manual)
    : app_(new CLI::App(description, program)) {
  if (!manual.empty()) app_->footer("\n" + manual);
}

Flags::~Flags() {
  delete app_;
}

template <class T>
Flag Flags::add(const std::string& names, T& target, const std::string& help) {
  return Flag(app_->add_option(names, target, wrapped(help)));
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
  return Flag(app_->add_flag(names, target, wrapped(help)));
}

Flag Flags::add_switch(const std::string& names, std::string& target, const std::string& help) {
  return Flag(app_->add_flag(names, target, wrapped(help)));
}

void Flags::last_value_wins() {
  app_->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

bool Flags::parse(int argc, char** argv) {
  try {
    app_->parse(argc, argv);
    return true;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) throw UsageError(error.what());
    app_->exit(error);  // prints the help
    return false;
  }
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

std::string Flags::program() const {
  return app_->get_name();
}

}  // namespace tandem
