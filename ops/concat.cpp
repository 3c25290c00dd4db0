// concat: rows copied one after the other; backward hands out views.
#include "ops/concat.h"

#include "autograd/tape.h"
#include "core/array.h"
#include "core/check.h"

namespace tandem {

Tensor concat(const std::vector<Tensor>& xs) {
  std::vector<Tensor> inputs;
  std::vector<int64_t> rows;
  int64_t total = 0;
  for (const Tensor& x : xs) {
    if (!x.defined()) continue;
    CHECK(x.rank() >= 1, "concat: input {} is {}, which has no axis to join along", inputs.size(), x.str());
    inputs.push_back(x);
    rows.push_back(x.size(0));
    total += x.size(0);
  }
  CHECK(!inputs.empty(), "concat: none of the {} tensors is defined", xs.size());
  const Tensor& first = inputs[0];
  for (size_t i = 1; i < inputs.size(); ++i)
    CHECK(inputs[i].shape().tail() == first.shape().tail() && inputs[i].dtype() == first.dtype() &&
              inputs[i].device() == first.device(),
          "concat: input {} is {}, input 0 is {}; all but the leading sizes must agree", i, inputs[i].str(),
          first.str());

  const Tensor y(first.shape().with(0, total), first.dtype(), first.device());
  for (int64_t begin = 0; const Tensor& x : inputs) {
    copy(y.alias_rows(begin, begin + x.size(0)), x);
    begin += x.size(0);
  }
  return record("concat", y, inputs, [rows](const Tensor& dy) -> Grads {
    Grads dxs;
    for (int64_t begin = 0; const int64_t count : rows) {
      dxs.push_back(dy.alias_rows(begin, begin + count));
      begin += count;
    }
    return dxs;
  });
}

}  // namespace tandem
