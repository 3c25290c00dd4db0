// Making, viewing and copying tensors.
#include "tandem/core/tensor.h"

#include <cstring>

#include "tandem/core/allocation_budget.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"

namespace tandem {

namespace {

// Returns the bytes of the elements; if they overflow size_t, its maximum, which the allocator refuses.
size_t bytes_of(const Shape& shape, DType dtype) {
  const auto elements = static_cast<size_t>(shape.numel());
  return elements > SIZE_MAX / size_of(dtype) ? SIZE_MAX : elements * size_of(dtype);
}

}  // namespace

Tensor::Tensor(Shape shape, DType dtype, Device device) : impl_(std::make_shared<Impl>()) {
  impl_->shape = shape;
  impl_->dtype = dtype;
  impl_->device = device;
  AllocationBudget::take(bytes_of(shape, dtype));
  impl_->storage = std::make_shared<Storage>(bytes_of(shape, dtype), device);
}

void* Tensor::raw() const {
  const Impl& self = impl("raw");
  return static_cast<std::byte*>(self.storage->data()) +
         self.offset * static_cast<int64_t>(size_of(self.dtype));
}

void Tensor::throw_undefined(const char* function) {
  detail::fail("Tensor::{}: this tensor is undefined; give it a value first", function);
}

int64_t Tensor::size(int axis) const {
  const Shape& shape = impl("size").shape;
  TANDEM_CHECK(axis >= -shape.rank() && axis < shape.rank(), "Tensor::size: axis {} of {} does not exist",
               axis, summary());
  return shape[axis];
}

void Tensor::check_dtype(DType wanted) const {
  if (impl("data").dtype != wanted) [[unlikely]]
    detail::fail("Tensor::data: {} read as {}; convert with .to(DType::{})", summary(), name_of(wanted),
                 name_of(wanted));
}

void Tensor::check_host() const {
  TANDEM_CHECK(impl("span").device.is_cpu(),
               "Tensor::span: {} read from the host; copy it with .to(Device::cpu())", summary());
}

double Tensor::item() const {
  TANDEM_CHECK(impl("item").shape.numel() == 1, "Tensor::item: needs one element, got {}", summary());
  const Tensor host = detach().to(Device::cpu()).to(DType::f64);
  return *host.data<double>();
}

Tensor Tensor::detach() const {
  Tensor y;
  y.impl_ = std::make_shared<Impl>(impl("detach"));
  y.impl_->node = nullptr;
  return y;
}

Tensor Tensor::view_rows(int64_t begin, int64_t end) const {
  const Shape& shape = impl("view_rows").shape;
  TANDEM_CHECK(shape.rank() >= 1 && begin >= 0 && begin <= end && end <= shape[0],
               "Tensor::view_rows: rows {} to {} of {} do not exist", begin, end, summary());
  Tensor y = detach();
  const Shape tail = shape.tail();
  y.impl_->offset += begin * tail.numel();
  y.impl_->shape = shape.with(0, end - begin);
  return y;
}

Tensor Tensor::view_as(Shape shape) const {
  TANDEM_CHECK(shape.numel() == impl("view_as").shape.numel(),
               "Tensor::view_as: {} cannot be seen with shape {}: the number of elements differs", summary(),
               shape.str());
  Tensor y = detach();
  y.impl_->shape = shape;
  return y;
}

Tensor Tensor::recorded_copy(const char* function, const Tensor& y) const {
  return impl_->node && detail::record_copy ? detail::record_copy(function, y, *this) : y;
}

Tensor Tensor::clone() const {
  const Impl& self = impl("clone");
  const Tensor y(self.shape, self.dtype, self.device);
  copy(y, *this);
  return recorded_copy("clone", y);
}

Tensor Tensor::to(DType dtype) const {
  const Impl& self = impl("to");
  if (dtype == self.dtype) return recorded_copy("to", detach());
  const Tensor y(self.shape, dtype, self.device);
  copy(y, *this);
  return recorded_copy("to", y);
}

Tensor Tensor::to(Device device) const {
  const Impl& self = impl("to");
  if (device == self.device) return recorded_copy("to", detach());
  const Tensor y(self.shape, self.dtype, device);
  copy(y, *this);
  return recorded_copy("to", y);
}

std::string Tensor::summary() const {
  if (!defined()) return "undefined tensor";
  return fmt::format("{} {} on {}", name_of(dtype()), shape().str(), device().str());
}

Tensor empty_like(const Tensor& x) {
  check_defined("empty_like", {{"x", x}});
  return Tensor(x.shape(), x.dtype(), x.device());
}

Tensor zeros(Shape shape, DType dtype, Device device) {
  return full(shape, 0.0, dtype, device);
}

Tensor zeros_like(const Tensor& x) {
  check_defined("zeros_like", {{"x", x}});
  return zeros(x.shape(), x.dtype(), x.device());
}

Tensor full(Shape shape, double value, DType dtype, Device device) {
  Tensor y(shape, dtype, device);
  fill(y, value);
  return y;
}

template <class T>
Tensor tensor_of(Shape shape, std::span<const T> values) {
  TANDEM_CHECK(static_cast<int64_t>(values.size()) == shape.numel(),
               "tensor_of: {} values given for shape {} of {} elements", values.size(), shape.str(),
               shape.numel());
  Tensor y(shape, dtype_of<T>());
  if (!values.empty()) std::memcpy(y.raw(), values.data(), values.size_bytes());
  return y;
}

template Tensor tensor_of<float>(Shape, std::span<const float>);
template Tensor tensor_of<double>(Shape, std::span<const double>);
template Tensor tensor_of<bf16>(Shape, std::span<const bf16>);
template Tensor tensor_of<int32_t>(Shape, std::span<const int32_t>);
template Tensor tensor_of<int64_t>(Shape, std::span<const int64_t>);
template Tensor tensor_of<uint8_t>(Shape, std::span<const uint8_t>);

}  // namespace tandem
