// Rows of metrics and tensors as events of TensorBoard.
#include "tandem/tools/run/tensorboard.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "tandem/tools/run/metrics.h"

namespace tandem {
namespace {

// Indents every line of a text by four blanks, so that Markdown leaves it as it is.
std::string as_code(const std::string& text) {
  std::string code = "    ";
  for (const char c : text) code += c == '\n' ? std::string("\n    ") : std::string(1, c);
  return code;
}

}  // namespace

void write_row(EventFile& file, const nlohmann::ordered_json& row) {
  if (row.contains(kAtStop)) return;
  const auto step = row.at("step").get<int64_t>();
  if (row.contains("sample")) {
    const std::string tag = row.contains("weights_of_step") ? "sample/end" : "sample/on_the_way";
    return file.text(step, tag, as_code(row["prompt"].get<std::string>() + row["sample"].get<std::string>()));
  }
  std::vector<std::pair<std::string, double>> values;
  for (const auto& [name, value] : row.items()) {
    if (!value.is_number() || name == "step" || name == "symbols") continue;
    if (row.contains("loss")) {
      values.emplace_back("train/" + name, value.get<double>());
      continue;
    }
    for (const std::string group : {"dev", "test", "unknown"})
      if (name.starts_with(group + "_"))
        values.emplace_back(group + "/" + name.substr(group.size() + 1), value.get<double>());
  }
  if (!values.empty()) file.scalars(step, values);
}

void write_histograms(EventFile& file, int64_t step, const std::string& group,
                      const std::vector<NamedTensor>& tensors) {
  for (const auto& [name, value] : tensors)
    file.histogram(step, group + "/" + name,
                   Histogram::of(value.detach().to(Device::cpu()).to(DType::f32).to_vector<float>()));
}

}  // namespace tandem
