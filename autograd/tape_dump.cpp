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

std::string input_text(const GradNode* node) {
  if (!node) return "-";
  return node->is_leaf() ? "leaf" : fmt::format("#{}", node->entry);
}

}  // namespace

std::string Tape::dump() const {
  std::string text = fmt::format("{:>6}  {:<20} {:<34} {:<18} {:>12} {:>10}\n", "entry", "operator", "output",
                                 "inputs", "saved", "ms");
  std::set<const Storage*> counted;
  size_t total = 0;
  double total_ms = 0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    std::string inputs;
    for (const auto& node : entry.input_nodes) inputs += (inputs.empty() ? "" : " ") + input_text(node.get());
    const size_t bytes = saved_bytes(entry.backward, counted);
    total += bytes;
    total_ms += entry.forward_ms;
    text += fmt::format("{:>6}  {:<20} {:<34} {:<18} {:>12} {:>10.3f}\n", fmt::format("#{}", i), entry.name,
                        shapes_text(entry.outputs), inputs, bytes_column(bytes), entry.forward_ms);
  }
  return text + fmt::format("{:>6}  {:<20} {:<34} {:<18} {:>12} {:>10.3f}\n", "", "all",
                            fmt::format("{} entries", entries_.size()), "", bytes_column(total), total_ms);
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
        text += fmt::format("  leaf{} [label=\"leaf\\n{} {}\", style=rounded];\n", leaf->second,
                            name_of(entry.inputs[k].dtype), entry.inputs[k].shape.str());
      text += fmt::format("  leaf{} -> n{};\n", leaf->second, i);
    }
  }
  return text + "}\n";
}

}  // namespace tandem
