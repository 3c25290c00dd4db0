// Wrong calls of every public function, made from the table of signatures, in processes that may crash.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "op_names.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tests/support/devices.h"
#include "tests/support/files.h"
#include "tests/support/paths.h"
#include "tests/support/signatures.h"
#include "tests/support/tensor_signatures.h"

namespace tandem::testing {
namespace {

constexpr const char* kFirst = "TANDEM_TEST_MISUSE_FIRST";    // index of the first call of a child process
constexpr const char* kReport = "TANDEM_TEST_MISUSE_REPORT";  // the file to which it writes what came of each
constexpr unsigned kSeconds = 120;                            // after which a call counts as one that hangs
constexpr size_t kLeastCalls = 2000;

// One call: the arguments, and how its message may name what is wrong with them.
struct Call {
  const Signature* signature;
  TensorArguments tensors;
  std::vector<bool> defined;  // of each tensor
  Numbers numbers;
  std::string change;            // what differs from the right call, for people
  std::set<std::string> blamed;  // names, of which the message must have one
  bool refused = false;          // the call must fail
  bool recorded = false;         // under a tape, and with a backward pass if it succeeds
  Device device;
};

// Returns the shapes to try in place of this one.
std::vector<Shape> other_shapes(const Shape& shape) {
  std::vector<Shape> all{Shape{}, Shape{0}, Shape{1, 1, 1, 1, 1, 1}};
  std::vector<int64_t> sizes(shape.begin(), shape.end());
  for (int axis = 0; axis < shape.rank(); ++axis)
    for (const int64_t size : {int64_t{0}, int64_t{1}, shape[axis] + 1, 2 * shape[axis]})
      if (size != shape[axis]) all.push_back(shape.with(axis, size));
  if (shape.rank() < Shape::kMaxRank) {
    sizes.push_back(1);
    all.emplace_back(std::span<const int64_t>(sizes));
    sizes.pop_back();
    sizes.insert(sizes.begin(), 2);
    all.emplace_back(std::span<const int64_t>(sizes));
    sizes.erase(sizes.begin());
  }
  if (shape.rank() > 0) {
    all.push_back(shape.tail());
    all.emplace_back(std::span<const int64_t>(sizes.data(), sizes.size() - 1));
    all.emplace_back(std::vector<int64_t>(sizes.rbegin(), sizes.rend()));
  }
  return all;
}

class Calls {
 public:
  Calls() {
    add_tensor_signatures();
    const char* only = std::getenv("TANDEM_TEST_OPERATOR");  // the name of one operator; unset: all
    for (const Signature& signature : signatures())
      for (const Device device : test_devices())
        if (!only || signature.op == only) add_changes(signature, device);
  }
  const std::vector<Call>& all() const { return all_; }

 private:
  // Adds a call, without a tape and with one.
  void add(Call call) {
    for (const bool recorded : {false, true}) {
      call.recorded = recorded;
      all_.push_back(call);
    }
  }

  void add_changes(const Signature& s, Device device) {
    Call right{
        &s,    s.tensors ? s.tensors(s.sizes) : TensorArguments(), {}, {}, "the right call", {}, false, false,
        device};
    right.defined.assign(right.tensors.size(), true);
    for (const NumberArgument& number : s.numbers) right.numbers.push_back(number.right);
    add(right);
    for (size_t i = 0; i < right.tensors.size(); ++i) change_tensor(right, i);
    change_all(right);
    change_numbers(right);
    change_pairs(right);
  }

  void change_tensor(const Call& right, size_t i) {
    const TensorArgument& argument = right.tensors[i];
    Call call = right;
    call.blamed = {argument.name};
    call.defined[i] = false;
    call.refused = !argument.optional;
    call.change = argument.name + " undefined";
    add(call);
    call.defined[i] = true;
    call.refused = false;
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64, DType::u8}) {
      if (dtype == argument.dtype) continue;
      call.tensors[i].dtype = dtype;
      call.change = argument.name + " as " + std::string(name_of(dtype));
      add(call);
    }
    call.tensors[i].dtype = argument.dtype;
    for (const Shape& shape : other_shapes(argument.shape)) {
      call.tensors[i].shape = shape;
      call.change = argument.name + " as " + shape.str();
      add(call);
    }
  }

  static void blame_all(Call& call) {
    for (const TensorArgument& argument : call.tensors) call.blamed.insert(argument.name);
    for (const NumberArgument& number : call.signature->numbers) call.blamed.insert(number.name);
  }

  // Changes all floating tensors to another dtype, and one size in all tensors that have it.
  void change_all(const Call& right) {
    for (const DType dtype : {DType::f64, DType::bf16, DType::i32, DType::u8}) {
      Call call = right;
      blame_all(call);
      for (TensorArgument& argument : call.tensors)
        if (argument.dtype == DType::f32) argument.dtype = dtype;
      call.change = "all as " + std::string(name_of(dtype));
      add(call);
    }
    const Signature& s = *right.signature;
    for (size_t k = 0; k < s.sizes.size(); ++k)
      for (const int64_t size : {0, 1, 33}) {
        Sizes sizes = s.sizes;
        sizes[k] = size;
        Call call = right;
        blame_all(call);
        call.tensors = s.tensors(sizes);
        call.change = "size " + std::to_string(k) + " = " + std::to_string(size) + " everywhere";
        add(call);
      }
  }

  void change_numbers(const Call& right) {
    const Signature& s = *right.signature;
    for (size_t k = 0; k < s.numbers.size(); ++k)
      for (const double number : s.numbers[k].others) {
        Call call = right;
        call.numbers[k] = number;
        call.blamed = {s.numbers[k].name};
        call.change = s.numbers[k].name + " = " + std::to_string(number);
        add(call);
      }
  }

  // Changes two arguments at once, chosen by a fixed sequence of numbers.
  void change_pairs(const Call& right) {
    uint64_t state = 1;
    const auto draw = [&state](size_t n) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      return static_cast<size_t>(state >> 33) % n;
    };
    if (right.tensors.empty()) return;
    for (int count = 0; count < 12; ++count) {
      Call call = right;
      call.change.clear();
      blame_all(call);
      for (int change = 0; change < 2; ++change) {
        const size_t i = draw(call.tensors.size());
        const std::vector<Shape> shapes = other_shapes(right.tensors[i].shape);
        if (draw(2) == 0)
          call.tensors[i].shape = shapes[draw(shapes.size())];
        else
          call.tensors[i].dtype = static_cast<DType>(draw(6));
        call.change += (change ? ", " : "") + call.tensors[i].name + " as " +
                       std::string(name_of(call.tensors[i].dtype)) + " " + call.tensors[i].shape.str();
      }
      add(call);
    }
  }

  std::vector<Call> all_;
};

const std::vector<Call>& calls() {
  static const Calls all;
  return all.all();
}

std::string text_of(const Call& call) {
  return call.signature->function + ", " + call.change + (call.recorded ? ", under a tape" : "") + ", on " +
         call.device.str();
}

// Makes a call, and goes back through it if it is recorded. Returns "right", or what was thrown.
std::string outcome_of(const Call& call) {
  std::string stage = "error ";
  try {
    Tensors inputs;
    for (size_t i = 0; i < call.tensors.size(); ++i) {
      const TensorArgument& argument = call.tensors[i];
      Tensor x;
      if (call.defined[i])
        x = full(argument.shape, is_floating(argument.dtype) ? 0.5 : 0, argument.dtype, call.device);
      if (call.recorded && x.defined() && is_floating(x.dtype())) requires_grad(x);
      inputs.push_back(x);
    }
    if (!call.recorded) {
      call.signature->call(inputs, call.numbers);
      return "right";
    }
    Tape tape;
    const Tensors ys = call.signature->call(inputs, call.numbers);
    stage = "backward ";
    Tensors outputs;
    Grads gradients;
    for (const Tensor& y : ys) {
      if (!needs_grad(y) || y.node()->is_leaf()) continue;
      outputs.push_back(y);
      gradients.push_back(full(y.shape(), 1, y.dtype(), y.device()));
    }
    if (!outputs.empty()) tape.backward(outputs, gradients);
    return "right";
  } catch (const OutOfMemory& error) {
    return stage + "out of memory: " + error.what();
  } catch (const Error& error) {
    return stage + error.what();
  } catch (const std::exception& error) {
    return std::string("foreign ") + error.what();
  }
}

// Runs the child below from call `first` on. Returns its status.
int run_child(size_t first, const std::string& report) {
  const pid_t child = fork();
  if (child == 0) {
    setenv(kFirst, std::to_string(first).c_str(), 1);
    setenv(kReport, report.c_str(), 1);
    execl("/proc/self/exe", "tests", "--test-case=misuse: the calls of a child process", "--no-skip",
          static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return status;
}

// Returns whether a message names an argument. "a" is also an English word, which does not count. The one exception is the
// tensor of which a member is called: it has no name, so the message says "this tensor", or shows its dtype and shape.
bool names(const std::string& message, const std::string& argument) {
  const std::string last = argument.substr(argument.rfind('.') + 1);
  const std::string pattern = last == "a"        ? "\\ba( is|'s|,| has)"
                              : last == "tensor" ? "this tensor|\\) on c"
                                                 : "\\b" + last + "\\b";
  return std::regex_search(message, std::regex(pattern));
}

// Returns what is wrong with an outcome; empty if nothing is.
std::string fault_of(const Call& call, const std::string& outcome) {
  const Signature& s = *call.signature;
  if (outcome == "right") return call.refused ? "was not refused" : "";
  if (outcome.starts_with("backward ")) return "fails in its backward pass: " + outcome;
  if (!outcome.starts_with("error ")) return outcome;
  const std::string message = outcome.substr(6);
  const std::string& name = s.says.empty() ? s.function : s.says;
  if (!message.starts_with(name + ": ")) return "does not name the function: " + message;
  if (call.blamed.empty()) return "the right call fails: " + message;
  for (const std::string& argument : call.blamed)
    if (names(message.substr(name.size()), argument)) return "";
  return "names none of the changed arguments: " + message;
}

std::string source_of(const std::string& name) {
  return read_text(test_dir() + "/../ops/" + name + ".h");
}

}  // namespace

TEST_CASE("misuse: every operator has a signature") {
  std::set<std::string> known;
  for (const Signature& signature : signatures()) known.insert(signature.op);
  for (const char* name : kOpFiles)
    CHECK_MESSAGE(known.contains(name), "ops/", std::string(name), ".h has no signature: add SIGNATURES(",
                  std::string(name), ") to tests/ops/", std::string(name), "_test.cpp");
}

TEST_CASE("misuse: every function that a header of ops/ declares for all has a signature") {
  // What operators are made of: descriptions of products, and of rows for kernels.
  const std::set<std::string> described{"linear_product", "linear_input_product", "linear_weight_product",
                                        "plan_linear",    "product_of",           "time_steps"};
  std::map<std::string, std::set<std::string>> known;
  for (const Signature& signature : signatures()) known[signature.op].insert(signature.function);
  const std::regex declaration("^(?:inline )?[A-Za-z_:<>]+ ([a-z][a-z0-9_]*)\\((?:const |Shape )");
  int found = 0;
  for (const auto& entry : known) {
    const std::string& op = entry.first;
    const std::set<std::string>& functions = entry.second;
    if (op == "tensor" || op == "softsign") continue;
    std::istringstream lines(source_of(op));
    for (std::string line; std::getline(lines, line) && !line.starts_with("namespace cpu");) {
      std::smatch match;
      if (!std::regex_search(line, match, declaration) || line.find("TANDEM_") != std::string::npos) continue;
      const std::string function = match[1];
      if (described.contains(function) || function.starts_with("check_") || function == "operator") continue;
      CHECK_MESSAGE(functions.contains(function), "ops/", op, ".h: ", function, "() has no signature");
      ++found;
    }
  }
  CHECK(found >= 70);
}

TEST_CASE("misuse: the calls of a child process" * doctest::skip()) {
  if (std::getenv(kFirst) == nullptr) return;
  std::ofstream report(std::getenv(kReport), std::ios::app);
  for (size_t i = std::stoul(std::getenv(kFirst)); i < calls().size(); ++i) {
    report << i << "\t" << std::flush;  // a call that does not come back leaves its index
    alarm(kSeconds);
    const std::string outcome = outcome_of(calls()[i]);
    alarm(0);
    report << outcome << "\n" << std::flush;
  }
  report.close();
  std::exit(0);
}

TEST_CASE("misuse: no call crashes or hangs, and each refusal names the function and the argument" *
          doctest::test_suite("slow when emulated")) {
  const TempDir folder;
  const std::string report = folder / "report";
  REQUIRE((calls().size() >= kLeastCalls || std::getenv("TANDEM_TEST_OPERATOR")));
  size_t next = 0, faults = 0, refused = 0;
  while (next < calls().size()) {
    const int status = run_child(next, report);
    std::istringstream lines(read_text(report));
    std::remove(report.c_str());
    for (std::string line; std::getline(lines, line);) {
      const size_t tab = line.find('\t');
      REQUIRE(tab != std::string::npos);
      REQUIRE(std::stoul(line.substr(0, tab)) == next);
      const Call& call = calls()[next++];
      const std::string outcome = line.substr(tab + 1);
      const std::string fault = outcome.empty() ? "ends the process, with status " + std::to_string(status)
                                                : fault_of(call, outcome);
      refused += outcome.starts_with("error ");
      if (fault.empty()) continue;
      ++faults;
      MESSAGE(text_of(call), ": ", fault);
    }
    // A child that ends well has made all calls that were left, and one that does not has written where it ended.
    REQUIRE((WIFEXITED(status) && WEXITSTATUS(status) == 0) == (next == calls().size()));
  }
  MESSAGE(next, " calls, ", refused, " of them refused");
  CHECK(faults == 0);
  // A table of right calls alone would show nothing. Of one operator alone fewer may be refused.
  CHECK(refused >= next / (std::getenv("TANDEM_TEST_OPERATOR") ? 8 : 4));
}

}  // namespace tandem::testing
