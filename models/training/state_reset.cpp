// Columns of the recurrent state that begin anew.
#include "tandem/models/training/state_reset.h"

#include "tandem/core/array.h"

namespace tandem {
namespace {

// Returns whether a part holds rows that attention sees: "memory.5", or that of a teacher.
bool is_memory(const std::string& name) {
  return name.starts_with("memory.") || name.find(".memory.") != std::string::npos;
}

// Parts are (B, ...) or, if they have three axes, rows over time (T, B, C).
void clear_column(const Tensor& part, int64_t column) {
  if (part.rank() != 3) return fill(part.view_rows(column, column + 1), 0);
  for (int64_t t = 0; t < part.size(0); ++t)
    fill(part.view_rows(t, t + 1).view_as(part.shape().tail()).view_rows(column, column + 1), 0);
}

}  // namespace

std::vector<int64_t> columns_to_reset(int64_t step, int64_t every, IndexRange own, int64_t batch_size) {
  std::vector<int64_t> columns;
  if (every == 0 || step == 0) return columns;
  for (int64_t column = own.first; column < own.last; ++column)
    if (step % every == column * every / batch_size) columns.push_back(column - own.first);
  return columns;
}

void reset_columns(State& state, const std::vector<int64_t>& columns) {
  if (columns.empty()) return;
  for (auto& [name, part] : state.parts) {
    if (is_memory(name) || !part.defined()) continue;
    if (!part.device().is_cuda()) part = part.clone();  // others may see its memory
    for (const int64_t column : columns) clear_column(part, column);
  }
}

}  // namespace tandem
