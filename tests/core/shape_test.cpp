// Shape: sizes, number of elements, limits, errors.
#include "tandem/core/shape.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "tandem/core/error.h"

using namespace tandem;

TEST_CASE("shape: rank, elements, axes from either end") {
  const Shape shape{4, 3, 5};
  CHECK(shape.rank() == 3);
  CHECK(shape.numel() == 60);
  CHECK(shape[0] == 4);
  CHECK(shape[-1] == 5);
  CHECK(shape[-3] == 4);
  CHECK(shape.back() == 5);
  CHECK(shape.str() == "(4, 3, 5)");
  CHECK(std::vector<int64_t>(shape.begin(), shape.end()) == std::vector<int64_t>{4, 3, 5});
}

TEST_CASE("shape: a scalar has rank 0 and one element") {
  const Shape scalar;
  CHECK(scalar.rank() == 0);
  CHECK(scalar.numel() == 1);
  CHECK(scalar.str() == "()");
  CHECK(scalar.tail() == scalar);
  CHECK(Shape{} == scalar);
}

TEST_CASE("shape: a zero among the sizes makes it empty, however large the others") {
  CHECK(Shape{0}.numel() == 0);
  CHECK(Shape{5, 0, 3}.numel() == 0);
  CHECK(Shape{INT64_MAX, 0, INT64_MAX}.numel() == 0);
}

TEST_CASE("shape: with and tail") {
  const Shape shape{4, 3, 5};
  CHECK(shape.with(0, 7) == Shape{7, 3, 5});
  CHECK(shape.with(-1, 1) == Shape{4, 3, 1});
  CHECK(shape.with(-1, 1).numel() == 12);
  CHECK(shape.tail() == Shape{3, 5});
  CHECK(shape.tail().numel() == 15);
}

TEST_CASE("shape: equality looks at rank and sizes") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK(Shape{2, 3} != Shape{3, 2});
  CHECK(Shape{2, 3} != Shape{2, 3, 1});
  CHECK(Shape{1} != Shape{});
}

TEST_CASE("shape: sizes past 2^31, up to 2^62 elements") {
  CHECK(Shape{int64_t{1} << 40, 1 << 20}.numel() == int64_t{1} << 60);
  CHECK(Shape{int64_t{1} << 62}.numel() == int64_t{1} << 62);
  CHECK_THROWS_WITH_AS((Shape{int64_t{1} << 62, 2}),
                       "Shape: (4611686018427387904, 2) has more than 2^62 elements", Error);
  CHECK_THROWS_AS((Shape{INT64_MAX}), Error);
  CHECK_THROWS_AS((Shape{int64_t{1} << 32, int64_t{1} << 32}), Error);
}

TEST_CASE("shape: errors say what is wrong") {
  CHECK_THROWS_WITH_AS((Shape{2, -1}), "Shape: negative size in (2, -1)", Error);
  CHECK_THROWS_WITH_AS((Shape{1, 1, 1, 1, 1, 1, 1}),
                       "Shape: 7 axes given (1, 1, 1, 1, 1, 1, 1); at most 6 are supported", Error);
  CHECK_THROWS_WITH_AS(
      Shape(std::span<const int64_t>(std::vector<int64_t>(1 << 20, 2))),
      "Shape: 1048576 axes given (2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, ...); at most 6 "
      "are supported",
      Error);
  const Shape shape{2, 3};
  CHECK_THROWS_WITH_AS(shape[2], "Shape: axis 2 of (2, 3) does not exist", Error);
  CHECK_THROWS_WITH_AS(shape[-3], "Shape: axis -3 of (2, 3) does not exist", Error);
  CHECK_THROWS_AS(shape.with(2, 1), Error);
  CHECK_THROWS_AS(shape.with(0, -1), Error);
  CHECK_THROWS_AS(Shape{}.back(), Error);
}
