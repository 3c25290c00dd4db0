// A tape printed as a table and for Graphviz, with the exact bytes that each operator keeps.
#include <doctest/doctest.h>

#include <algorithm>
#include <sstream>

#include "tandem/autograd/recompute.h"
#include "tandem/autograd/tape.h"
#include "tandem/models/registry.h"
#include "tests/support/tape_ops.h"

using namespace tandem;
using namespace tape_ops;

namespace {

// The column "saved" of an entry; with -1, of the sum of all.
std::string saved(const Tape& tape, int64_t entry) {
  const auto rows = rows_without_times(tape.dump());
  const auto& row = rows.at(entry < 0 ? rows.size() - 1 : static_cast<size_t>(entry) + 1);
  REQUIRE(row.at(0) == (entry < 0 ? "all" : "#" + std::to_string(entry)));
  return row.at(row.size() - 2) + " " + row.back();
}

Tensor keep(const Tensor& x, const Tensor& kept) {
  return record("keep", x.detach().clone(), {x}, [kept](const Tensor& dy) -> Grads { return {dy}; });
}

}  // namespace

TEST_CASE("tape dump: the table has a row for each entry and a sum") {
  const Tensor a = leaf_of({1, 2, 3}), b = vector_of({4, 5, 6});
  Tape tape;
  const Tensor loss = sum(mul(scale(a, 2), b));
  // All columns but the times.
  const char* expected[] = {
      " entry  operator             output                             inputs                    saved ",
      "    #0  scale                f64 (3)                            leaf                        0 B ",
      "    #1  mul                  f64 (3)                            #0 -                       48 B ",
      "    #2  sum                  f64 ()                             #1                          0 B ",
      "        all                  3 entries                                                     48 B ",
  };
  std::istringstream lines(tape.dump());
  std::string line;
  for (const char* begin : expected) {
    REQUIRE(std::getline(lines, line));
    CHECK(line.starts_with(begin));
    CHECK(line.size() == std::string(begin).size() + 10);
  }
  CHECK(!std::getline(lines, line));
}

TEST_CASE("tape dump: the drawing is the same every time") {
  const Tensor a = leaf_of({1, 2, 3}), b = leaf_of({4, 5, 6});
  Tape tape;
  const Tensor t = mul(a, b);
  const Tensor loss = sum(mul(t, a));
  CHECK(tape.dump_graphviz() ==
        "digraph tape {\n"
        "  rankdir=LR;\n"
        "  node [shape=box, fontname=\"monospace\"];\n"
        "  n0 [label=\"#0 mul\\nf64 (3)\\nsaved 0 B\"];\n"
        "  leaf0 [label=\"leaf\\nf64 (3)\", style=rounded];\n"
        "  leaf0 -> n0;\n"
        "  leaf1 [label=\"leaf\\nf64 (3)\", style=rounded];\n"
        "  leaf1 -> n0;\n"
        "  n1 [label=\"#1 mul\\nf64 (3)\\nsaved 24 B\"];\n"
        "  n0 -> n1;\n"
        "  leaf0 -> n1;\n"
        "  n2 [label=\"#2 sum\\nf64 ()\\nsaved 0 B\"];\n"
        "  n1 -> n2;\n"
        "}\n");
}

TEST_CASE("tape dump: a leaf with a name shows it, in the table and in the drawing") {
  const Tensor a = requires_grad(vector_of({1, 2, 3}), "layers.0.query.weight");
  const Tensor b = leaf_of({4, 5, 6}), c = requires_grad(vector_of({7, 8, 9}), "say \"c\"");
  Tape tape;
  const Tensor loss = sum(mul(mul(a, b), c));
  const char* expected[] = {
      " entry  operator             output                             inputs                            saved ",
      "    #0  mul                  f64 (3)                            layers.0.query.weight leaf          0 B ",
      "    #1  mul                  f64 (3)                            #0 say \"c\"                         24 B ",
      "    #2  sum                  f64 ()                             #1                                  0 B ",
      "        all                  3 entries                                                             24 B ",
  };
  std::istringstream lines(tape.dump());
  std::string line;
  for (const char* begin : expected) {
    REQUIRE(std::getline(lines, line));
    CHECK_MESSAGE(line.starts_with(begin), line);
  }
  const std::string drawing = tape.dump_graphviz();
  for (const char* label : {"leaf0 [label=\"layers.0.query.weight\\nf64 (3)\"",
                            "leaf1 [label=\"leaf\\nf64 (3)\"", "leaf2 [label=\"say \\\"c\\\"\\nf64 (3)\""})
    CHECK_MESSAGE(drawing.find(label) != std::string::npos, label);
}

TEST_CASE("tape dump: the parameters of a model appear by their names once they are named") {
  const auto model =
      make_model(R"({"model": "srupp", "d": 8, "d_projected": 4, "layers": 2, "vocabulary": 5})", /*seed=*/1);
  const Tensor tokens = tensor_of({3, 1}, std::vector<int32_t>{1, 4, 2});
  for (const bool named : {false, true}) {
    if (named)
      for (const NamedTensor& parameter : model->parameters()) requires_grad(parameter.value, parameter.name);
    State state;
    Tape tape;
    const Tensor loss = model->loss(tokens, tokens, state, {.training = true});
    const auto rows = rows_without_times(tape.dump());
    const auto has = [&rows](const std::string& word) {
      return std::any_of(rows.begin(), rows.end(),
                         [&word](const auto& row) { return std::count(row.begin(), row.end(), word) > 0; });
    };
    CHECK(has("leaf") == !named);
    for (const NamedTensor& parameter : model->parameters())
      CHECK_MESSAGE(has(parameter.name) == named, parameter.name);
  }
}

TEST_CASE("tape dump: the last name of a leaf holds, and its gradient and values stay") {
  const Tensor x = requires_grad(vector_of({3}), "first");
  {
    Tape tape;
    tape.backward(sum(scale(x, 2)));
  }
  CHECK(requires_grad(requires_grad(x, "second")).same_as(x));  // without a name, the old one stays
  CHECK(list(grad(x)) == std::vector<double>{2});
  Tape tape;
  const Tensor y = scale(x, 2);
  CHECK(tape.dump().find(" second ") != std::string::npos);
  CHECK(tape.dump().find("first") == std::string::npos);
  CHECK_THROWS_WITH(
      requires_grad(x, ""),
      "requires_grad: the name for f64 (1) on cpu is empty; leave it out for a leaf without one");
}

TEST_CASE("tape dump: a saved block counts once, at the first entry that keeps it, and leaves do not count") {
  const Tensor x = requires_grad(zeros({100, 10}, DType::f64));
  Tape tape;
  const Tensor t = scale(x, 2);
  const Tensor y = mul(t, t);                     // keeps t, twice
  const Tensor z = mul(y, t);                     // keeps y, and t again
  const Tensor w = mul(z, x);                     // keeps z, and a leaf
  const Tensor row = keep(w, t.view_rows(0, 1));  // a view keeps the block it looks at
  const Tensor fresh = keep(w, zeros({10}, DType::f64));
  const Tensor view = keep(w, zeros({50, 100}, DType::f64).view_rows(1, 2));
  CHECK(saved(tape, 0) == "0 B");
  CHECK(saved(tape, 1) == "8000 B");
  CHECK(saved(tape, 2) == "8000 B");
  CHECK(saved(tape, 3) == "8000 B");
  CHECK(saved(tape, 4) == "0 B");
  CHECK(saved(tape, 5) == "80 B");
  CHECK(saved(tape, 6) == "39.1 KiB");
  CHECK(saved(tape, -1) == "62.6 KiB");  // 64,080 bytes
}

TEST_CASE("tape dump: it keeps nothing alive and changes no gradient") {
  const Tensor x = leaf_of({3});
  std::weak_ptr<Storage> storage;
  {
    Tape tape;
    Tensor t = scale(x, 2);
    storage = t.storage();
    const Tensor loss = sum(mul(t, t));
    t = Tensor();
    CHECK(tape.dump() == tape.dump());
    CHECK(!tape.dump_graphviz().empty());
    tape.backward(loss);
    CHECK(storage.expired());
    CHECK(tape.dump().find(" 0 entries") != std::string::npos);
  }
  CHECK(list(grad(x)) == std::vector<double>{24});
}

TEST_CASE("tape dump: recomputation saves its inputs alone") {
  const Tensor x = requires_grad(zeros({1000}, DType::f64)), w = requires_grad(zeros({1000}, DType::f64));
  Tape tape;
  const Tensor t = scale(x, 2);
  const auto block = [w](const std::vector<Tensor>& in) -> std::vector<Tensor> {
    return {mul(mul(mul(in[0], w), in[0]), in[0])};
  };
  recompute("block", block, {t});
  recompute("block", block, {x});
  CHECK(saved(tape, 1) == "8000 B");
  CHECK(saved(tape, 2) == "0 B");
}

TEST_CASE("tape dump: several outputs are listed in one row") {
  const Tensor x = leaf_of({3});
  Tape tape;
  record("pair", {x.detach().clone(), zeros({2, 3}, DType::i64)}, {x},
         [](const Grads& dys) -> Grads { return {dys[0]}; });
  CHECK(tape.dump().find("f64 (1), i64 (2, 3)") != std::string::npos);
}
