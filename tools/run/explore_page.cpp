// Packing an exploration into JSON, and the frame of the page.
#include "tandem/tools/run/explore_page.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "tandem/core/check.h"
#include "tandem/core/format.h"
#include "tandem/core/utf8.h"
#include "tandem/tools/run/embedded_files.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostBytes = size_t{256} << 20;  // of a page

template <class T>
std::string base64(const std::vector<T>& values) {
  const auto* raw = reinterpret_cast<const unsigned char*>(values.data());
  const size_t bytes = values.size() * sizeof(T);
  TANDEM_CHECK(bytes < kMostBytes, "explore: one value takes {} of the page; give fewer --tokens",
               bytes_text(bytes));
  std::string text(4 * ((bytes + 2) / 3) + 1, '\0');  // and the 0 that OpenSSL writes after it
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), raw, static_cast<int>(bytes));
  text.pop_back();
  return text;
}

// Returns the texts of embedded files, one after another.
std::string embedded(std::initializer_list<const char*> names) {
  std::string text;
  for (const char* name : names) text += embedded_file(name);
  return text;
}

uint8_t byte_of(double share) {
  return static_cast<uint8_t>(std::lround(255 * std::clamp(share, 0.0, 1.0)));
}

// Also returns numbers below the least normal one, for which std::stod throws.
double three_digits(double value) {
  return std::strtod(fmt::format("{:.3g}", value).c_str(), nullptr);
}

std::string label_of(const std::string& piece, TokenUnit unit) {
  return unit == TokenUnit::word ? escaped_utf8(piece) : printable(piece);
}

// Returns the label of a token by itself.
std::string piece_label(const Vocabulary& vocabulary, int32_t id) {
  return label_of(vocabulary.piece(id, -1), vocabulary.level());
}

// Returns the labels of all tokens of a text. If a character of several bytes is written as that many tokens, it is the
// label of the first one, and the labels of the others are empty.
std::vector<std::string> labels(const std::vector<int32_t>& tokens, const Vocabulary& vocabulary) {
  const TokenUnit unit = vocabulary.level();
  std::vector<std::string> pieces, all;
  for (const int32_t id : tokens) pieces.push_back(vocabulary.piece(id, -1));
  while (all.size() < pieces.size()) {
    const size_t first = all.size(), end = std::min(pieces.size(), first + 4);
    std::string bytes;
    for (size_t i = first; i < end && pieces[i].size() == 1; ++i) bytes += pieces[i];
    const size_t length = unit == TokenUnit::word ? 0 : character_length(bytes);
    all.push_back(length < 2 ? label_of(pieces[first], unit) : printable(bytes.substr(0, length)));
    if (length > 1) all.resize(first + length);
  }
  return all;
}

double entropy_bits(std::span<const float> weights) {
  double sum = 0;
  for (const float w : weights)
    if (w > 0) sum -= static_cast<double>(w) * std::log2(static_cast<double>(w));
  return sum;
}

Json packed(const ExploredAttention& attention) {
  std::vector<uint8_t> codes;
  std::vector<float> largest, entropy;
  Json first = Json::array();
  for (const ExploredAttention::Row& row : attention.rows) {
    first.push_back(row.first);
    const size_t keys = row.weights.size() / static_cast<size_t>(attention.heads);
    for (size_t begin = 0; begin < row.weights.size(); begin += keys) {
      const std::span<const float> weights = std::span(row.weights).subspan(begin, keys);
      largest.push_back(*std::max_element(weights.begin(), weights.end()));
      entropy.push_back(static_cast<float>(entropy_bits(weights)));
      for (const float w : weights) codes.push_back(byte_of(w / largest.back()));
    }
  }
  return {{"layer", attention.name.layer}, {"name", attention.name.name},
          {"heads", attention.heads},      {"first", first},
          {"largest", base64(largest)},    {"entropy", base64(entropy)},
          {"weights", base64(codes)}};
}

Json packed(const ExploredSeries& series, int64_t most_units) {
  const auto [least, most] = std::minmax_element(series.values.begin(), series.values.end());
  const double low = *least, range = static_cast<double>(*most) - low;
  const int64_t stored = std::min(series.units, most_units);
  std::vector<uint8_t> codes;
  for (size_t begin = 0; begin < series.values.size(); begin += static_cast<size_t>(series.units))
    for (size_t unit = 0; unit < static_cast<size_t>(stored); ++unit)
      codes.push_back(byte_of(range > 0 ? (series.values[begin + unit] - low) / range : 0));
  return {{"layer", series.name.layer},
          {"name", series.name.name},
          {"units", series.units},
          {"stored", stored},
          {"low", low},
          {"high", *most},
          {"values", base64(codes)}};
}

// Adds tokens and predictions, and the labels of all ids that they name.
void add_predictions(Json& json, const Exploration& exploration, const Vocabulary& vocabulary) {
  json["level"] = name_of(vocabulary.level());
  json["tokens"] = labels(exploration.tokens, vocabulary);
  json["ids"] = exploration.tokens;
  json["segments"] = exploration.segments;
  std::set<int32_t> named;
  Json nats = Json::array(), ranks = Json::array(), likeliest = Json::array();
  for (const Prediction& one : exploration.predictions) {
    nats.push_back(one.nats);
    ranks.push_back(one.rank);
    Json row = Json::array();
    for (const auto& [id, p] : one.likeliest) {
      row.push_back(Json::array({id, three_digits(p)}));
      named.insert(id);
    }
    likeliest.push_back(row);
  }
  json["nats"] = nats;
  json["ranks"] = ranks;
  json["likeliest"] = likeliest;
  json["pieces"] = Json::object();
  for (const int32_t id : named) json["pieces"][std::to_string(id)] = piece_label(vocabulary, id);
}

constexpr const char* kPrecision =
    "Everything was computed for this text, segment by segment as evaluate reads it, and nothing is estimated. Probabilities, "
    "ranks and bits are the model's own: their sum is the score. Weights of attention are the operator's, before "
    "dropout; the page keeps them to 1/510 of the largest of their query, and gates and states to 1/510 of their range. "
    "\"max\" and \"mean\" are taken over the heads, and so not of weights that sum to 1 for \"max\".";

std::string escaped_html(std::string_view text) {
  std::string all;
  for (const char c : text) all += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
  return all;
}

// Returns JSON that may stand within an element: without a "<", no end of the element can begin.
std::string within_element(const Json& json) {
  std::string all;
  for (const char c : json.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    if (c == '<')
      all += "\\u003c";
    else
      all += c;
  }
  return all;
}

}  // namespace

std::string explore_page(const Exploration& exploration, const Vocabulary& vocabulary,
                         const ExplorePage& page) {
  Json json;
  json["facts"] = page.facts;
  json["precision"] = kPrecision;
  add_predictions(json, exploration, vocabulary);
  json["attention"] = Json::array();
  for (const ExploredAttention& one : exploration.attention) json["attention"].push_back(packed(one));
  json["series"] = Json::array();
  for (const ExploredSeries& one : exploration.series) json["series"].push_back(packed(one, page.units));
  json["numbers"] = Json::array();
  for (const ExploredNumber& one : exploration.numbers)
    json["numbers"].push_back({{"layer", one.name.layer}, {"name", one.name.name}, {"value", one.value}});

  const std::string title = escaped_html(page.title);
  std::string text =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + title +
      "</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<style>\n" +
      embedded({"compare/page.css", "explore_page/explore.css"}) + "</style></head><body>\n<h1>" + title +
      "</h1>\n" + embedded({"explore_page/body.html"}) + "<script type=\"application/json\" id=\"data\">" +
      within_element(json) + "</script>\n<script>\n" +
      embedded({"explore_page/values.js", "explore_page/pictures.js", "explore_page/explore.js"}) +
      "</script></body></html>\n";
  TANDEM_CHECK(text.size() <= kMostBytes,
               "explore: a page of {}, and browsers show {} at most; give fewer --tokens or --units",
               bytes_text(text.size()), bytes_text(kMostBytes));
  return text;
}

}  // namespace tandem
