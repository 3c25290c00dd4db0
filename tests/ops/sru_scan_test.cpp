// sru_scan: cases, gradients of each result alone, bf16, streaming, memory, segments chained through the state,
// errors.
#include "tandem/ops/sru_scan.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tandem/autograd/gradcheck.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/host_memory.h"
#include "tandem/core/streaming.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reference/sru_scan.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/run_op_case.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

struct Case {
  int64_t steps, batch, width;
  int64_t planes = 3;
  bool skip = true, c0 = true, mask = false, tanh = false;
  double rescale = 1.0;
};

Tensors make_inputs(const Case& c, DType dtype, uint64_t seed) {
  Tensors inputs{random_tensor({c.steps, c.batch, c.planes * c.width}, dtype, seed, -2, 2),
                 random_tensor({2 * c.width}, dtype, seed + 1),
                 random_tensor({2 * c.width}, dtype, seed + 2, -2, 1)};
  if (c.c0) inputs.push_back(random_tensor({c.batch, c.width}, dtype, seed + 3));
  if (c.skip) inputs.push_back(random_tensor({c.steps, c.batch, c.width}, dtype, seed + 4));
  return inputs;
}

// Returns a mask that drops every fourth element; its values are exact in f32.
Tensor make_mask(const Case& c, DType dtype) {
  return tensor_from({c.batch, c.width}, [](int64_t i) { return i % 4 == 1 ? 0.0 : 1.25; }).to(dtype);
}

template <class F>
SruScanResult call(const F& f, const Case& c, const Tensors& in) {
  SruScanOptions options;
  if (c.mask) options.mask = make_mask(c, parameter_dtype(in[0].dtype())).to(in[0].device());
  options.rescale = c.rescale;
  options.tanh = c.tanh;
  return f(in[0], c.skip ? in.back() : Tensor(), in[1], in[2], c.c0 ? in[3] : Tensor(), options);
}

SruScanResult scan(const Case& c, const Tensors& in) {
  return call(sru_scan, c, in);
}

Tensors moved(const Tensors& xs, Device device) {
  Tensors ys;
  for (const Tensor& x : xs) ys.push_back(x.to(device));
  return ys;
}

OpCase op_case_of(const std::string& name, const Case& c) {
  OpCase op_case;
  op_case.op = "sru_scan";
  op_case.name = name;
  op_case.inputs = [c](DType dtype, uint64_t seed) { return make_inputs(c, dtype, seed); };
  op_case.run = [c](const Tensors& in) -> Tensors {
    const SruScanResult y = scan(c, in);
    return {y.h, y.c_last};
  };
  op_case.reference = [c](const Tensors& in) -> Tensors {
    const SruScanResult y = call(reference::sru_scan, c, in);
    return {y.h, y.c_last};
  };
  op_case.weights = {1, 2};
  if (c.c0) op_case.weights.push_back(3);
  return op_case;
}

void add(const std::string& name, const Case& c) {
  add_op_case(op_case_of(name, c));
}

// A case in which a GPU reads 16 bytes at once, in several chunks of time steps and a part of one.
constexpr Case kWide{.steps = 83, .batch = 2, .width = 40, .mask = true};

}  // namespace

SIGNATURES(sru_scan) {
  add_signature({.op = "sru_scan",
                 .function = "sru_scan",
                 .sizes = {3, 2, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"u", {n[0], n[1], 3 * n[2]}},
                           {"x", {n[0], n[1], n[2]}, DType::f32, true},
                           {"weight_c", {2 * n[2]}},
                           {"bias", {2 * n[2]}},
                           {"c0", {n[1], n[2]}, DType::f32, true},
                           {"options.mask", {n[1], n[2]}, DType::f32, true}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {sru_scan(x[0], x[1], x[2], x[3], x[4], {.mask = x[5]}).h};
                 }});
  add_signature({.op = "sru_scan",
                 .function = "sru_scan",
                 .sizes = {3, 2, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"u", {n[0], n[1], 4 * n[2]}}, {"weight_c", {2 * n[2]}}, {"bias", {2 * n[2]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {sru_scan(x[0], {}, x[1], x[2], {}, {.mask = {}, .tanh = true}).h};
                 }});
}

OP_CASES(sru_scan) {
  add("one element", {.steps = 1, .batch = 1, .width = 1});
  add("three matrices", {.steps = 7, .batch = 3, .width = 33});
  add("from zeros", {.steps = 3, .batch = 1, .width = 65, .c0 = false});
  add("rescaled skip, mask", {.steps = 5, .batch = 2, .width = 33, .mask = true, .rescale = 1.3});
  add("four matrices", {.steps = 5, .batch = 3, .width = 17, .planes = 4, .skip = false});
  // The rescale must not reach the projected skip.
  add("four matrices, all options", {.steps = 4,
                                     .batch = 2,
                                     .width = 33,
                                     .planes = 4,
                                     .skip = false,
                                     .mask = true,
                                     .tanh = true,
                                     .rescale = 1.3});
  add("no skip", {.steps = 4, .batch = 2, .width = 33, .skip = false, .mask = true, .rescale = 1.3});
  add("tanh", {.steps = 6, .batch = 2, .width = 33, .tanh = true});
  add("blocks of columns, the last one narrow", {.steps = 3, .batch = 2, .width = 600, .mask = true});
  add("enough for all threads", {.steps = 33, .batch = 3, .width = 130});
  add("chunks of steps and of columns", kWide);
  add("whole chunks of steps", {.steps = 48, .batch = 3, .width = 8, .tanh = true});
}

TEST_CASE("sru_scan: gradients of h alone and of the last state alone") {
  const Case c{.steps = 6, .batch = 2, .width = 5, .mask = true, .rescale = 1.2};
  for (const bool use_h : {true, false}) {
    const auto one = [c, use_h](const Tensors& in) -> Tensors {
      const SruScanResult y = scan(c, in);
      return {use_h ? y.h : y.c_last};
    };
    const GradcheckResult result = gradcheck(one, make_inputs(c, DType::f64, 3));
    CHECK_MESSAGE(result.ok, result.message);
  }
}

TEST_CASE("sru_scan: a gradient is the same whether or not other inputs want one, on every device") {
  for (const Device device : test_devices())
    for (const Case& c :
         {kWide, Case{.steps = 5, .batch = 3, .width = 17, .planes = 4, .skip = false, .c0 = false}}) {
      INFO(device.str(), ", ", c.planes, " planes");
      const OpCase op_case = op_case_of("", c);
      const Tensors inputs = moved(make_inputs(c, DType::f64, 7), device);
      const Result all = differentiate(op_case, inputs);
      for (int i = 0; i < static_cast<int>(inputs.size()); ++i) {
        const Result one = differentiate(op_case, inputs, {.only = i});
        CHECK(same_bits({one.gradients[i]}, {all.gradients[i]}));
      }
      CHECK(same_bits(differentiate(op_case, inputs, {.through = true}).gradients, all.gradients));
      const Result twice = differentiate(op_case, inputs, {.passes = 2});
      for (size_t i = 0; i < inputs.size(); ++i) {
        const Tensor once = all.gradients[i].to(Device::cpu());
        const Tensor doubled =
            tensor_from(once.shape(), [&](int64_t k) { return 2 * once.data<double>()[k]; });
        CHECK(relative_error(twice.gradients[i].to(Device::cpu()), doubled) < 1e-14);
      }
    }
}

// Returns h and the gradients of u and x, which flow from h alone or from the last state alone.
Tensors run_part(const Case& c, const Tensors& in, bool use_h) {
  const Tensors leaves = {requires_grad(in[0].detach()), in[1], in[2], in[3], requires_grad(in[4].detach())};
  Tape tape;
  const SruScanResult y = scan(c, leaves);
  const Tensor& root = use_h ? y.h : y.c_last;
  tape.backward({root}, {random_tensor(root.shape(), root.dtype(), 8).to(root.device())});
  return {y.h, grad(leaves[0]), grad(leaves[4])};
}

TEST_CASE("sru_scan: every device gives the gradients of h alone and of the last state alone") {
  const Tensors inputs = make_inputs(kWide, DType::f64, 9);
  for (const Device device : test_devices())
    for (const bool use_h : {true, false}) {
      const Tensors ys = run_part(kWide, moved(inputs, device), use_h);
      const Tensors expected = run_part(kWide, inputs, use_h);
      for (size_t i = 0; i < ys.size(); ++i)
        CHECK(relative_error(ys[i].to(Device::cpu()), expected[i]) < 1e-12);
    }
}

TEST_CASE("sru_scan: the same bits wherever the tensors begin") {
  // Returns the same elements, beginning one element after an address aligned to 512 bytes.
  const auto shifted = [](const Tensor& x) {
    const Tensor whole = zeros({x.numel() + 1}, x.dtype(), x.device());
    const Tensor y = whole.view_rows(1, x.numel() + 1).view_as(x.shape());
    copy(y, x);
    return y;
  };
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      if (dtype == DType::bf16 && device.is_cpu()) continue;
      INFO(device.str(), ", ", std::string(name_of(dtype)));
      Tensors aligned = moved(make_inputs(kWide, parameter_dtype(dtype), 10), device), off;
      for (const size_t i : {0, 4}) aligned[i] = aligned[i].to(dtype);
      for (const Tensor& x : aligned) off.push_back(shifted(x));
      CHECK(same_bits(run_part(kWide, off, true), run_part(kWide, aligned, true)));
    }
}

namespace {

// Returns h, c_last and the gradients of u, weight_c, bias, c0 and x, given those of h and c_last.
Tensors forward_and_back(const Tensors& in, const Tensor& dh, const Tensor& dc) {
  Tensors leaves;
  for (const Tensor& x : in) leaves.push_back(requires_grad(x.clone()));
  Tape tape;
  const SruScanResult out = sru_scan(leaves[0], leaves[4], leaves[1], leaves[2], leaves[3]);
  tape.backward({out.h, out.c_last}, {dh, dc});
  Tensors results{out.h, out.c_last};
  for (const Tensor& leaf : leaves) results.push_back(grad(leaf));
  return results;
}

}  // namespace

TEST_CASE("sru_scan: u in bf16 gives the bits of its values in f32, and its gradient is that one rounded") {
  const Case c{.steps = 9, .batch = 3, .width = 1027};
  Tensors in = make_inputs(c, DType::f32, 31);
  const Tensor dh = random_tensor(in[4].shape(), DType::f32, 41),
               dc = random_tensor({3, 1027}, DType::f32, 42);
  const Tensor rounded = in[0].to(DType::bf16);
  in[0] = rounded.to(DType::f32);
  Tensors expected = forward_and_back(in, dh, dc);
  CHECK(relative_error(expected[2], expected[2].to(DType::bf16).to(DType::f32)) > 1e-4);
  expected[2] = expected[2].to(DType::bf16);
  in[0] = rounded;
  const Tensors actual = forward_and_back(in, dh, dc);
  CHECK(actual[0].dtype() == DType::f32);
  CHECK(same_bits(actual, expected));
}

TEST_CASE("sru_scan: results that are large enough to go past the caches have the same bits" *
          doctest::test_suite("slow when emulated")) {
  // Two segments below the limit, and both as one above it, in three chunks of time steps of which the last is
  // short. The width is odd, so that rows are not aligned.
  constexpr int64_t kSteps = 40, kWidth = kStreamingBytes / (4 * kSteps) + 3;
  REQUIRE(worth_streaming(4 * kSteps * kWidth));
  REQUIRE_FALSE(worth_streaming(4 * kSteps / 2 * kWidth));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    INFO(std::string(name_of(dtype)));
    Tensors in = make_inputs({.steps = kSteps, .batch = 1, .width = kWidth}, DType::f32, 51);
    in[0] = in[0].to(dtype);
    const Tensor dh = random_tensor(in[4].shape(), DType::f32, 61),
                 dc = random_tensor({1, kWidth}, DType::f32, 62);
    const Tensors whole = forward_and_back(in, dh, dc);
    const auto half = [&](const Tensor& x, int64_t i) {
      return x.view_rows(i * kSteps / 2, (i + 1) * kSteps / 2).clone();
    };
    Tensors first = in, second = in;
    for (const size_t i : {0, 4}) {
      first[i] = half(in[i], 0);
      second[i] = half(in[i], 1);
    }
    // The second segment begins with the last state of the first; the gradient given here does not matter.
    second[3] = forward_and_back(first, half(dh, 0), dc)[1];
    const Tensors after = forward_and_back(second, half(dh, 1), dc);
    const Tensors before = forward_and_back(first, half(dh, 0), after[5]);
    for (const size_t i : {0, 2, 6}) {  // h, du, dx
      CHECK(same_bits({half(whole[i], 0)}, {before[i]}));
      CHECK(same_bits({half(whole[i], 1)}, {after[i]}));
    }
    CHECK(same_bits({whole[1], whole[5]}, {after[1], before[5]}));  // c_last, dc0
  }
}

TEST_CASE("sru_scan: two segments chained through the state are one long pass, gradients too") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    const Case whole{.steps = 9, .batch = 2, .width = 7, .mask = true};
    const Tensors in = moved(make_inputs(whole, DType::f64, 11), device);
    const Tensor weight = requires_grad(in[1].clone()), c0 = requires_grad(in[3].clone());
    const Tensor dh = random_tensor({9, 2, 7}, DType::f64, 21).to(device);
    const Tensor dc = random_tensor({2, 7}, DType::f64, 22).to(device);
    const SruScanOptions options{.mask = make_mask(whole, DType::f64).to(device)};

    Tape tape;
    const SruScanResult once = sru_scan(in[0], in[4], weight, in[2], c0, options);
    tape.backward({once.h, once.c_last}, {dh, dc});
    const Tensor weight_grad = grad(weight).clone(), c0_grad = grad(c0).clone();
    zero_grad(weight);
    zero_grad(c0);

    Tape second;
    const auto segment = [&in, &weight, &options](int64_t begin, int64_t end, const Tensor& state) {
      return sru_scan(in[0].view_rows(begin, end), in[4].view_rows(begin, end), weight, in[2], state,
                      options);
    };
    const SruScanResult a = segment(0, 4, c0), b = segment(4, 9, a.c_last);
    CHECK(same_bits({a.h, b.h, b.c_last}, {once.h.view_rows(0, 4), once.h.view_rows(4, 9), once.c_last}));
    second.backward({a.h, b.h, b.c_last}, {dh.view_rows(0, 4), dh.view_rows(4, 9), dc});
    CHECK(relative_error(grad(weight).to(Device::cpu()), weight_grad.to(Device::cpu())) < 1e-14);
    CHECK(relative_error(grad(c0).to(Device::cpu()), c0_grad.to(Device::cpu())) < 1e-14);
  }
}

// The gradients of u and x, and the peak of the bytes that the backward pass allocates. In
// run_between_operators() no other tensor shares the memory of the scan's u and dh, except u if it is `held`.
struct BackwardRun {
  Tensors gradients;
  size_t peak;
};

BackwardRun run_between_operators(const Case& c, const Tensor& dy, bool held) {
  Tensors in = make_inputs(c, dy.dtype(), 71);
  const Tensor leaf_u = requires_grad(in[0]), leaf_x = c.skip ? requires_grad(in.back()) : Tensor();
  Tape tape;
  in[0] = scale(leaf_u, 0.5);
  const Tensor y = scale(scan(c, in).h, 2.0);
  if (!held) in.clear();
  host_allocator().reset_peak();
  const size_t before = host_allocator().statistics().in_use;
  tape.backward({y}, {dy});
  BackwardRun run{{grad(leaf_u)}, host_allocator().statistics().peak_in_use - before};
  if (c.skip) run.gradients.push_back(grad(leaf_x));
  return run;
}

TEST_CASE("sru_scan: gradients overwrite u and dh if no other tensor shares them, with the same bits") {
  for (const bool four : {false, true}) {
    CAPTURE(four);
    const Case c{.steps = 16, .batch = 4, .width = 1000, .planes = four ? 4 : 3, .skip = !four, .c0 = false};
    const Tensor dy = random_tensor({c.steps, c.batch, c.width}, DType::f32, 81);
    const BackwardRun held = run_between_operators(c, dy, true), free = run_between_operators(c, dy, false);
    CHECK(same_bits(held.gradients, free.gradients));
    const size_t u_bytes = c.planes * dy.nbytes();
    CAPTURE(held.peak);
    CAPTURE(free.peak);
    CHECK(free.peak + u_bytes <= held.peak);
    CHECK(free.peak < u_bytes + 2 * dy.nbytes());  // the gradient of u's leaf, and dh; no dx
  }
}

TEST_CASE("sru_scan: a large scan keeps every 16th state") {
  const auto kept_rows = [](int64_t steps) {
    const int64_t width = kStreamingBytes / (4 * steps) + 1;
    Tensors in = make_inputs({.steps = steps, .batch = 1, .width = width, .c0 = false}, DType::f32, 91);
    requires_grad(in[1]);
    Tape tape;
    const size_t before = host_allocator().statistics().in_use;
    const SruScanResult y = sru_scan(in[0], in.back(), in[1], in[2], Tensor());
    const size_t kept = host_allocator().statistics().in_use - before - y.h.nbytes() - y.c_last.nbytes();
    return static_cast<int64_t>(kept) / (4 * width);  // blocks of memory are a little larger than asked for
  };
  CHECK(kept_rows(16) >= 16);  // all: there is no second chunk
  CHECK(kept_rows(17) == 1);
  CHECK(kept_rows(33) == 2);
}

TEST_CASE("sru_scan: the last state does not keep the other states alive") {
  const Case c{.steps = 64, .batch = 1, .width = 8};
  const Tensors in = make_inputs(c, DType::f32, 5);
  requires_grad(in[1]);
  Tape tape;
  CHECK(scan(c, in).c_last.storage()->bytes() < 64 * 8 * sizeof(float));
}

TEST_CASE("sru_scan: gates stay gates and gradients finite for huge pre-activations") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    const Tensor u = requires_grad(random_tensor({2, 1, 12}, DType::f32, 1, -1e30, 1e30).to(device));
    const Tensor w = zeros({8}, DType::f32, device), x = random_tensor({2, 1, 4}, DType::f32, 2).to(device);
    Tape tape;
    const SruScanResult y = sru_scan(u, x, w, w, Tensor());
    tape.backward({y.c_last}, {full({1, 4}, 1.0, DType::f32, device)});
    for (const float value : grad(u).to_vector<float>()) CHECK(std::isfinite(value));
  }
}

TEST_CASE("sru_scan: with bf16 inputs the state is f32, and an empty batch is no error") {
  if (!has_cuda()) {
    MESSAGE("skipped: no GPU (", cuda_status().text, ")");
    return;
  }
  const Device gpu = Device::cuda();
  const Tensor w = requires_grad(full({6}, 0.5, DType::f32, gpu)), u = zeros({4, 2, 9}, DType::bf16, gpu);
  CHECK(sru_scan(u, Tensor(), w, w, Tensor()).h.dtype() == DType::bf16);
  CHECK(sru_scan(u, Tensor(), w, w, Tensor()).c_last.dtype() == DType::f32);
  Tape tape;
  const SruScanResult none = sru_scan(zeros({4, 0, 9}, DType::bf16, gpu), Tensor(), w, w, Tensor());
  tape.backward({none.h}, {none.h.detach()});
  CHECK(grad(w).to_vector<float>() == std::vector<float>(6, 0));
}

TEST_CASE("sru_scan: errors say what is wrong") {
  const Tensor u = zeros({4, 2, 9}, DType::f32), x = zeros({4, 2, 3}, DType::f32), w = zeros({6}, DType::f32);
  const Tensor u4 = zeros({4, 2, 12}, DType::f32), bad = zeros({4, 3, 3}, DType::f32);
  const auto error = [](const Tensor& u, const Tensor& x, const Tensor& w, const Tensor& b, const Tensor& c0,
                        const Tensor& mask) {
    return error_of([&] { sru_scan(u, x, w, b, c0, {.mask = mask}); });
  };
  const Tensor none;
  CHECK(error(zeros({4, 18}, DType::f32), x, w, w, none, none) ==
        "sru_scan: u is (4, 18); it must be (T, B, 3 D) or (T, B, 4 D) with at least one time step");
  CHECK(error(zeros({0, 2, 9}, DType::f32), none, w, w, none, none).find("at least one time step") !=
        std::string::npos);
  CHECK(error(u, x, zeros({5}, DType::f32), w, none, none) ==
        "sru_scan: weight_c is (5); it must be (2 D), v_f then v_r");
  CHECK(error(zeros({4, 2, 8}, DType::f32), x, w, w, none, none) ==
        "sru_scan: u is (4, 2, 8) and weight_c (6): the last axis of u must be 3 D or 4 D, 9 or 12");
  CHECK(error(u4, x, w, w, none, none) ==
        "sru_scan: u is (4, 2, 12), four planes of 3, whose last is the "
        "skip, and x (4, 2, 3) is given too; drop one of them");
  CHECK(error(u, bad, w, w, none, none) ==
        "sru_scan: x is (4, 3, 3), but u is (4, 2, 9) and takes x (4, 2, 3)");
  CHECK(error(u, x, w, zeros({3}, DType::f32), none, none) ==
        "sru_scan: bias is (3), but u is (4, 2, 9) and takes bias (6)");
  CHECK(error(u, x, w, w, zeros({3, 2}, DType::f32), none) ==
        "sru_scan: c0 is (3, 2), but u is (4, 2, 9) and takes c0 (2, 3)");
  CHECK(error(u, x, w, w, none, zeros({4, 2, 3}, DType::f32)) ==
        "sru_scan: options.mask is (4, 2, 3), but u is (4, 2, 9) and takes options.mask (2, 3)");
  CHECK(
      error(u, x, w, w, zeros({2, 3}, DType::f64), none) ==
      "sru_scan: c0 is f64 (2, 3) on cpu, but u is f32 (4, 2, 9) on cpu; give c0 in f32, on the device of u");
  const Tensor narrow = zeros({4, 2, 9}, DType::bf16);
  CHECK(error(narrow, none, zeros({6}, DType::bf16), w, none, none) ==
        "sru_scan: weight_c is bf16 (6) on cpu, but u is bf16 (4, 2, 9) "
        "on cpu; give weight_c in f32, on the device of u");
  CHECK(error(zeros({4, 2, 12}, DType::bf16), none, w, w, none, none) ==
        "sru_scan: u is bf16 (4, 2, 12) on cpu: four planes cannot be bf16 on a CPU; give three, or f32");
  CHECK(error_of([] {
          const Tensor v = zeros({6}, DType::i32);
          sru_scan(zeros({4, 2, 9}, DType::i32), Tensor(), v, v, Tensor());
        }).find("sru_scan: u is i32 (4, 2, 9) on cpu; it must be floating") == 0);
}

}  // namespace tandem::testing
