// The tap: who hears what, by which name, and that nothing is heard when nobody listens.
#include "tandem/core/tap.h"

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "tandem/core/error.h"

namespace tandem::testing {
namespace {

using Names = std::vector<std::string>;

Tap::Listener into(Names& names) {
  return [&names](const std::string& name, const Tensor&) { names.push_back(name); };
}

const Tensor& value() {
  static const Tensor one = tensor_of({2}, {1.0, 2.0});
  return one;
}

TEST_CASE("tap: offers reach the listener while it lives, and nobody before and after") {
  Names names;
  CHECK_FALSE(Tap::is_heard());
  Tap::offer("before", value());
  {
    const Tap tap(into(names));
    CHECK(Tap::is_heard());
    Tap::offer("gate", value());
  }
  CHECK_FALSE(Tap::is_heard());
  Tap::offer("after", value());
  CHECK(names == Names{"gate"});
}

TEST_CASE("tap: the listener gets the elements themselves") {
  Tensor heard;
  const Tap tap([&heard](const std::string&, const Tensor& offered) { heard = offered; });
  Tap::offer("gate", value());
  REQUIRE(heard.defined());
  CHECK(heard.raw() == value().raw());
  CHECK_FALSE(heard.same_as(value()));  // a handle of its own, without gradient
}

TEST_CASE("tap: scopes stand before names, and end in any way") {
  Names names;
  const TapScope unheard("model", 7);
  const Tap tap(into(names));
  {
    const TapScope layer("layers", 12);
    Tap::offer("alpha", value());
    {
      const TapScope block("blocks", 0);
      Tap::offer("scan.forget", value());
    }
    try {
      const TapScope block("blocks", 1);
      throw Error("a layer fails");
    } catch (const Error&) {
    }
    Tap::offer("beta", value());
  }
  Tap::offer("gamma", value());
  CHECK(names == Names{"layers.12.alpha", "layers.12.blocks.0.scan.forget", "layers.12.beta", "gamma"});
}

TEST_CASE("tap: the innermost of several hears, with the scopes that were opened since") {
  Names outer_names, inner_names;
  const Tap outer(into(outer_names));
  const TapScope layer("layers", 1);
  {
    const Tap inner(into(inner_names));
    const TapScope block("blocks", 2);
    Tap::offer("a", value());
  }
  Tap::offer("b", value());
  CHECK(outer_names == Names{"layers.1.b"});
  CHECK(inner_names == Names{"blocks.2.a"});
}

TEST_CASE("tap: a listener is not heard by itself, also if it throws") {
  int heard = 0;
  const Tap tap([&heard](const std::string& name, const Tensor&) {
    ++heard;
    CHECK_FALSE(Tap::is_heard());
    Tap::offer("within", value());
    if (name == "bad") throw Error("the listener fails");
  });
  CHECK_THROWS_WITH_AS(Tap::offer("bad", value()), "the listener fails", Error);
  CHECK(Tap::is_heard());
  Tap::offer("good", value());
  CHECK(heard == 2);
}

TEST_CASE("tap: a thread hears itself alone") {
  Names names;
  const Tap tap(into(names));
  bool other_hears = true;
  std::thread([&other_hears] {
    other_hears = Tap::is_heard();
    Tap::offer("other", value());
  }).join();
  CHECK_FALSE(other_hears);
  CHECK(names.empty());
}

TEST_CASE("tap: an empty listener is refused") {
  const Tap::Listener none;
  CHECK_THROWS_AS(Tap{none}, Error);
  CHECK_FALSE(Tap::is_heard());
}

}  // namespace
}  // namespace tandem::testing
