// Sizes of a tensor's axes, outermost first: up to six, without a heap allocation.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace tandem {

class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;  // a scalar: rank 0, one element
  // Error: more than six axes, a negative size, or a product beyond 2^62.
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes);

  int rank() const { return rank_; }
  int64_t numel() const { return numel_; }
  // Returns the size of an axis; -1 is the last. Error: no such axis.
  int64_t operator[](int axis) const;
  int64_t back() const { return (*this)[-1]; }
  // Returns this shape with one axis of another size. Error: no such axis.
  Shape with(int axis, int64_t size) const;
  // Returns this shape without the leading axis; a scalar stays a scalar.
  Shape tail() const { return Shape(std::span(sizes_.data() + 1, rank_ > 0 ? rank_ - 1 : 0)); }

  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }
  std::string str() const;  // "(64, 512)"

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && std::equal(a.begin(), a.end(), b.begin());
  }

 private:
  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
  int64_t numel_ = 1;
};

}  // namespace tandem
