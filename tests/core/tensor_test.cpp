// Tensor: handles, views, copies, conversions of dtype, ownership, errors.
#include "tandem/core/tensor.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "tandem/core/array.h"
#include "tandem/core/copied_tensors.h"
#include "tandem/core/error.h"
#include "tandem/core/host_memory.h"
#include "tandem/core/random.h"

using namespace tandem;

namespace {

Tensor iota(Shape shape) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return tensor_of<float>(shape, values);
}

}  // namespace

TEST_CASE("tensor: it has the shape, dtype and device that it was made with") {
  const Tensor x({2, 3, 4}, DType::bf16);
  CHECK(x.defined());
  CHECK(x.shape() == Shape{2, 3, 4});
  CHECK(x.rank() == 3);
  CHECK(x.size(-1) == 4);
  CHECK(x.numel() == 24);
  CHECK(x.nbytes() == 48);
  CHECK(x.dtype() == DType::bf16);
  CHECK(x.device() == Device::cpu());
  CHECK(x.summary() == "bf16 (2, 3, 4) on cpu");
  if (allocator_mode_from_environment() != AllocatorMode::direct)
    CHECK(reinterpret_cast<uintptr_t>(x.raw()) % 512 == 0);
}

TEST_CASE("tensor: it is made of zeros, of one value, or of given values") {
  CHECK(zeros({3}, DType::i64).to_vector<int64_t>() == std::vector<int64_t>{0, 0, 0});
  CHECK(full({2}, -1.5, DType::f64).to_vector<double>() == std::vector<double>{-1.5, -1.5});
  const Tensor x = full({2, 2}, 3, DType::i32);
  CHECK(zeros_like(x).to_vector<int32_t>() == std::vector<int32_t>{0, 0, 0, 0});
  CHECK(zeros_like(x).shape() == x.shape());
  CHECK(empty_like(x).dtype() == DType::i32);
  CHECK(empty_like(x).raw() != x.raw());
  CHECK(tensor_of<uint8_t>({2}, std::vector<uint8_t>{1, 255}).to_vector<uint8_t>() ==
        std::vector<uint8_t>{1, 255});
  CHECK(tensor_of({2}, {5.0, 7.0}).to_vector<double>() == std::vector<double>{5, 7});
  CHECK(tensor_of({2, 1}, {5, 7}).to_vector<int32_t>() == std::vector<int32_t>{5, 7});
  CHECK(tensor_of({2}, {5.5, 7.0}, DType::f32).to_vector<float>() == std::vector<float>{5.5, 7});
  CHECK_THROWS_WITH_AS(tensor_of({3}, {1.0f}), "tensor_of: 1 values given for shape (3) of 3 elements",
                       Error);
  CHECK_THROWS_WITH_AS(tensor_of<float>({2, 2}, std::vector<float>{1, 2, 3}),
                       "tensor_of: 3 values given for shape (2, 2) of 4 elements", Error);
}

TEST_CASE("tensor: it may be a scalar or empty") {
  const Tensor scalar = full({}, 2.5, DType::f32);
  CHECK(scalar.rank() == 0);
  CHECK(scalar.item() == 2.5);
  const Tensor empty({3, 0}, DType::f32);
  CHECK(empty.defined());
  CHECK(empty.numel() == 0);
  CHECK(empty.raw() != nullptr);
  CHECK(empty.span<float>().empty());
  CHECK(empty.clone().shape() == Shape{3, 0});
  CHECK(empty.to(DType::f64).numel() == 0);
}

TEST_CASE("tensor: copies of the handle share the elements, clones do not") {
  const Tensor a = iota({4});
  const Tensor b = a;
  const Tensor c = a.clone();
  a.data<float>()[1] = 10;
  CHECK(b.span<float>()[1] == 10);
  CHECK(c.span<float>()[1] == 1);
  CHECK(a.same_as(b));
  CHECK_FALSE(a.same_as(c));
}

TEST_CASE("tensor: views of rows share memory, to any depth") {
  const Tensor x = iota({4, 3});
  const Tensor rows = x.view_rows(1, 3);
  CHECK(rows.shape() == Shape{2, 3});
  CHECK(rows.to_vector<float>() == std::vector<float>{3, 4, 5, 6, 7, 8});
  const Tensor row = rows.view_rows(1, 2);
  CHECK(row.to_vector<float>() == std::vector<float>{6, 7, 8});
  row.data<float>()[0] = -1;
  CHECK(x.span<float>()[6] == -1);
  CHECK(row.storage() == x.storage());
  CHECK(x.view_rows(4, 4).numel() == 0);
  CHECK(row.clone().to_vector<float>() == std::vector<float>{-1, 7, 8});
  CHECK(row.to(DType::i32).to_vector<int32_t>() == std::vector<int32_t>{-1, 7, 8});
}

TEST_CASE("tensor: a view of another shape shares memory and keeps its place") {
  const Tensor x = iota({4, 3});
  const Tensor y = x.view_rows(2, 4).view_as({3, 2});
  CHECK(y.to_vector<float>() == std::vector<float>{6, 7, 8, 9, 10, 11});
  CHECK(y.view_rows(1, 2).to_vector<float>() == std::vector<float>{8, 9});
  y.data<float>()[0] = -1;
  CHECK(x.span<float>()[6] == -1);
}

TEST_CASE("tensor: a view keeps the memory alive after its base is gone") {
  Tensor view;
  const MemoryStatistics before = host_allocator().statistics();
  {
    const Tensor x = iota({1000, 100});
    view = x.view_rows(999, 1000);
  }
  CHECK(host_allocator().statistics().in_use >= before.in_use + 400000);
  CHECK(view.span<float>()[99] == 99999);
  view = Tensor();
  CHECK(host_allocator().statistics().in_use == before.in_use);
}

TEST_CASE("tensor: sole_owner sees other handles, views, and undefined tensors") {
  CHECK_FALSE(Tensor().sole_owner());
  Tensor x = iota({4});
  CHECK(x.sole_owner());
  {
    const Tensor copy = x;
    CHECK_FALSE(x.sole_owner());
  }
  CHECK(x.sole_owner());
  {
    const Tensor view = x.view_rows(0, 2);
    CHECK_FALSE(x.sole_owner());
    CHECK_FALSE(view.sole_owner());
  }
  CHECK(x.sole_owner());
  {
    const Tensor detached = x.detach();
    CHECK_FALSE(x.sole_owner());
  }
  Tensor moved = std::move(x);
  CHECK(moved.sole_owner());
}

TEST_CASE("tensor: to() its own dtype or device shares the memory") {
  const Tensor x = iota({4});
  CHECK(x.to(DType::f32).raw() == x.raw());
  CHECK(x.to(Device::cpu()).raw() == x.raw());
  CHECK(x.to(DType::f64).raw() != x.raw());
}

TEST_CASE("tensor: item converts any dtype, exactly where a double can hold it") {
  CHECK(full({1}, 7, DType::u8).item() == 7);
  CHECK(full({1, 1}, -7, DType::i32).item() == -7);
  CHECK(full({}, 0.25, DType::bf16).item() == 0.25);
  CHECK(tensor_of<int64_t>({1}, std::vector<int64_t>{(int64_t{1} << 53) - 1}).item() == 0x1p53 - 1);
  CHECK_THROWS_WITH_AS(iota({2}).item(), "Tensor::item: needs one element, got f32 (2) on cpu", Error);
}

TEST_CASE("tensor: errors say what was asked of what") {
  const Tensor x = iota({2, 3});
  CHECK_THROWS_WITH_AS(x.data<double>(),
                       "Tensor::data: f32 (2, 3) on cpu read as f64; convert with .to(DType::f64)", Error);
  CHECK_THROWS_AS(x.span<int32_t>(), Error);
  CHECK_THROWS_AS(x.to_vector<bf16>(), Error);
  CHECK_THROWS_WITH_AS(x.view_rows(1, 3), "Tensor::view_rows: rows 1 to 3 of f32 (2, 3) on cpu do not exist",
                       Error);
  CHECK_THROWS_AS(x.view_rows(-1, 1), Error);
  CHECK_THROWS_AS(x.view_rows(2, 1), Error);
  CHECK_THROWS_AS(full({}, 1, DType::f32).view_rows(0, 0), Error);
  CHECK_THROWS_WITH_AS(
      x.view_as({5}),
      "Tensor::view_as: f32 (2, 3) on cpu cannot be seen with shape (5): the number of elements differs",
      Error);
  CHECK_THROWS_WITH_AS(x.size(2), "Tensor::size: axis 2 of f32 (2, 3) on cpu does not exist", Error);
  CHECK_THROWS_WITH_AS(zeros_like(Tensor()), "zeros_like: x is an undefined tensor; give it a value first",
                       Error);
  const Tensor none;
  CHECK_FALSE(none.defined());
  CHECK(none.summary() == "undefined tensor");
  CHECK_THROWS_WITH_AS(none.shape(), "Tensor::shape: this tensor is undefined; give it a value first", Error);
  CHECK_THROWS_AS(none.clone(), Error);
  CHECK_THROWS_AS(Tensor({1}, DType::f32, Device::cuda(63)), Error);
}

TEST_CASE("tensor: a request for more memory than there is throws OutOfMemory with the size") {
  try {
    Tensor({int64_t{1} << 58}, DType::f64);
    FAIL("no error");
  } catch (const OutOfMemory& error) {
    CHECK(std::string(error.what()).find("cpu: out of memory: asked for 2147483648.00 GiB") !=
          std::string::npos);
  }
  CHECK_THROWS_AS(Tensor({int64_t{1} << 61}, DType::f64), OutOfMemory);  // 2^64 bytes
  CHECK_THROWS_AS(Tensor({int64_t{1} << 62}, DType::f64), OutOfMemory);  // 2^65 bytes
}

TEST_CASE("tensor: copied_tensors lists what a function object captured") {
  const Tensor x = iota({4}), y = iota({2}), none;
  const std::vector<Tensor> both{x, y};
  const auto f = [x, both, none] { return x.numel() + both[1].numel() + none.defined(); };
  std::vector<Tensor> inner;
  const std::vector<Tensor> captured = copied_tensors([&] {
    const auto copy = f;
    inner = copied_tensors([&y] { const Tensor again = y; });  // nested: its copies are its own
    CHECK(copy() == 6);
  });
  REQUIRE(captured.size() == 3);
  CHECK(captured[0].same_as(x));
  CHECK(captured[1].same_as(x));
  CHECK(captured[2].same_as(y));
  REQUIRE(inner.size() == 1);
  CHECK(inner[0].same_as(y));
  CHECK_THROWS_AS(copied_tensors([] { throw Error("no"); }), Error);
  CHECK(copied_tensors([] {}).empty());
}

TEST_CASE("tensor: writing functions count a version of the storage") {
  const Tensor x = iota({4});
  const auto version = [&x] { return x.storage()->version(); };
  uint64_t last = version();
  const auto counted = [&] {
    const uint64_t before = std::exchange(last, version());
    return last > before;
  };
  fill(x.view_rows(0, 1), 2);
  CHECK(counted());
  copy(x, iota({4}));
  CHECK(counted());
  add_in_place(x, x);
  CHECK(counted());
  Random(1).fill_normal(x, 0, 1);
  CHECK(counted());
  x.data<float>()[0] = 5;
  CHECK(!counted());  // a writer through a pointer must say so
  x.storage()->touch();
  CHECK(counted());
}
