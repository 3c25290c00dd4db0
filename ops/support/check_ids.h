// Ids of tokens: the check that operators taking them share.
#pragma once
#include "core/tensor.h"

namespace tandem {

// Error: ids are not i32; or, on the CPU, one is outside 0..count-1: named by value and position, with `what`
// (operator and argument) before it. On a GPU values are not looked at: that would wait for the device.
void check_ids(const char* what, const Tensor& ids, int64_t count);

}  // namespace tandem
