// The hook in Tensor's copy constructor.
#include "tandem/core/copied_tensors.h"

#include <utility>

namespace tandem {

void Tensor::note_copy() const {
  std::vector<Tensor>* const copies = std::exchange(copies_, nullptr);  // the copy made here is not noted
  if (defined()) copies->push_back(*this);
  copies_ = copies;
}

std::vector<Tensor> copied_tensors(const std::function<void()>& f) {
  std::vector<Tensor> copies;
  std::vector<Tensor>* const outer = std::exchange(Tensor::copies_, &copies);
  try {
    f();
  } catch (...) {
    Tensor::copies_ = outer;
    throw;
  }
  Tensor::copies_ = outer;
  return copies;
}

}  // namespace tandem
