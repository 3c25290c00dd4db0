// Whole-array primitives that the tensor and the tape stand on: fill, copy with conversion, add, find
// non-finite.
#pragma once
#include "core/tensor.h"

namespace tandem {

void fill(const Tensor& y, double value);
// y = x, converting the dtype and crossing devices where they differ. Error: shapes differ.
void copy(const Tensor& y, const Tensor& x);
// y = x where flag, f64 (1), is not 0; else y stays as it is. One shape, dtype and device; does not wait for
// it.
void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag);
// y += x, same shape, floating dtype and device.
void add_in_place(const Tensor& y, const Tensor& x);
// No NaN and no infinity; true for integer dtypes. Waits for the device.
bool all_finite(const Tensor& x);

namespace cpu {
void fill(const Tensor& y, double value);
void convert(const Tensor& y, const Tensor& x);
void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag);
void add_in_place(const Tensor& y, const Tensor& x);
void all_finite(bool& finite, const Tensor& x);
}  // namespace cpu

namespace cuda {
void fill(const Tensor& y, double value);
void convert(const Tensor& y, const Tensor& x);
void copy_across(const Tensor& y,
                 const Tensor& x);  // host to device, device to host, device to device; same dtype
void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag);
void add_in_place(const Tensor& y, const Tensor& x);
void all_finite(bool& finite, const Tensor& x);
}  // namespace cuda

}  // namespace tandem
