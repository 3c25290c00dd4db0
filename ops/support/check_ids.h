// The check of token ids that operators share.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Checks ids; `what` names the operator and the argument in the messages. Error: ids are not i32; or, on the
// CPU, an id is outside least..count-1 (the message gives its value and position). On a GPU the values are not
// checked, since that would wait for the device.
void check_ids(const char* what, const Tensor& ids, int64_t count, int64_t least = 0);

// Checks logits (..., V) and the targets (...) of an operator, but not the ids. Error: logits are not floating, or have no
// symbols for some targets; targets have not their leading sizes and device.
void check_logits_and_targets(const char* op, const Tensor& logits, const Tensor& targets);

}  // namespace tandem
