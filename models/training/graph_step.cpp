// Capture of a training step in a CUDA graph, and its replay.
#include "tandem/models/training/graph_step.h"

#include <utility>

#include "tandem/autograd/leaf.h"
#include "tandem/core/backend.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/error.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {

void GraphStep::allow(bool on) {
  allowed_ = on;
  reset();
}

void GraphStep::reset() {
  parts_.clear();
  pieces_.clear();
  memory_ = nullptr;
}

void GraphStep::restart() {
  reset();
  steps_before_capture_ = 0;
}

void GraphStep::run(uint32_t first_micro_step, const std::vector<NamedTensor>& parameters,
                    std::span<const Part> parts, const std::function<void(size_t)>& after) {
  cuts_to_skip_ = 0;
  bool captures = false;
  if constexpr (kWithCuda)
    captures = allowed_ && refusal_.empty() && steps_before_capture_++ >= kStepsBeforeCapture;
  if (!captures) return run_eagerly(first_micro_step, parts, after);
  if constexpr (kWithCuda) {
    // The graphs do not refresh bf16 copies of weights that were written to since.
    for (const NamedTensor& parameter : parameters)
      if (low_precision_copy(parameter.value).defined()) weight_as(parameter.value, DType::bf16);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (captures && parts_.size() > i) {
        for (const Piece& piece : parts_[i]) {
          piece.graph->replay(first_micro_step - captured_micro_step_);
          if (piece.between) piece.between();
        }
      } else {
        captures = captures && capture(first_micro_step, parameters, parts[i]);
        if (!captures) parts[i](first_micro_step);
      }
      after(i);
    }
  }
}

void GraphStep::run_eagerly(uint32_t first_micro_step, std::span<const Part> parts,
                            const std::function<void(size_t)>& after) {
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i](first_micro_step);
    after(i);
  }
}

void GraphStep::cut(const std::function<void()>& between) {
  if constexpr (kWithCuda)
    if (recording_) {
      end_piece(between);
      is_between_ = true;
      between();
      is_between_ = false;
      return begin_piece();
    }
  if (cuts_to_skip_ > 0) {
    --cuts_to_skip_;
    return;
  }
  between();
}

void GraphStep::begin_piece() {
  if constexpr (kWithCuda) {
    const auto graph = std::make_shared<cuda::Graph>(memory_);
    graph->begin();
    recording_ = graph;
  }
}

void GraphStep::end_piece([[maybe_unused]] const std::function<void()>& between) {
  if constexpr (kWithCuda) {
    const std::shared_ptr<cuda::Graph> graph = std::exchange(recording_, nullptr);
    graph->end();
    graph->replay(0);
    pieces_.push_back({graph, between});
  }
}

void GraphStep::abandon_capture() {
  if constexpr (kWithCuda)
    if (recording_) std::exchange(recording_, nullptr)->abandon();
  reset();
}

bool GraphStep::capture([[maybe_unused]] uint32_t first_micro_step,
                        [[maybe_unused]] const std::vector<NamedTensor>& parameters,
                        [[maybe_unused]] const Part& part) {
  if constexpr (kWithCuda) {
    try {
      // The memory of the steps before is idle now, and the graph takes as much of its own: both need not fit.
      cuda::allocator().release_cached();
      if (!memory_) memory_ = std::make_shared<cuda::GraphMemory>();
      begin_piece();
      part(first_micro_step);
      end_piece(nullptr);
      parts_.push_back(std::move(pieces_));
      pieces_.clear();
      captured_micro_step_ = first_micro_step;
      return true;
    } catch (const Error& error) {
      const size_t cuts = pieces_.size();
      abandon_capture();
      if (std::exchange(is_between_, false)) throw;
      refusal_ = error.what();
      cuts_to_skip_ = cuts;
      for (const NamedTensor& parameter : parameters) {
        zero_grad(parameter.value);
        parameter.value.storage()->touch();
      }
    } catch (...) {
      abandon_capture();
      is_between_ = false;
      throw;
    }
  }
  return false;
}

}  // namespace tandem
