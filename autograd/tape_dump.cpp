// Printing a tape: a table for reading, Graphviz for drawing, and the bytes that each operator keeps.
#include <algorithm>
#include <map>
#include <set>

#include "tandem/autograd/tape.h"
#include "tandem/core/check.h"
#include "tandem/core/copied_tensors.h"
#include "tandem/core/format.h"

namespace tandem {
namespace {

// Returns the bytes of the blocks that `backward` captured and no earlier entry did. Leaves do not count: their memory
// lives anyway.
size_t saved_bytes(const BackwardMany& backward, std::set<const Storage*>& counted) {
  size_t bytes = 0;
  for (const Tensor& saved : copied_tensors([&backward] { const BackwardMany copy = backward; })) {
    const bool leaf = saved.node() && saved.node()->is_leaf();
    if (!leaf && counted.insert(saved.storage().get()).second) bytes += saved.storage()->bytes();
  }
  return bytes;
}

// Up to 9999 of a unit are printed in it: "8000 B", "62.6 KiB".
std::string bytes_column(size_t bytes) {
  return bytes_text(bytes, /*largest=*/10000);
}

template <class Infos>
std::string shapes_text(const Infos& infos) {
  std::string text;
  for (const auto& info : infos)
    text += (text.empty() ? "" : ", ") + std::string(name_of(info.dtype)) + " " + info.shape.str();
  return text;
}

std::string leaf_text(const GradNode& node) {
  return node.name.empty() ? "leaf" : node.name;
}

std::string input_text(const GradNode* node) {
  if (!node) return "-";
  return node->is_leaf() ? leaf_text(*node) : fmt::format("#{}", node->entry);
}

// Returns the inputs of an entry in their order, with blanks between them.
std::string inputs_text(const std::vector<std::shared_ptr<GradNode>>& nodes) {
  std::string text;
  for (const auto& node : nodes) text += (text.empty() ? "" : " ") + input_text(node.get());
  return text;
}

// Returns a text as it stands between the quotes of a label in Graphviz's language.
std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

}  // namespace

std::string Tape::dump() const {
  size_t width = 18;  // of the inputs, which names of leaves make wider
  for (const Entry& entry : entries_) width = std::max(width, inputs_text(entry.input_nodes).size());
  const auto row = [width](const std::string& entry, const char* name, const std::string& output,
                           const std::string& inputs, const std::string& saved, const std::string& ms) {
    return fmt::format("{:>6}  {:<20} {:<34} {:<{}} {:>12} {:>10}\n", entry, name, output, inputs, width,
                       saved, ms);
  };
  std::string text = row("entry", "operator", "output", "inputs", "saved", "ms");
  std::set<const Storage*> counted;
  size_t total = 0;
  double total_ms = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    const size_t bytes = saved_bytes(entry.backward, counted);
    total += bytes;
    total_ms += entry.forward_ms;
    text += row(fmt::format("#{}", i), entry.name, shapes_text(entry.outputs), inputs_text(entry.input_nodes),
                bytes_column(bytes), fmt::format("{:.3f}", entry.forward_ms));
  }
  return text + row("", "all", fmt::format("{} entries", entries_.size()), "", bytes_column(total),
                    fmt::format("{:.3f}", total_ms));
}

std::string Tape::dump_graphviz() const {
  std::string text = "digraph tape {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];\n";
  std::set<const Storage*> counted;
  std::map<const GradNode*, size_t> leaves;  // numbered in order of appearance, so that a graph has one text
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    text += fmt::format("  n{} [label=\"#{} {}\\n{}\\nsaved {}\"];\n", i, i, entry.name,
                        shapes_text(entry.outputs), bytes_column(saved_bytes(entry.backward, counted)));
    for (size_t k = 0; k < entry.input_nodes.size(); ++k) {
      const GradNode* node = entry.input_nodes[k].get();
      if (!node) continue;
      if (!node->is_leaf()) {
        text += fmt::format("  n{} -> n{};\n", node->entry, i);
        continue;
      }
      const auto [leaf, is_new] = leaves.emplace(node, leaves.size());
      if (is_new)
        text += fmt::format("  leaf{} [label=\"{}\\n{} {}\", style=rounded];\n", leaf->second,
                            escaped(leaf_text(*node)), name_of(entry.inputs[k].dtype),
                            entry.inputs[k].shape.str());
      text += fmt::format("  leaf{} -> n{};\n", leaf->second, i);
    }
  }
  return text + "}\n";
}

}  // namespace tandem
