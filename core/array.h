// Whole-array primitives that the tensor and the tape stand on: fill, copy with conversion, add, find NaN and infinity.
// Those that write call Storage::touch() on what they write.
#pragma once
#include <cstdint>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

// Sets every element to `value`, converted to y's dtype.
void fill(const Tensor& y, double value);
// y = x, converted if the dtypes differ and copied across if the devices do. Error: the shapes differ.
void copy(const Tensor& y, const Tensor& x);
// y = x as copy() makes it, or 0 if x is undefined. Error: the shapes differ.
void copy_or_zeros(const Tensor& y, const Tensor& x);
// y = x if flag, f64 (1), is not 0; else leaves y as it is. Does not wait for the device. Error: x and y differ in
// shape, dtype or device, or the flag is not on their device.
void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag);
// y += x. Error: they differ in shape, dtype or device, or are not floating.
void add_in_place(const Tensor& y, const Tensor& x);
// Copies the elements of each xs[i] to y, (N), from the element begins[i] on; the other elements of y stay as they are. On
// a GPU many tensors are copied by one launch. Error: one differs from y in dtype or device, or does not fit into it;
// another number of begins.
void pack(const Tensor& y, const std::vector<Tensor>& xs, const std::vector<int64_t>& begins);
// Returns true if x has no NaN and no infinity; true for integer dtypes. Waits for the device.
bool all_finite(const Tensor& x);

namespace cpu {
void fill(const Tensor& y, double value);
void convert(const Tensor& y, const Tensor& x);
void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag);
void add_in_place(const Tensor& y, const Tensor& x);
void pack(const Tensor& y, const std::vector<Tensor>& xs, const std::vector<int64_t>& begins);
void all_finite(bool& finite, const Tensor& x);
}  // namespace cpu

namespace cuda {
void fill(const Tensor& y, double value);
void convert(const Tensor& y, const Tensor& x);
void copy_across(const Tensor& y, const Tensor& x);  // between host and device, either way; one dtype
void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag);
void add_in_place(const Tensor& y, const Tensor& x);
void pack(const Tensor& y, const std::vector<Tensor>& xs, const std::vector<int64_t>& begins);
void all_finite(bool& finite, const Tensor& x);
}  // namespace cuda

}  // namespace tandem
