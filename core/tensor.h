// Tensor: a handle to contiguous row-major elements. Copies of the handle share the elements.
//
// A view of the leading axis shares memory too; nothing else does: a transpose is an argument of matmul, not
// a kind of tensor. So every kernel is a plain loop. Letters used everywhere: T time, M memory length, B
// batch, D width, H heads, V vocabulary, L layers; recurrent models are time-major, (T, B, D).
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/storage.h"

namespace tandem {

struct GradNode;  // what autograd/ keeps with a tensor; opaque here
class CopyWatch;

class Tensor {
 public:
  Tensor() = default;  // undefined: stands for "none" where an operator allows it
  Tensor(const Tensor& other) : impl_(other.impl_) {
    if (copy_watch_) [[unlikely]]
      tell_watch();
  }
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(const Tensor&) = default;
  Tensor& operator=(Tensor&&) noexcept = default;
  ~Tensor() = default;
  // Uninitialised elements.
  Tensor(Shape shape, DType dtype, Device device = Device::cpu());

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const { return impl().shape; }
  int rank() const { return impl().shape.rank(); }
  int64_t size(int axis) const { return impl().shape[axis]; }  // -1 is the last axis
  int64_t numel() const { return impl().shape.numel(); }
  DType dtype() const { return impl().dtype; }
  Device device() const { return impl().device; }
  size_t nbytes() const { return static_cast<size_t>(numel()) * size_of(dtype()); }

  // The first element. Constness of the handle says nothing of the elements. Error: T is not the dtype.
  template <class T>
  T* data() const {
    check_dtype(dtype_of<T>());
    return static_cast<T*>(raw());
  }
  void* raw() const;
  // All elements in order. Not of a temporary: a loop over x.to(...).span<T>() would read freed memory.
  // Error: T is not the dtype, or the tensor is not on the CPU.
  template <class T>
  std::span<T> span() const& {
    check_host();
    return {data<T>(), static_cast<size_t>(numel())};
  }
  template <class T>
  std::span<T> span() const&& = delete;
  template <class T>
  std::vector<T> to_vector() const {
    const Tensor host = to(Device::cpu());
    return {host.data<T>(), host.data<T>() + numel()};
  }
  // The one element of a one-element tensor, converted from its dtype (waits for the device).
  double item() const;

  // Same elements, no gradient history.
  Tensor detach() const;
  // Views that share memory and carry NO gradient: operators `slice` and `reshape` are the ones that do.
  Tensor view_rows(int64_t begin, int64_t end) const;  // of the leading axis
  Tensor view_as(Shape shape) const;                   // Error: another number of elements

  // Copies; no gradient history.
  Tensor clone() const;
  Tensor to(DType dtype) const;    // rounds to nearest; itself, detached, when it already is
  Tensor to(Device device) const;  // itself, detached, when it is there

  std::string str() const;  // "f32 (2, 3) on cpu"
  bool same_as(const Tensor& other) const { return impl_ == other.impl_; }
  // Memory seen by no other tensor: may be written in place by whoever holds this handle.
  bool sole_owner() const { return defined() && impl_.use_count() == 1 && impl_->storage.use_count() == 1; }
  const std::shared_ptr<Storage>& storage() const { return impl().storage; }

  const std::shared_ptr<GradNode>& node() const { return impl().node; }
  void set_node(std::shared_ptr<GradNode> node) const { impl().node = std::move(node); }

 private:
  struct Impl {
    Shape shape;
    DType dtype;
    Device device;
    std::shared_ptr<Storage> storage;
    int64_t offset = 0;  // in elements
    std::shared_ptr<GradNode> node;
  };
  Impl& impl() const {
    if (!impl_) [[unlikely]]
      throw_undefined();
    return *impl_;
  }
  [[noreturn]] static void throw_undefined();
  void check_dtype(DType wanted) const;
  void check_host() const;
  void tell_watch() const;

  friend class CopyWatch;
  inline static constinit thread_local CopyWatch* copy_watch_ = nullptr;
  std::shared_ptr<Impl> impl_;
};

// Sees every tensor that is copied on this thread while it lives. A lambda cannot be asked what it captured,
// but copying one copies its captures: so the tape learns what a backward function keeps alive.
class CopyWatch {
 public:
  CopyWatch() : outer_(Tensor::copy_watch_) { Tensor::copy_watch_ = this; }
  ~CopyWatch() { Tensor::copy_watch_ = outer_; }
  CopyWatch(const CopyWatch&) = delete;
  CopyWatch& operator=(const CopyWatch&) = delete;

  struct Seen {
    std::shared_ptr<Storage> storage;
    std::shared_ptr<GradNode> node;
  };
  const std::vector<Seen>& seen() const { return seen_; }

 private:
  friend class Tensor;
  std::vector<Seen> seen_;
  CopyWatch* outer_;
};

Tensor empty_like(const Tensor& x);
Tensor zeros(Shape shape, DType dtype, Device device = Device::cpu());
Tensor zeros_like(const Tensor& x);
Tensor full(Shape shape, double value, DType dtype, Device device = Device::cpu());

// A tensor of T's dtype with these elements. Error: their number does not fit the shape.
template <class T>
Tensor tensor_of(Shape shape, std::span<const T> values);
template <class T>
Tensor tensor_of(Shape shape, const std::vector<T>& values) {
  return tensor_of<T>(shape, std::span<const T>(values));
}

}  // namespace tandem
