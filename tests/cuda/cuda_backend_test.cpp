// The layers under the operators on a GPU, real or simulated: memory, products, graphs, batch copies, arrays.
#include <dlfcn.h>
#include <doctest/doctest.h>

#include <filesystem>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/backend.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/random.h"
#include "tandem/cuda/runtime/batch_copy.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/cuda/runtime/library.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/matmul.h"
#include "tandem/ops/support/weight_cache.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/op_cases.h"
#ifdef TANDEM_CUDA_SIMULATED
#include "tandem/cuda/simulator/simulator.h"
#endif

namespace tandem::testing {
namespace {

constexpr Device kCuda = Device::cuda();

bool caches() {
  return allocator_mode_from_environment() != AllocatorMode::direct;
}

}  // namespace

#ifdef TANDEM_WITH_CUDA
TEST_CASE("cuda libraries: what is missing is named, with the files that were tried") {
  CHECK(contains(error_of([] {
                   cuda::load_library("cuNone", {"libcunone.so.1", "/usr/none/libcunone.so"});
                 }),
                 "cuNone cannot be loaded: libcunone.so.1: "));
  CHECK(contains(error_of([] {
                   cuda::load_library("cuNone", {"libcunone.so.1", "/usr/none/libcunone.so"});
                 }),
                 "; /usr/none/libcunone.so: "));
  void* const library = cuda::load_library("libm", {"libcunone.so.1", "libm.so.6"});
  CHECK(cuda::find_function(library, "libm", "cos") != nullptr);
  CHECK(contains(error_of([library] { cuda::find_function(library, "libm", "cosinus"); }),
                 "libm has no function cosinus"));
}

TEST_CASE("cuda libraries: the folders of TANDEM_LIBRARY_PATH come first") {
  Dl_info libm{};
  REQUIRE(dladdr(dlsym(cuda::load_library("libm", {"libm.so.6"}), "cos"), &libm) != 0);
  const TempDir folder;
  // No system has a library of this name, so it can only come from the folder.
  std::filesystem::copy_file(libm.dli_fname, folder / "libtandemnone.so.1");
  const auto load = [](const char* file) { return cuda::load_library("none", {file}); };
  CHECK(contains(error_of([&] { load("libtandemnone.so.1"); }), "none cannot be loaded"));
  const ScopedEnv path("TANDEM_LIBRARY_PATH", ("/no/such/folder::" + folder.path().string()).c_str());
  CHECK(dlsym(load("libtandemnone.so.1"), "cos") != nullptr);
  // A file that is no library is named in the error, and the search goes on.
  write_text(folder / "libm.so.6", "no library");
  CHECK(load("libm.so.6") != nullptr);
  write_text(folder / "libtandemfalse.so", "no library");
  CHECK(contains(error_of([&] { load("libtandemfalse.so"); }), (folder / "libtandemfalse.so").string()));
}
#endif

TEST_CASE("cuda: the status names the device, or says why there is none") {
  const CudaStatus& status = cuda_status();
  MESSAGE(status.text);
  CHECK(!status.text.empty());
  CHECK(best_device() == (status.available ? kCuda : Device::cpu()));
  if (status.available) {
    CHECK(contains(status.text, "GiB, driver"));
    CHECK(contains(error_of([] { Tensor({1}, DType::f32, Device::cuda(1)); }), "CUDA_VISIBLE_DEVICES=1"));
  } else {
    CHECK(
        contains(error_of([] { Tensor({1}, DType::f32, kCuda); }), "cuda:0: cannot be used: " + status.text));
  }
}

TEST_CASE("cuda: pack copies any number of tensors of any size and alignment as on the CPU") {
  if (!has_cuda()) return;
  Random random(5);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::u8}) {
    std::vector<Tensor> host, there;
    std::vector<int64_t> begins;
    int64_t end = 0;
    for (int i = 0; i < 300; ++i) {  // more than one launch takes
      const auto n = i == 7 ? int64_t{70000} : static_cast<int64_t>(random.below(40));
      host.push_back(random_tensor({n}, DType::f64, i, 0, 100).to(dtype));
      there.push_back(host.back().to(kCuda));
      begins.push_back(end + static_cast<int64_t>(random.below(3)));
      end = begins.back() + n;
    }
    const Tensor expected = full({end + 5}, 77, dtype), y = expected.to(kCuda);
    pack(expected, host, begins);
    pack(y, there, begins);
    CHECK(relative_error(y.to(Device::cpu()).to(DType::f64), expected.to(DType::f64)) == 0);
  }
}

TEST_CASE("cuda: arrays cross, convert, fill and add as on the CPU") {
  if (!has_cuda()) return;
  for (const int64_t n : {1, 3, 33, 65, 5000}) {
    const Tensor x = random_tensor({n}, DType::f64, 1, -100, 100);
    for (const DType from : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64, DType::u8}) {
      const Tensor wide =
          from == DType::u8 ? random_tensor({n}, DType::f64, 1, 0, 100) : x;  // no negative bytes
      const Tensor host = wide.to(from), there = host.to(kCuda);
      CHECK(relative_error(there.to(Device::cpu()).to(DType::f64), host.to(DType::f64)) == 0);
      for (const DType to : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64, DType::u8}) {
        if (to == DType::u8 && from != DType::u8) continue;
        CHECK(relative_error(there.to(to).to(Device::cpu()).to(DType::f64), host.to(to).to(DType::f64)) == 0);
      }
      CHECK(relative_error(full({n}, 3, from, kCuda).to(Device::cpu()).to(DType::f64),
                           full({n}, 3, DType::f64)) == 0);
    }
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      const Tensor a = x.to(dtype), sum = a.to(kCuda);
      add_in_place(sum, a.to(kCuda));
      add_in_place(a, a.clone());
      CHECK(relative_error(sum.to(Device::cpu()), a) == 0);
      CHECK(all_finite(sum));
      for (const double bad : {NAN, INFINITY, -INFINITY}) {
        const Tensor spoilt = sum.clone();
        fill(spoilt.view_rows(n - 1, n), bad);
        CHECK_FALSE(all_finite(spoilt));
      }
    }
  }
  // A view that begins anywhere.
  const Tensor x = random_tensor({70}, DType::f32, 3), there = x.to(kCuda);
  CHECK(relative_error(there.view_rows(3, 68).to(DType::bf16).to(Device::cpu()),
                       x.view_rows(3, 68).to(DType::bf16)) == 0);
}

TEST_CASE("cuda: copy_if asks the flag when it runs") {
  for (const Device device : test_devices()) {
    for (const int64_t n : {1, 5, 16, 1000}) {
      const Tensor x = random_tensor({n}, DType::bf16, 1).to(device), y = zeros({n}, DType::bf16, device);
      const Tensor flag = zeros({1}, DType::f64, device);
      copy_if(y, x, flag);
      CHECK(relative_error(y.to(Device::cpu()), zeros({n}, DType::bf16)) == 0);
      fill(flag, 1);
      copy_if(y, x, flag);
      CHECK(relative_error(y.to(Device::cpu()), x.to(Device::cpu())) == 0);
    }
  }
  CHECK(contains(
      error_of([] { copy_if(zeros({2}, DType::f32), zeros({3}, DType::f32), zeros({1}, DType::f64)); }),
      "copy_if"));
}

TEST_CASE("cuda: products of every kind are the CPU's") {
  if (!has_cuda()) return;
  struct Kind {
    DType dtype;
    MatmulPrecision precision;
    double tolerance;
  };
  for (const Kind kind :
       {Kind{DType::f64, MatmulPrecision::f32, 1e-12}, Kind{DType::f32, MatmulPrecision::f32, 1e-5},
        Kind{DType::f32, MatmulPrecision::tf32, 3e-3}, Kind{DType::f32, MatmulPrecision::bf16, 2e-2},
        Kind{DType::bf16, MatmulPrecision::bf16, 2e-2}}) {
    for (const std::array<int64_t, 3>& sizes :
         {std::array<int64_t, 3>{1, 1, 1}, {3, 33, 65}, {64, 128, 32}, {65, 17, 129}}) {
      const int64_t m = sizes[0], n = sizes[1], k = sizes[2];
      for (const bool batched : {false, true}) {
        for (const bool ta : {false, true}) {
          for (const bool tb : {false, true}) {
            const auto shape = [batched](int64_t rows, int64_t columns) {
              return batched ? Shape{3, rows, columns} : Shape{rows, columns};
            };
            const Tensor a = random_tensor(ta ? shape(k, m) : shape(m, k), DType::f32, 1).to(kind.dtype);
            const Tensor b = random_tensor(tb ? shape(n, k) : shape(k, n), DType::f32, 2).to(kind.dtype);
            const Tensor expected = matmul(a.to(DType::f64), b.to(DType::f64), {ta, tb});
            const PrecisionScope scope(kind.precision, kCuda);
            const Tensor c = matmul(a.to(kCuda), b.to(kCuda), {ta, tb});
            INFO(m, " ", n, " ", k, " ", batched, ta, tb, " ", std::string(name_of(kind.dtype)));
            CHECK(relative_error(c.to(Device::cpu()), expected) < kind.tolerance);
          }
        }
      }
    }
  }
}

TEST_CASE("cuda: a bias may begin anywhere") {
  if (!has_cuda()) return;
  const Tensor x = random_tensor({3, 5}, DType::f32, 1), w = random_tensor({9, 5}, DType::f32, 2),
               b = random_tensor({12}, DType::f32, 3);
  for (const int64_t begin : {0, 1, 2, 3}) {
    const Tensor expected = linear(x, w, b.view_rows(begin, begin + 9).clone());
    const Tensor y = linear(x.to(kCuda), w.to(kCuda), b.to(kCuda).view_rows(begin, begin + 9));
    CHECK(relative_error(y.to(Device::cpu()), expected.to(DType::f64)) < 1e-5);
  }
}

TEST_CASE("cuda: a bf16 result is a sum in f32 that is rounded once, however the device splits it") {
  if (!has_cuda()) return;
  // 256 + 0.9 + 0.9 is 257.8, which rounds to 258. Halves that are rounded, to 256 and 0.9, add up to 256.
  const Tensor a = tensor_of({1, 4}, {256.0, 0.9, 0.9, 0.0}, DType::bf16).to(kCuda),
               b = full({4, 1}, 1, DType::bf16, kCuda);
  CHECK(matmul(a, b).item() == 258);
}

TEST_CASE("weight_as: a weight's bf16 copy stays in one place and is never out of date") {
  for (const Device device : test_devices()) {
    const Tensor w = requires_grad(random_tensor({5, 7}, DType::f32, 1).to(device));
    const Tensor copied = weight_as(w, DType::bf16);
    CHECK(weight_as(w, DType::bf16).raw() == copied.raw());
    CHECK(weight_as(w, DType::f32).raw() == w.raw());
    CHECK(low_precision_copy(w).raw() == copied.raw());
    fill(w, 3);
    CHECK(weight_as(w, DType::bf16).raw() == copied.raw());
    CHECK(relative_error(copied.to(Device::cpu()), full({5, 7}, 3, DType::bf16)) == 0);
    copy(w.view_rows(1, 2), full({1, 7}, 2, DType::f32, device));  // through a view, too
    CHECK(weight_as(w, DType::bf16).to(Device::cpu()).to_vector<bf16>()[7] == 2.0f);
  }
}

TEST_CASE("cuda: memory is taken once and used again; a kept pool is not given back") {
  if (!has_cuda() || !caches()) return;
  if constexpr (kWithCuda) {
    CachingAllocator& allocator = cuda::allocator();
    { const Tensor warm({1 << 16}, DType::f32, kCuda); }
    const int64_t calls = allocator.statistics().source_calls;
    for (int i = 0; i < 10; ++i) {
      const Tensor again({1 << 16}, DType::f32, kCuda);
    }
    CHECK(allocator.statistics().source_calls == calls);
    const StreamId pool = 1000;
    {
      const AllocationScope scope(pool);
      const Tensor taken({1 << 22}, DType::f32, kCuda);
    }
    allocator.keep_stream_memory(pool, true);
    const size_t reserved = allocator.statistics().reserved;
    allocator.release_cached();
    CHECK(allocator.statistics().reserved >= size_t{4} << 22);
    allocator.keep_stream_memory(pool, false);
    allocator.release_cached();
    CHECK(allocator.statistics().reserved < reserved);
  }
}

#ifdef TANDEM_CUDA_SIMULATED
TEST_CASE("cuda: when memory ends, what is cached is given back first, and then the error has the numbers") {
  constexpr size_t kMiB = 1 << 20;
  if (!caches()) return;
  CachingAllocator& allocator = cuda::allocator();
  allocator.release_cached();
  const size_t held =
      allocator.statistics().reserved + (size_t{64} << 20);  // the workspace and other live tensors
  simulator::set_memory(held + 100 * kMiB);
  {
    { const Tensor once({static_cast<int64_t>(60 * kMiB)}, DType::u8, kCuda); }
    const Tensor other({static_cast<int64_t>(90 * kMiB)}, DType::u8,
                       kCuda);  // fits after the 60 MiB are given back
    const std::string error = error_of([] { Tensor({int64_t{1} << 30}, DType::u8, kCuda); });
    CHECK(contains(error, "cuda:0: out of memory: asked for 1.00 GiB"));
    CHECK(contains(error, "recomputation"));
    CHECK_THROWS_AS(Tensor({int64_t{1} << 30}, DType::u8, kCuda), OutOfMemory);
  }
  simulator::set_memory(size_t{4} << 30);
  CHECK(Tensor({1 << 28}, DType::u8, kCuda).defined());
}
#endif

TEST_CASE("cuda: a graph computes anew from what lies at the same places") {
  if (!has_cuda() || !caches()) return;
  const Tensor x = full({1000}, 2, DType::f32, kCuda), y = zeros({1000}, DType::f32, kCuda);
  if constexpr (kWithCuda) {
    cuda::Graph graph;
    CHECK_FALSE(graph.captured());
    CHECK(contains(error_of([&graph] { graph.replay(0); }), "before it was captured"));
    Tensor left;
    graph.capture([&] {
      const Tensor twice = x.clone();
      add_in_place(twice, x);
      left = twice;
      copy(y, twice);
    });
    CHECK(y.to_vector<float>()[7] == 0);  // recorded, not done
    graph.replay(0);
    CHECK(y.to_vector<float>()[7] == 4);
    fill(x, 5);
    const Tensor unrelated = full({1000}, -1, DType::f32, kCuda);  // may not lie where the graph works
    graph.replay(0);
    CHECK(y.to_vector<float>()[999] == 10);
    CHECK(left.to_vector<float>()[0] == 10);
    CHECK(unrelated.to_vector<float>()[0] == -1);
    CHECK(contains(error_of([&graph] { graph.capture([] {}); }), "captured already"));
  }
}

TEST_CASE("cuda: what a graph cannot hold is an error, after which everything still works") {
  if (!has_cuda() || !caches()) return;
  if constexpr (kWithCuda) {
    const Tensor x = full({3}, 2, DType::f32, kCuda);
    {
      cuda::Graph graph;
      CHECK(contains(error_of([&] { graph.capture([&] { x.view_rows(0, 1).item(); }); }),
                     "cudaStreamSynchronize"));
      cuda::Graph second;
      CHECK(error_of([&] { second.capture([&] { x.to_vector<float>(); }); }) != "no error");
      CHECK_FALSE(second.captured());
    }
    add_in_place(x, x.clone());
    CHECK(x.to_vector<float>()[0] == 4);
  }
}

TEST_CASE("cuda: replays draw the dropout masks of their own steps") {
  if (!has_cuda() || !caches()) return;
  if constexpr (kWithCuda) {
    const Tensor x = full({100, 33}, 1, DType::f32, kCuda), y = empty_like(x);
    const auto masked = [&x](uint32_t step) { return dropout(x, 0.3, {.seed = 9, .step = step, .site = 2}); };
    cuda::Graph graph;
    graph.capture([&] { copy(y, masked(5)); });
    for (const uint32_t offset : {0u, 1u, 700u}) {
      graph.replay(offset);
      CHECK(relative_error(y.to(Device::cpu()), masked(5 + offset).to(Device::cpu())) == 0);
    }
  }
}

TEST_CASE("cuda: batches arrive in order, however far the host is ahead") {
  if (!has_cuda()) return;
  if constexpr (kWithCuda) {
    cuda::BatchCopy copies(6);
    const Tensor y({2, 3}, DType::i32, kCuda), all({20, 6}, DType::i32, kCuda);
    for (int32_t i = 0; i < 20; ++i) {
      std::vector<int32_t> ids{i, i + 1, i + 2, i + 3, i + 4, i + 5};
      copies.send(y, ids);
      std::fill(ids.begin(), ids.end(), -1);  // the caller's memory is free at once
      copy(all.view_rows(i, i + 1), y.view_as({1, 6}));
    }
    const std::vector<int32_t> seen = all.to_vector<int32_t>();
    for (int32_t i = 0; i < 120; ++i) CHECK(seen[i] == i / 6 + i % 6);
    CHECK(contains(error_of([&] { copies.send(y, std::vector<int32_t>(5)); }), "batches of 6 ids, got 5"));
  }
}

}  // namespace tandem::testing
