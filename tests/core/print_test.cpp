// Printing of tensors: numbers, rows, the ends of large tensors, every dtype, on any device.
#include "tandem/core/print.h"

#include <doctest/doctest.h>

#include <cmath>
#include <sstream>

#include "tests/support/devices.h"

namespace tandem::testing {
namespace {

TEST_CASE("print: rows are aligned as NumPy aligns them, on any device") {
  for (const Device device : test_devices()) {
    const std::string place = device.str();
    CHECK(tensor_of({2, 2}, {1.0f, 2.5f, -3.0f, 0.25f}).to(device).str() ==
          "[[ 1.00  2.50]\n [-3.00  0.25]] f32 (2, 2) on " + place);
    CHECK(tensor_of({2, 1, 2}, {1, -20, 3, 4}).to(device).str() ==
          "[[[  1 -20]]\n [[  3   4]]] i32 (2, 1, 2) on " + place);
    std::ostringstream stream;
    stream << tensor_of({2}, {5.0, 7.0}).to(device);
    CHECK(stream.str() == "[5. 7.] f64 (2) on " + place);
  }
}

TEST_CASE("print: scalars, empty and undefined tensors") {
  CHECK(full({}, 0.5, DType::f32).str() == "0.5 f32 () on cpu");
  CHECK(zeros({0}, DType::f32).str() == "[] f32 (0) on cpu");
  CHECK(zeros({2, 0}, DType::f32).str() == "[[]\n []] f32 (2, 0) on cpu");
  CHECK(zeros({0, 2}, DType::f32).str() == "[] f32 (0, 2) on cpu");
  CHECK(Tensor().str() == "undefined tensor");
}

TEST_CASE("print: four digits after the point, or an exponent for very large and very small numbers") {
  CHECK(tensor_of({2}, {1.0 / 3, 100.0}).str() == "[  0.3333 100.0000] f64 (2) on cpu");
  CHECK(tensor_of({2}, {1.5e-7, 1.0}).str() == "[1.5e-07 1.0e+00] f64 (2) on cpu");
  CHECK(tensor_of({2}, {2.5e10, 0.0}).str() == "[2.5e+10 0.0e+00] f64 (2) on cpu");
  CHECK(tensor_of({3}, {std::nan(""), HUGE_VAL, -HUGE_VAL}).str() == "[ nan  inf -inf] f64 (3) on cpu");
  CHECK(tensor_of({2}, {1.0, 2.0}, DType::bf16).str() == "[1. 2.] bf16 (2) on cpu");
  CHECK(tensor_of({2}, {1, 255}, DType::u8).str() == "[  1 255] u8 (2) on cpu");
  CHECK(tensor_of({1}, {int64_t{9007199254740993}}).str() == "[9007199254740993] i64 (1) on cpu");
}

TEST_CASE("print: of a large tensor the ends of every axis are shown") {
  Tensor x({7, 400}, DType::i32);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<int32_t>()[i] = static_cast<int32_t>(i);
  CHECK(x.str() ==
        "[[   0    1    2 ...  397  398  399]\n [ 400  401  402 ...  797  798  799]\n"
        " [ 800  801  802 ... 1197 1198 1199]\n ...\n [1600 1601 1602 ... 1997 1998 1999]\n"
        " [2000 2001 2002 ... 2397 2398 2399]\n [2400 2401 2402 ... 2797 2798 2799]] i32 (7, 400) on cpu");
  CHECK(zeros({1001}, DType::f32).str() == "[0. 0. 0. ... 0. 0. 0.] f32 (1001) on cpu");
}

}  // namespace
}  // namespace tandem::testing
