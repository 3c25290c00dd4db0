// Columns of the recurrent state that begin anew.
#include "tandem/models/training/state_reset.h"

#include "tandem/core/array.h"

namespace tandem {
namespace {

// Returns whether a part holds rows that attention sees: "memory.5", or that of a teacher.
bool is_memory(const std::string& name) {
  return name.starts_with("memory.") || name.find(".memory.") != std::string::npos;
}

// A part is (B, D) or (rows, B, D), as LayerState says.
void clear_column(const Tensor& part, int64_t column) {
  const int64_t batch = part.size(-2), width = part.size(-1);
  const Tensor rows = part.view_as({part.numel() / width, width});
  for (int64_t row = column; row < rows.size(0); row += batch) fill(rows.view_rows(row, row + 1), 0);
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
