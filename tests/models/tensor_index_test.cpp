// Lists of named tensors by name, and what loading them refuses.
#include "tandem/models/tensor_index.h"

#include <doctest/doctest.h>

#include "tandem/models/module.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

struct Pair : Module {
  Pair() {
    add_parameter("a", zeros({2}, DType::f32));
    add_parameter("b", zeros({3}, DType::f32));
  }
};

}  // namespace

TEST_CASE("tensor index: finds tensors by name, and refuses a name that is given twice") {
  const std::vector<NamedTensor> tensors = {{"a", full({2}, 1, DType::f32)}, {"b", full({3}, 2, DType::f32)}};
  const TensorIndex index(tensors, "list");
  CHECK(index.find("b").shape() == Shape{3});
  CHECK(index.has("a"));
  CHECK_FALSE(index.find("c").defined());
  const std::vector<NamedTensor> twice = {tensors[0], tensors[1], tensors[0]};
  CHECK(error_of([&twice] { TensorIndex(twice, "list"); }) == "list: the tensor a is given twice");
}

TEST_CASE("module: values with one name twice, or for no parameter, are refused and change nothing") {
  Pair pair;
  const Tensor a = full({2}, 1, DType::f32), b = full({3}, 2, DType::f32);
  CHECK(error_of([&] { pair.load({{"a", a}, {"b", b}, {"a", a}}); }) == "load: the tensor a is given twice");
  CHECK(error_of([&] {
          pair.load({{"a", a}, {"b", b}, {"c\x1b[2J", a}});
        }) == "load: 3 values for 2 parameters; this model has no c\\x1b[2J");
  CHECK(pair.parameters()[0].value.to_vector<float>() == std::vector<float>{0, 0});
  pair.load({{"b", b}, {"a", a}});
  CHECK(pair.parameters()[0].value.to_vector<float>() == std::vector<float>{1, 1});
}

}  // namespace tandem::testing
