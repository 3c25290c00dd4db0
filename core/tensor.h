// Tensor: a handle to contiguous row-major elements. Copies of the handle share the elements.
//
// Views (rows of the leading axis, another shape) share memory too, and are contiguous as well: a transpose is an
// argument of matmul and not a kind of tensor. So every kernel is a plain loop. Letters used everywhere: T time, M
// memory length, B batch, D width, H heads, V vocabulary, L layers; recurrent models are time-major, (T, B, D).
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/core/device.h"
#include "tandem/core/dtype.h"
#include "tandem/core/shape.h"
#include "tandem/core/storage.h"

namespace tandem {

struct GradNode;  // what autograd/ keeps with a tensor; opaque here

class Tensor {
 public:
  Tensor() = default;  // undefined: means "none" where an operator allows it
  Tensor(const Tensor& other) : impl_(other.impl_) {
    if (copies_) [[unlikely]]
      note_copy();
  }
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(const Tensor&) = default;
  Tensor& operator=(Tensor&&) noexcept = default;
  ~Tensor() = default;
  // Allocates uninitialised elements. Error: OutOfMemory; the device cannot be used.
  Tensor(Shape shape, DType dtype, Device device = Device::cpu());

  bool defined() const { return impl_ != nullptr; }
  // Error, of these and of all that follow: the tensor is undefined.
  const Shape& shape() const { return impl("shape").shape; }
  int rank() const { return impl("rank").shape.rank(); }
  int64_t size(int axis) const;  // -1 is the last axis. Error: no such axis.
  int64_t numel() const { return impl("numel").shape.numel(); }
  DType dtype() const { return impl("dtype").dtype; }
  Device device() const { return impl("device").device; }
  size_t nbytes() const { return static_cast<size_t>(numel()) * size_of(dtype()); }

  // Returns a pointer to the first element. A const handle still gives writable elements; see Storage::touch() before
  // writing to a parameter. Error: T is not the dtype.
  template <class T>
  T* data() const {
    check_dtype(dtype_of<T>());
    return static_cast<T*>(raw());
  }
  void* raw() const;
  // Returns all elements in order. Deleted for temporaries, since a loop over x.to(...).span<T>() would read freed
  // memory. Error: T is not the dtype, or the tensor is not on the CPU.
  template <class T>
  std::span<T> span() const& {
    check_host();
    return {data<T>(), static_cast<size_t>(numel())};
  }
  template <class T>
  std::span<T> span() const&& = delete;
  template <class T>
  std::vector<T> to_vector() const {
    const Tensor host = detach().to(Device::cpu());
    return {host.data<T>(), host.data<T>() + numel()};
  }
  // Returns the element of a one-element tensor, converted from its dtype. Waits for the device.
  double item() const;

  // Returns a tensor that shares the elements but has no gradient history.
  Tensor detach() const;
  // Views share memory and carry NO gradient; the operators slice() and reshape() do.
  Tensor view_rows(int64_t begin, int64_t end) const;  // rows begin to end - 1 of the leading axis
  Tensor view_as(Shape shape) const;                   // Error: the number of elements differs

  // Copies. to() shares the elements if dtype or device already fit. While a tape records, a copy of a tensor that needs
  // a gradient is recorded: the gradient flows back through it, converted to this dtype and device. An integer copy has
  // none. Where no gradient is wanted, write detach().to(...).
  Tensor clone() const;
  Tensor to(DType dtype) const;  // rounds to nearest
  Tensor to(Device device) const;

  std::string summary() const;  // "f32 (2, 3) on cpu"
  std::string str() const;      // the values, then the summary; see core/print.h
  bool same_as(const Tensor& other) const { return impl_ == other.impl_; }
  // Returns true if no other handle or view sees this memory, so that it may be overwritten in place.
  bool sole_owner() const { return defined() && impl_.use_count() == 1 && impl_->storage.use_count() == 1; }
  const std::shared_ptr<Storage>& storage() const { return impl("storage").storage; }

  const std::shared_ptr<GradNode>& node() const { return impl("node").node; }
  void set_node(std::shared_ptr<GradNode> node) const { impl("set_node").node = std::move(node); }

 private:
  struct Impl {
    Shape shape;
    DType dtype;
    Device device;
    std::shared_ptr<Storage> storage;
    int64_t offset = 0;  // in elements
    std::shared_ptr<GradNode> node;
  };
  Impl& impl(const char* function) const {
    if (!impl_) [[unlikely]]
      throw_undefined(function);
    return *impl_;
  }
  [[noreturn]] static void throw_undefined(const char* function);
  Tensor recorded_copy(const char* function, const Tensor& y) const;
  void check_dtype(DType wanted) const;
  void check_host() const;

  // See core/copied_tensors.h.
  friend std::vector<Tensor> copied_tensors(const std::function<void()>& f);
  void note_copy() const;
  inline static constinit thread_local std::vector<Tensor>* copies_ = nullptr;

  std::shared_ptr<Impl> impl_;
};

Tensor empty_like(const Tensor& x);  // uninitialised
Tensor zeros(Shape shape, DType dtype, Device device = Device::cpu());
Tensor zeros_like(const Tensor& x);
Tensor full(Shape shape, double value, DType dtype, Device device = Device::cpu());

// Returns a tensor of T's dtype with these elements. Error: their number does not fit the shape.
template <class T>
Tensor tensor_of(Shape shape, std::span<const T> values);
template <class T>
Tensor tensor_of(Shape shape, const std::vector<T>& values) {
  return tensor_of<T>(shape, std::span<const T>(values));
}
// The same for a list: tensor_of({2}, {5.0, 7.0}) is f64, {5.0f, 7.0f} f32, {5, 7} i32.
template <class T>
Tensor tensor_of(Shape shape, std::initializer_list<T> values) {
  return tensor_of<T>(shape, std::span<const T>(values.begin(), values.size()));
}
// The same in another dtype: tensor_of({2}, {5.0, 7.0}, DType::f32).
template <class T>
Tensor tensor_of(Shape shape, std::initializer_list<T> values, DType dtype) {
  return tensor_of<T>(shape, values).to(dtype);
}

namespace detail {
// Records `y`, a copy of x made by `function`, on the current tape, and returns it tracked; or returns y, if nothing is
// recorded. Set by autograd/tape.cpp, since core/ knows no tape; null in a program that uses none.
using RecordCopy = Tensor (*)(const char* function, const Tensor& y, const Tensor& x);
inline constinit RecordCopy record_copy = nullptr;
}  // namespace detail

}  // namespace tandem
