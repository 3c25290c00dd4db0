// Kernels read each input once and write each output once, in whole sectors and without bank conflicts. Where one does
// not, the test says how often and why. All in f32, by sizes in which every row begins with a sector.
#include <doctest/doctest.h>

#include "tandem/core/random.h"
#include "tandem/cuda/simulator/traffic/traffic.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/layer_norm.h"
#include "tandem/ops/optimizer_step.h"
#include "tandem/ops/rms_norm.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/sru_scan.h"

namespace tandem {
namespace {

using simulator::GlobalTraffic;
using simulator::KernelTraffic;
using simulator::TrafficCount;

constexpr uint64_t kWarp = 32, kSector = 32;

Tensor random_on_gpu(const Shape& shape, uint64_t seed = 1) {
  const Tensor x(shape, DType::f32, Device::cuda());
  Random(seed).fill_uniform(x, -1, 1);
  return x;
}
Tensor on_gpu(const Shape& shape, DType dtype = DType::f32) {
  return Tensor(shape, dtype, Device::cuda());
}

// The traffic that a kernel should have, in one direction.
class Expected : public GlobalTraffic {
 public:
  // Whole rows of a tensor, each `times` times.
  Expected& rows(const Tensor& x, uint64_t times = 1) { return add(x.nbytes(), times); }
  Expected& add(uint64_t size, uint64_t times = 1) {
    bytes += size * times;
    sectors += size * times / kSector;
    distinct += size;
    return *this;
  }
  // Single elements that one lane of a warp accesses.
  Expected& by_one_lane(uint64_t size, uint64_t count) {
    bytes += size * count;
    sectors += count;
    distinct += size * count;
    return *this;
  }
  // Elements that all lanes of a warp read, `reads` times by any warp.
  Expected& by_all_lanes(uint64_t size, uint64_t different, uint64_t reads) {
    bytes += size * kWarp * reads;
    sectors += reads;
    distinct += size * different;
    return *this;
  }
};

void check(const GlobalTraffic& counted, const GlobalTraffic& expected) {
  CHECK(counted.bytes == expected.bytes);
  CHECK(counted.sectors == expected.sectors);
  CHECK(counted.distinct == expected.distinct);
}

// Returns the traffic of the kernels that f launches, in order, after a check of their bank conflicts.
template <class F>
std::vector<KernelTraffic> counted(size_t launches, const F& f, uint64_t bank_conflicts = 0) {
  const TrafficCount count;
  f();
  REQUIRE(count.launches().size() == launches);
  CHECK(count.sum().bank_conflicts == bank_conflicts);
  return count.launches();
}

TEST_CASE("cuda traffic: softmax reads each row once, forward and backward") {
  for (const int64_t columns : {64, 1024, 4096, 8192}) {  // held by a warp, by 128 and by 256 threads
    CAPTURE(columns);
    const Tensor x = random_on_gpu({6, columns}), y = on_gpu({6, columns}), dx = on_gpu({6, columns});
    const KernelTraffic forward = counted(1, [&] { cuda::softmax_forward(y, x); })[0];
    check(forward.read, Expected().rows(x));
    check(forward.written, Expected().rows(y));
    const KernelTraffic backward = counted(1, [&] { cuda::softmax_backward(dx, x, y); })[0];
    check(backward.read, Expected().rows(x).rows(y));
    check(backward.written, Expected().rows(dx));
    const KernelTraffic logarithm = counted(1, [&] { cuda::log_softmax_forward(y, x); })[0];
    check(logarithm.read, Expected().rows(x));
    check(logarithm.written, Expected().rows(y));
  }
}

TEST_CASE("cuda traffic: softmax of rows that registers do not hold reads them once for each of its passes") {
  const int64_t columns = 8192 + 256;
  const Tensor x = random_on_gpu({2, columns}), y = on_gpu({2, columns}), dx = on_gpu({2, columns});
  const KernelTraffic forward = counted(1, [&] { cuda::softmax_forward(y, x); })[0];
  check(forward.read, Expected().rows(x, 3));  // largest value, sum, result
  check(forward.written, Expected().rows(y));
  const KernelTraffic backward = counted(1, [&] { cuda::softmax_backward(dx, x, y); })[0];
  check(backward.read, Expected().rows(x, 2).rows(y, 2));  // product, result
  check(backward.written, Expected().rows(dx));
}

TEST_CASE("cuda traffic: masked softmax does not read what is masked, and writes all") {
  constexpr int64_t queries = 32, memory = 32, keys = queries + memory;
  const Tensor x = random_on_gpu({2, queries, keys}), y = on_gpu(x.shape());
  const KernelTraffic forward =
      counted(1, [&] { cuda::masked_softmax_forward(y, x, {.memory = memory}); })[0];
  Expected visible;
  for (uint64_t query = 0; query < queries; ++query) {
    const uint64_t end = memory + query + 1;
    visible.bytes += 2 * 16 * ((end + 3) / 4);  // in vectors
    visible.sectors += 2 * ((end + 7) / 8);
  }
  visible.distinct = visible.bytes;
  check(forward.read, visible);
  check(forward.written, Expected().rows(y));
}

TEST_CASE("cuda traffic: layer norm reads its rows once, and gain and bias once a row") {
  for (const auto& [rows, n] : {std::pair{24, 64}, {24, 768}, {8, 1536}, {4, 6144}}) {
    CAPTURE(n);
    const uint64_t R = static_cast<uint64_t>(rows), warps = n <= 1024 ? 1 : n <= 2048 ? 4 : 8;  // of a row
    const Tensor x = random_on_gpu({rows, n}), a = random_on_gpu({rows, n}), alpha = random_on_gpu({1});
    const Tensor gain = random_on_gpu({n}), bias = random_on_gpu({n});
    const Tensor y = on_gpu({rows, n}), stats = on_gpu({rows, 2}), dx = on_gpu({rows, n}),
                 da = on_gpu({rows, n});
    const KernelTraffic alone = counted(1, [&] {
      cuda::layer_norm_forward(y, stats, {x, {}, {}}, gain, bias, {});
    })[0];
    check(alone.read, Expected().rows(x).rows(gain, R).rows(bias, R));
    check(alone.written, Expected().rows(y).by_one_lane(4, 2 * R));  // mean and 1 / deviation
    const KernelTraffic residual = counted(1, [&] {
      cuda::layer_norm_forward(y, stats, {x, a, alpha}, gain, bias, {});
    })[0];
    check(residual.read,
          Expected().rows(x).rows(a).by_all_lanes(4, 1, R * warps).rows(gain, R).rows(bias, R));
    check(residual.written, Expected().rows(y).by_one_lane(4, 2 * R));

    const Tensor dgain = on_gpu({n}), dbias = on_gpu({n}), dalpha = on_gpu({1});
    const std::vector<KernelTraffic> backward = counted(2, [&] {
      cuda::layer_norm_backward({dx, da, {dalpha, false}, {dgain, false}, {dbias, false}}, y, {x, a, alpha},
                                gain, stats, {});
    });
    const uint64_t chunks = (R + 7) / 8, sums = 2 * gain.nbytes();  // of a chunk of rows, and one for dalpha
    const uint64_t block_warps = std::max<uint64_t>(4, warps);
    check(backward[0].read, Expected()
                                .rows(y)
                                .rows(x)
                                .rows(a)
                                .by_all_lanes(4, 1, chunks * block_warps)  // alpha
                                .by_all_lanes(4, 2 * R, 2 * R * warps)     // mean and 1 / deviation
                                .rows(gain, R));
    check(backward[0].written, Expected().rows(dx).rows(da).add(sums * chunks).by_one_lane(4, chunks));
    check(backward[1].read, Expected().add(sums * chunks).by_one_lane(4, chunks));
    check(backward[1].written, Expected().rows(dgain).rows(dbias).by_one_lane(4, 1));
  }
}

TEST_CASE(
    "cuda traffic: layer norm in bf16 takes vectors of f32 in two halves, which share sectors and banks") {
  const uint64_t R = 24, chunks = 3, n = 768;
  const auto rows = [](uint64_t seed) { return random_on_gpu({24, 768}, seed).to(DType::bf16); };
  const Tensor x = rows(1), dy = rows(2), dx = on_gpu({24, 768}, DType::bf16), stats = random_on_gpu({24, 2});
  const Tensor gain = random_on_gpu({768}), dgain = on_gpu({768}), dbias = on_gpu({768});
  // A lane holds vectors of 8 elements; in f32 each half is an access at a stride of 32 bytes. That touches every sector of
  // the gain twice, the second time in the L1 cache, and costs 4 wavefronts more in shared memory. There each of a row's
  // 3 vectors adds to two sums, in 4 loads and 4 stores; each block begins with 4 stores of zeros in each of 4 warps.
  const uint64_t accesses = R * 3 * 8 + chunks * 4 * 3 * 4;
  const std::vector<KernelTraffic> backward = counted(
      2,
      [&] {
        cuda::layer_norm_backward({dx, {}, {}, {dgain, false}, {dbias, false}}, dy, {x, {}, {}}, gain, stats,
                                  {});
      },
      4 * accesses);
  Expected read;
  read.rows(dy).rows(x).by_all_lanes(4, 2 * R, 2 * R).rows(gain, R);
  read.sectors += R * gain.nbytes() / kSector;
  check(backward[0].read, read);
  check(backward[0].written, Expected().rows(dx).add(chunks * 2 * n * 4).by_one_lane(4, chunks));
}

TEST_CASE("cuda traffic: rms norm reads its rows once; the gradient of the gain goes through memory") {
  const uint64_t R = 24;
  const Tensor x = random_on_gpu({24, 256}), gain = random_on_gpu({256}), y = on_gpu({24, 256}),
               dx = on_gpu({24, 256});
  const Tensor rstd = on_gpu({24}), dgain = on_gpu({256});
  const KernelTraffic forward = counted(1, [&] { cuda::rms_norm_forward(y, rstd, x, gain, 1e-5); })[0];
  check(forward.read, Expected().rows(x).rows(gain, R));
  check(forward.written, Expected().rows(y).by_one_lane(4, R));
  // The sum over the rows shares its f64 sums through shared memory: the lanes write at a stride of four doubles, which
  // costs 6 wavefronts more in each of 8 warps, 4 stores and 2 blocks.
  const std::vector<KernelTraffic> backward = counted(
      2,
      [&] {
        cuda::rms_norm_backward({dx, {dgain, false}}, y, x, gain, rstd);
      },
      6 * 8 * 4 * 2);
  // The gain is read again rather than held, for it is in the L1 cache.
  check(backward[0].read, Expected().rows(y).rows(x).by_all_lanes(4, R, R).rows(gain, 2 * R));
  check(backward[0].written, Expected().rows(dx).rows(x));  // and dy x_hat, as large as x
  check(backward[1].read, Expected().rows(x));
  check(backward[1].written, Expected().rows(dgain));
}

TEST_CASE("cuda traffic: cross-entropy reads each logit once, and that of the target once more") {
  const uint64_t R = 48;
  const Tensor logits = random_on_gpu({48, 256}), dlogits = on_gpu({48, 256});
  const Tensor targets = zeros({48}, DType::i32, Device::cuda());
  const Tensor nll = on_gpu({48}, DType::f64), lse = on_gpu({48}, DType::f64), dy = random_on_gpu({48});
  const KernelTraffic forward = counted(1, [&] { cuda::token_nll_forward(nll, lse, logits, targets); })[0];
  check(forward.read, Expected().rows(logits).by_all_lanes(4, 0, R).by_all_lanes(4, R, R));
  check(forward.written, Expected().by_one_lane(8, R).by_one_lane(8, R));
  const KernelTraffic backward =
      counted(1, [&] { cuda::token_nll_backward(dlogits, dy, logits, lse, targets, 1.0); })[0];
  check(backward.read,
        Expected().rows(logits).by_all_lanes(4, R, R).by_all_lanes(4, R, R).by_all_lanes(8, R, R));
  check(backward.written, Expected().rows(dlogits));
  const KernelTraffic in_place = counted(1, [&] { cuda::token_nll_in_place(nll, logits, targets, 1.0); })[0];
  check(in_place.read, Expected().rows(logits).by_all_lanes(4, 0, R).by_all_lanes(4, R, R));
  check(in_place.written, Expected().rows(logits).by_one_lane(8, R));
}

TEST_CASE("cuda traffic: the optimizer reads the gradient twice, and values and moments once") {
  for (const OptimizerKind kind : {OptimizerKind::radam, OptimizerKind::adamw}) {
    std::vector<ParameterSlot> slots;
    for (const int64_t size : {64 * 1024, 96}) {
      const Shape shape{size};
      const Tensor zero = zeros(shape, DType::f32, Device::cuda());
      slots.push_back({random_on_gpu(shape), random_on_gpu(shape, 2), zero, zero.clone(),
                       on_gpu(shape, DType::bf16), zeros({1}, DType::i64, Device::cuda())});
    }
    const Tensor lr = full({1}, 1e-3, DType::f64, Device::cuda()),
                 outcome = on_gpu({kOutcomeSize}, DType::f64);
    const uint64_t blocks = 8 + 1;  // of 8192 elements
    const Tensor squares = on_gpu({static_cast<int64_t>(blocks)}, DType::f64);
    const std::vector<KernelTraffic> step = counted(3, [&] {
      cuda::gradient_squares(slots, squares);
      cuda::optimizer_step(slots, {.kind = kind}, lr, Tensor(), squares, outcome);
    });
    Expected gradients, read, written;
    for (const ParameterSlot& slot : slots) {
      gradients.rows(slot.gradient);
      read.rows(slot.gradient).rows(slot.value).rows(slot.m).rows(slot.v);
      written.rows(slot.value).rows(slot.m).rows(slot.v).rows(slot.copy);
    }
    check(step[0].read, gradients);  // for the norm
    check(step[0].written, Expected().by_one_lane(8, blocks));
    // Every thread reads the numbers of its parameter's update, which are in the L1 cache, and whether there is one.
    read.by_all_lanes(8, 1, blocks * 8);
    read.by_all_lanes(8, 10 * slots.size(), blocks * 8 * 10);
    check(step[2].read, read);
    check(step[2].written, written);
  }
}

TEST_CASE("cuda traffic: the SRU scan reads every plane once, forward and backward") {
  const int64_t T = 20, B = 2, d = 64;
  for (const bool skip_in_u : {false, true}) {
    CAPTURE(skip_in_u);
    SruScanInputs in;
    in.u = random_on_gpu({T, B, (skip_in_u ? 4 : 3) * d});
    if (!skip_in_u) in.x = random_on_gpu({T, B, d}, 2);
    in.weight_c = random_on_gpu({2 * d}), in.bias = random_on_gpu({2 * d}), in.c0 = random_on_gpu({B, d});
    const Tensor h = on_gpu({T, B, d}), c = on_gpu({T, B, d}), c_last = on_gpu({B, d});
    const uint64_t x_bytes = in.x.defined() ? in.x.nbytes() : 0;
    const KernelTraffic forward = counted(1, [&] { cuda::sru_scan_forward(h, c, c_last, in); })[0];
    Expected all;  // what both directions read
    all.rows(in.u).add(x_bytes).rows(in.c0).rows(in.weight_c, B).rows(in.bias, B);
    check(forward.read, all);
    check(forward.written, Expected().rows(h).rows(c).rows(c_last));

    const Tensor du = on_gpu(in.u.shape()), dx = skip_in_u ? Tensor() : on_gpu({T, B, d}),
                 dc0 = on_gpu({B, d});
    const Tensor dweight = on_gpu({2 * d}), dbias = on_gpu({2 * d});
    const std::vector<KernelTraffic> backward = counted(2, [&] {
      cuda::sru_scan_backward(du, dx, dc0, {dweight, false}, {dbias, false}, h, c_last, c, in);
    });
    const uint64_t sums = 4 * static_cast<uint64_t>(B * d) * sizeof(float);
    check(backward[0].read, all.rows(h).rows(c).rows(c_last));
    check(backward[0].written, Expected().rows(du).add(x_bytes).rows(dc0).add(sums));
    check(backward[1].read, Expected().add(sums));
    check(backward[1].written, Expected().rows(dweight).rows(dbias));
  }
}

}  // namespace
}  // namespace tandem
