// Keeps the tutorial, autograd/README.md, true: what it shows of the library is there, and each of its questions has a test.
#include <doctest/doctest.h>
#include <pthread.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>

#include "tandem/autograd/gradcheck.h"
#include "tandem/autograd/recompute.h"
#include "tandem/autograd/tiny.h"
#include "tandem/core/error.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/embedding.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/softmax.h"
#include "tests/support/paths.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using Values = std::vector<double>;

namespace {

// y = a * b, element by element, not recorded.
Tensor product(const Tensor& a, const Tensor& b) {
  Tensor y = empty_like(a);
  for (int64_t i = 0; i < a.numel(); ++i) y.data<double>()[i] = a.data<double>()[i] * b.data<double>()[i];
  return y;
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  return record("multiply", product(a, b), {a, b}, [a, b](const Tensor& dy) -> Grads {
    return {product(dy, b), product(dy, a)};
  });
}

Tensor leaf(const Values& values) {
  return requires_grad(tensor_of({static_cast<int64_t>(values.size())}, values));
}

Values list(const Tensor& x) {
  return x.to_vector<double>();
}

std::string read(const std::string& path) {
  std::ifstream file(testing::test_dir() + "/../" + path);
  std::ostringstream text;
  text << file.rdbuf();
  REQUIRE_MESSAGE(!text.str().empty(), path);
  return text.str();
}

// Strips the blanks around each line, so that a snippet may be indented differently.
std::string squeezed(const std::string& text) {
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    const size_t begin = line.find_first_not_of(' ');
    if (begin != std::string::npos)
      result += line.substr(begin, line.find_last_not_of(' ') + 1 - begin) + "\n";
  }
  return result;
}

// Returns every piece of text between `open` and the next `close`.
std::vector<std::string> between(const std::string& text, const std::string& open, const std::string& close) {
  std::vector<std::string> found;
  for (size_t at = text.find(open); at != std::string::npos; at = text.find(open, at)) {
    at += open.size();
    found.push_back(text.substr(at, text.find(close, at) - at));
  }
  return found;
}

// Returns the pieces of a text between its empty lines.
std::vector<std::string> paragraphs(const std::string& text) {
  std::istringstream lines(text);
  std::vector<std::string> found(1);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty())
      found.back() += line + "\n";
    else if (!found.back().empty())
      found.emplace_back();
  }
  return found;
}

}  // namespace

// tests/support/page_programs.cmake compiles the snippets. Those of sections 0 and 4 are also pieces of the library.
TEST_CASE("tutorial: pieces of the library are shown as they are, and every named test exists") {
  const std::string readme = read("autograd/README.md"), here = read("tests/autograd/tutorial_test.cpp");
  std::string sources;
  for (const char* path : {"autograd/tiny.h", "ops/softmax.h", "ops/softmax.cpp"})
    sources += squeezed(read(path));
  int64_t pieces = 0;
  for (const char* section : {"\n## 0.", "\n## 4."})
    for (const std::string& text : between(readme, section, "\n## "))
      for (const std::string& snippet : between(text, "```cpp\n", "```"))
        for (const std::string& piece : paragraphs(snippet)) {
          // What makes a file of the pieces is the page's own.
          if (piece.starts_with("#include") || piece.starts_with("using ") ||
              piece.starts_with("namespace ") || piece.starts_with("}  // namespace") ||
              piece.starts_with("int main") || piece.starts_with("OP_CASES"))
            continue;
          ++pieces;
          CHECK_MESSAGE(sources.find(squeezed(piece)) != std::string::npos, piece);
        }
  CHECK(pieces >= 9);
  const auto tests = between(readme, "*Test: ", "*");
  CHECK(tests.size() >= 14);
  for (const std::string& name : tests)
    CHECK_MESSAGE(here.find("TEST_CASE(\"tutorial: " + name + "\")") != std::string::npos, name);
}

TEST_CASE("tutorial: the table of files states their numbers of code lines") {
  const auto code_lines = [](const std::string& path) {
    std::istringstream lines(squeezed(read(path)));
    int64_t count = 0;
    for (std::string line; std::getline(lines, line);) count += !line.starts_with("//");
    return count;
  };
  const std::string readme = read("autograd/README.md");
  const auto holds = [&readme](const std::string& file, int64_t lines) {
    const size_t row = readme.find("| `" + file + "` |");
    REQUIRE_MESSAGE(row != std::string::npos, file);
    const std::string text = readme.substr(row, readme.find('\n', row) - row);
    CHECK_MESSAGE(text.ends_with("| " + std::to_string(lines) + " |"), text << " has " << lines);
  };
  for (const std::string name : {"tape", "leaf", "accumulate", "recompute", "gradcheck", "tape_instruments"})
    holds(name + ".{h,cpp}", code_lines("autograd/" + name + ".h") + code_lines("autograd/" + name + ".cpp"));
  for (const std::string file : {"tiny.h", "tape_dump.cpp"}) holds(file, code_lines("autograd/" + file));
}

TEST_CASE("tutorial: numbers first") {
  tiny::Value w = 0.1, x = 2.0;
  tiny::Value error = tanh(w * x) - 0.5;
  backward(error * error);
  w = w.value() - 0.1 * w.grad();
  CHECK(std::abs(std::tanh(w.value() * x.value()) - 0.5) < std::abs(error.value()));
}

TEST_CASE("tutorial: a product") {
  const Tensor a = leaf({2, 3}), b = leaf({5, 7});
  {
    Tape tape;
    Tensor y = multiply(a, b);
    Tensor loss = sum(y);
    tape.backward(loss);
  }
  CHECK(list(grad(a)) == Values{5, 7});
  CHECK(list(grad(b)) == Values{2, 3});
}

TEST_CASE("tutorial: why a recorded list needs no sorting") {
  const Tensor x = leaf({3});
  std::vector<std::string> order;
  const auto noted = [&order](const char* name, const Tensor& in) {
    return record(name, in.detach().clone(), {in}, [name, &order](const Tensor& dy) -> Grads {
      order.push_back(name);
      return {dy};
    });
  };
  Tape tape;
  const Tensor t = noted("t", x);
  const Tensor u = noted("u", t);
  const Tensor v = noted("v", u);
  const Tensor w = noted("w", add(t, v));  // t is used twice: at once, and by way of u and v
  tape.backward(sum(w));
  CHECK(order == std::vector<std::string>{"w", "v", "u", "t"});
  CHECK(list(grad(x)) == Values{2});
}

TEST_CASE("tutorial: why gradients are added") {
  const Tensor x = leaf({2, 3});
  Tape tape;
  tape.backward(sum(multiply(multiply(x, x), x)));
  CHECK(list(grad(x)) == Values{3 * 2 * 2, 3 * 3 * 3});
}

TEST_CASE("tutorial: a second backward is an error") {
  const Tensor x = leaf({2});
  Tape tape;
  const Tensor loss = sum(multiply(x, x));
  tape.backward(loss);
  CHECK_THROWS_WITH(
      tape.backward(loss),
      "backward: this tape is spent: its entries were freed as the first backward pass went; run "
      "the forward pass again under a new Tape");
  CHECK(list(grad(x)) == Values{4});
}

TEST_CASE("tutorial: what zeroing clears") {
  const Tensor a = leaf({2}), b = leaf({5});
  const auto pass = [&a, &b] {
    Tape tape;
    tape.backward(sum(multiply(a, b)));
  };
  pass();
  pass();
  CHECK(list(grad(a)) == Values{10});  // two passes, added up
  zero_grad(a);
  CHECK(!grad(a).defined());
  CHECK(list(grad(b)) == Values{4});  // another leaf keeps its gradient
  CHECK(list(a) == Values{2});        // and a its value
  pass();
  CHECK(list(grad(a)) == Values{5});
}

TEST_CASE("tutorial: batches in pieces give the gradient of the whole") {
  const Tensor w = leaf({2, 3, 5, 7}), x = leaf({1, 10, 100, 1000});
  {
    Tape tape;
    tape.backward(mean(multiply(w, x)));
  }
  const Values whole = list(grad(x));
  const Tensor first = requires_grad(x.view_rows(0, 2).clone()),
               last = requires_grad(x.view_rows(2, 4).clone());
  for (const auto& [piece, weights] :
       {std::pair(first, w.view_rows(0, 2)), std::pair(last, w.view_rows(2, 4))}) {
    Tape tape;
    tape.backward(scale(mean(multiply(weights, piece)), 0.5));
  }
  CHECK(list(grad(first)) == Values{whole[0], whole[1]});
  CHECK(list(grad(last)) == Values{whole[2], whole[3]});
}

TEST_CASE("tutorial: how deep a graph may be") {
  const auto deep = [](void* done) -> void* {
    const Tensor x = leaf({1});
    Tape tape;
    Tensor y = x;
    for (int i = 0; i < 100000; ++i) y = scale(y, 1);
    tape.backward(y);
    Tape dropped;
    for (int i = 0; i < 100000; ++i) y = i ? scale(y, 1) : scale(x, 1);
    *static_cast<bool*>(done) = list(grad(x)) == Values{1};
    return nullptr;
  };
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 512 << 10);  // recursion would need a hundred times more
  pthread_t thread;
  bool done = false;
  REQUIRE(pthread_create(&thread, &attributes, deep, &done) == 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  CHECK(done);
}

TEST_CASE("tutorial: integers have no gradient") {
  const Tensor ids = tensor_of({3}, std::vector<int32_t>{1, 0, 1});
  CHECK_THROWS_WITH(requires_grad(ids),
                    "requires_grad: x is i32 (3) on cpu, which has no gradient; use a floating dtype");
  const Tensor table = requires_grad(tensor_of({2, 2}, Values{1, 2, 3, 4}));
  Tape tape;
  tape.backward(sum(embedding(ids, table)));
  CHECK(list(grad(table)) == Values{1, 1, 2, 2});  // the table's rows have one, the ids only choose
}

TEST_CASE("tutorial: a tensor changed in place after its use") {
  const Tensor a = leaf({2}), b = leaf({5});
  {
    Tape tape;
    const Tensor loss = sum(multiply(a, b));
    b.data<double>()[0] = 100;  // wrong: multiply saved b, and shares its memory
    tape.backward(loss);
  }
  CHECK(list(grad(a)) == Values{100});
  zero_grad(a);
  b.data<double>()[0] = 5;
  Tape tape;
  const Tensor loss = sum(multiply(a, b.clone()));
  b.data<double>()[0] = 100;  // harmless: what was saved is the clone
  tape.backward(loss);
  CHECK(list(grad(a)) == Values{5});
}

TEST_CASE("tutorial: a gradient has no history") {
  const auto gradient_at = [](const Values& at) {
    const Tensor x = leaf(at);
    Tape tape;
    tape.backward(sum(multiply(multiply(x, x), x)));
    CHECK(!needs_grad(grad(x)));
    return list(grad(x));
  };
  // The second derivative of x^3 along a direction, from two first ones.
  const double step = 1e-5;
  const double second = (gradient_at({2 + step})[0] - gradient_at({2 - step})[0]) / (2 * step);
  CHECK(second == doctest::Approx(6 * 2));
}

TEST_CASE("tutorial: a tape belongs to its thread") {
  const Tensor x = leaf({2});
  Tape tape;
  const Tensor y = multiply(x, x);
  bool recorded_elsewhere = true;
  Tensor replica;
  std::thread other([&x, &recorded_elsewhere, &replica] {
    recorded_elsewhere = needs_grad(multiply(x, x));
    replica = requires_grad(x.clone());
    Tape own;
    own.backward(sum(multiply(replica, replica)));
  });
  other.join();
  CHECK(!recorded_elsewhere);
  CHECK(tape.size() == 1);
  tape.backward(sum(y));
  CHECK(list(grad(x)) == Values{4});
  CHECK(list(grad(replica)) == Values{4});
}

TEST_CASE("tutorial: a tape may be replaced by the next") {
  const Tensor x = leaf({2});
  auto tape = std::make_unique<Tape>();
  for (int step = 0; step < 3; ++step) {
    zero_grad(x);
    tape = std::make_unique<Tape>();
    tape->backward(sum(multiply(x, x)));
    CHECK(list(grad(x)) == Values{4});
  }
}

TEST_CASE("tutorial: detach carries a value over, without its history") {
  const Tensor w = leaf({3});
  Tensor state = tensor_of({1}, Values{1});
  for (int segment = 0; segment < 2; ++segment) {
    zero_grad(w);
    Tape tape;
    state = multiply(state.detach(), w);
    tape.backward(sum(state));
  }
  CHECK(list(state) == Values{9});
  CHECK(list(grad(w)) == Values{3});  // from the second segment alone; with the first it would be 6
}

TEST_CASE("tutorial: copies carry the gradient") {
  const Tensor w = leaf({3, 5});
  Tape tape;
  tape.backward(sum(multiply(w.clone(), w.to(DType::f32).to(DType::f64))));
  CHECK(list(grad(w)) == Values{6, 10});  // as multiply(w, w) gives
  Tape next;
  CHECK(!needs_grad(w.to(DType::i32)));
  CHECK(!needs_grad(w.detach().to(DType::f32)));
}

TEST_CASE("tutorial: why a parameter has no gradient") {
  const Tensor w = leaf({3}), x = leaf({2});
  {
    Tape tape;
    tape.backward(sum(multiply(x, w.detach())));  // cut off
  }
  CHECK(!grad(w).defined());
  Tensor y;
  {
    NoGrad pause;
    y = multiply(x, w);  // not recorded
  }
  Tape tape;
  CHECK_THROWS_AS(tape.backward(sum(y)), Error);
  CHECK(!grad(w).defined());
}

TEST_CASE("tutorial: grad() is the gradient itself, not a copy") {
  const Tensor x = leaf({2});
  const auto pass = [&x] {
    Tape tape;
    tape.backward(sum(multiply(x, x)));
  };
  pass();
  const Tensor now = grad(x), copy = grad(x).clone();
  pass();
  CHECK(list(now) == Values{8});
  CHECK(list(copy) == Values{4});
}

TEST_CASE("tutorial: dy is read, never written") {
  const Tensor a = leaf({2}), b = leaf({5});
  const auto rude = [](const Tensor& x) {
    return record("rude", x.detach().clone(), {x}, [](const Tensor& dy) -> Grads {
      dy.data<double>()[0] *= 10;  // wrong: add has handed the same tensor to the other input
      return {dy};
    });
  };
  Tape tape;
  const Tensor first = scale(a, 1);
  const Tensor last = rude(scale(b, 1));  // recorded later, so walked earlier
  tape.backward(sum(add(first, last)));
  CHECK(list(grad(b)) == Values{10});
  CHECK(list(grad(a)) == Values{10});  // 1 would be right
}

TEST_CASE("tutorial: the tape as a table and as a drawing") {
  const Tensor scores = requires_grad(zeros({64, 512}, DType::f32), "scores");
  const Tensor values = requires_grad(zeros({64, 512}, DType::f32), "values");
  Tape tape;
  const Tensor weights = softmax(scale(scores, 0.125));
  const Tensor loss = sum(mul(weights, values));
  const std::string table = tape.dump();
  const auto printed = tape_ops::rows_without_times(read("autograd/README.md"));
  const auto rows = tape_ops::rows_without_times(table);
  REQUIRE(rows.size() == 6);
  CHECK(std::search(printed.begin(), printed.end(), rows.begin(), rows.end()) != printed.end());
  CHECK(tape.dump_graphviz().starts_with("digraph tape {"));
}

TEST_CASE("tutorial: where a NaN began") {
  const Tensor x = leaf({1e200, 1});
  Tape tape({.check_nan = true});
  std::string message;
  try {
    const Tensor loss = sum(sub(mul(x, x), mul(x, x)));  // infinity - infinity
    tape.backward(loss);
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK(message == "mul: output 0, f64 (2) on cpu, of entry 0 is not finite, and its inputs are");
  CHECK(read("autograd/README.md").find(message) != std::string::npos);
}

TEST_CASE("tutorial: recomputation, with a dropout key by value") {
  const Tensor x = leaf(Values(64, 0.5));
  Values plain;
  for (const bool again : {false, true}) {
    zero_grad(x);
    const DropoutKey key{.seed = 1, .step = 7, .site = 3};
    const Function layer = [key](const std::vector<Tensor>& in) -> std::vector<Tensor> {
      return {softmax(dropout(mul(in[0], in[0]), 0.25, key))};
    };
    Tape tape;
    const Tensor y = again ? recompute("layer", layer, {x})[0] : layer({x})[0];
    tape.backward(sum(mul(y, y)));
    if (!again) plain = list(grad(x));
  }
  CHECK(list(grad(x)) == plain);
}

TEST_CASE("tutorial: checking an operator") {
  const auto f = [](const std::vector<Tensor>& in) -> std::vector<Tensor> {
    return {multiply(in[0], in[1])};
  };
  const GradcheckResult result = gradcheck(f, {leaf({2, 3}), leaf({5, 7})});
  CHECK_MESSAGE(result.ok, result.message);
}
