// What tests of models share: reading golden files, comparing tensors.
#pragma once
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "models/named_tensor.h"

namespace tandem::test {

inline std::string golden_path(const std::string& name) {
  return std::string(TANDEM_TEST_DIR) + "/golden/" + name;
}

inline nlohmann::json golden_json(const std::string& name) {
  std::ifstream file(golden_path(name));
  return nlohmann::json::parse(file);
}

inline std::vector<NamedTensor> read_all(const SafetensorsFile& file) {
  std::vector<NamedTensor> all;
  for (const std::string& name : file.names()) all.push_back({name, file.get(name)});
  return all;
}

// Largest absolute difference over the largest absolute value expected.
inline double relative_error(const Tensor& actual, const Tensor& expected) {
  if (actual.shape() != expected.shape()) return INFINITY;
  const std::vector<double> a = actual.to(DType::f64).to_vector<double>();
  const std::vector<double> e = expected.to(DType::f64).to_vector<double>();
  double difference = 0, largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(std::abs(a[i] - e[i]) <= difference)) difference = std::abs(a[i] - e[i]);  // a NaN stays
    largest = std::max(largest, std::abs(e[i]));
  }
  return difference / largest;
}

}  // namespace tandem::test
