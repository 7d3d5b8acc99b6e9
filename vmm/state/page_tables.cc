#include "vmm/state/page_tables.h"

namespace dejavm {

std::optional<uint64_t> translate(const GuestMemory& memory, const VcpuState& s, uint64_t linear) {
  const PageTables tables(s);
  if (tables.levels().empty()) return linear;
  uint64_t table = tables.root();
  for (unsigned level = 0; level < tables.levels().size(); ++level) {
    uint64_t entry = 0;
    if (!memory.read({tables.entry_at(level, table, linear)}, &entry, tables.entry_bytes()) || !(entry & kEntryPresent))
      return std::nullopt;
    if (tables.is_leaf(level, entry)) return tables.physical(level, entry, linear);
    table = tables.next_table(entry);
  }
  return std::nullopt;
}

}  // namespace dejavm
