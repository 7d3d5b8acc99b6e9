// The rows compiled into what decode() walks: a slot per opcode, and per slot as many cells as the conditions of its
// rows tell apart. Each cell holds the number of a row. Two rows that claim one cell do not compile.
#pragma once

#include <array>

#include "vmm/soft/decode/operand_forms.h"
#include "vmm/soft/decode/rows_one_byte.h"
#include "vmm/soft/decode/rows_sse.h"
#include "vmm/soft/decode/rows_two_byte.h"
#include "vmm/soft/decode/rows_vex.h"
#include "vmm/soft/decode/rows_x87.h"

namespace dejavm::soft::table {

// What selects a cell besides the opcode.
enum Shape : uint8_t { kByPrefix = 1, kByMode = 2, kByMod = 4, kByReg = 8, kByRm = 16, kHasModrm = 32 };

struct Slot {
  uint16_t first_cell = 0;  // cell 0: no row, #UD
  uint8_t shape = 0;
};

inline constexpr size_t kSlotCount = 4 * 256;

// The encodings without VEX, and those with it.
template <bool vex>
inline constexpr size_t kRowCount =
    std::size(kOneByteRows) + std::size(kTwoByteRows) + std::size(kX87Rows) + std::size(kSseRows);
template <>
inline constexpr size_t kRowCount<true> = std::size(kVexRows);

template <bool vex, class F>
constexpr void for_each_row(F f) {
  if constexpr (vex) {
    for (const Row& r : kVexRows) f(r);
    return;
  }
  for (const Row& r : kOneByteRows) f(r);
  for (const Row& r : kTwoByteRows) f(r);
  for (const Row& r : kX87Rows) f(r);
  for (const Row& r : kSseRows) f(r);
}

constexpr uint8_t shape_of(const Row& r) {
  unsigned shape = (r.prefixes() ? kByPrefix : 0) | (r.modes() ? kByMode : 0) | (r.mods() ? kByMod : 0) |
                   (r.digits() ? kByReg : 0) | (r.rms() ? kByRm : 0);
  if (r.mods() || r.digits() || r.rms()) shape |= kHasModrm;
  for (OperandCode c : r.operands)
    if (uses_modrm(c)) shape |= kHasModrm;
  return static_cast<uint8_t>(shape);
}

constexpr unsigned cells_of(unsigned shape) {
  return (shape & kByPrefix ? 4u : 1u) * (shape & kByMode ? 2u : 1u) * (shape & kByMod ? 2u : 1u) *
         (shape & kByReg ? 8u : 1u) * (shape & kByRm ? 8u : 1u);
}

template <bool vex>
constexpr std::array<uint8_t, kSlotCount> slot_shapes() {
  std::array<uint8_t, kSlotCount> shapes{};
  for_each_row<vex>([&](const Row& r) {
    for (unsigned i = 0; i < r.span(); ++i)
      shapes[r.opcode + i] = static_cast<uint8_t>(shapes[r.opcode + i] | shape_of(r));
  });
  return shapes;
}

template <bool vex>
constexpr unsigned cell_count() {
  unsigned n = 1;
  for (unsigned shape : slot_shapes<vex>()) n += shape ? cells_of(shape) : 0;
  return n;
}

// Slots whose rows have neither conditions nor ModRM have shape 0, and one cell each.
template <bool vex>
inline constexpr size_t kMaxCells = cell_count<vex>() + kSlotCount;

template <bool vex>
struct Index {
  std::array<Slot, kSlotCount> slots{};
  std::array<uint16_t, kMaxCells<vex>> cells{};
  std::array<Form, kRowCount<vex> + 1> forms{};
};

constexpr void claim(uint16_t& cell, uint16_t form) {
  if (cell != 0) throw "two rows for the same encoding";
  cell = form;
}

// Enters the row in each cell of the slot that its conditions allow.
template <bool vex>
constexpr void enter(Index<vex>& index, const Slot& slot, const Row& r, uint16_t form) {
  const auto count = [&](unsigned dimension, unsigned n) { return slot.shape & dimension ? n : 1u; };
  const auto allows = [](unsigned conditions, unsigned value) { return conditions == 0 || (conditions >> value & 1); };
  const unsigned prefixes = count(kByPrefix, 4), modes = count(kByMode, 2), mods = count(kByMod, 2);
  const unsigned digits = count(kByReg, 8), rms = count(kByRm, 8);
  for (unsigned p = 0; p < prefixes; ++p) {
    if (!allows(r.prefixes(), p)) continue;
    for (unsigned m = 0; m < modes; ++m) {
      if (!allows(r.modes(), m)) continue;
      for (unsigned o = 0; o < mods; ++o) {
        if (!allows(r.mods(), o)) continue;
        for (unsigned g = 0; g < digits; ++g) {
          if (!allows(r.digits(), g)) continue;
          const unsigned at = slot.first_cell + (((p * modes + m) * mods + o) * digits + g) * rms;
          for (unsigned k = 0; k < rms; ++k)
            if (allows(r.rms(), k)) claim(index.cells[at + k], form);
        }
      }
    }
  }
}

template <bool vex>
constexpr Index<vex> make_index() {
  Index<vex> index;
  const std::array<uint8_t, kSlotCount> shapes = slot_shapes<vex>();
  unsigned next = 1;
  uint16_t form = 0;
  for_each_row<vex>([&](const Row& r) {
    ++form;
    index.forms[form].op = r.op;
    index.forms[form].attr = static_cast<uint16_t>(r.attr);
    for (unsigned i = 0; i < 4; ++i) index.forms[form].operands[i] = r.operands[i];
    for (unsigned i = 0; i < r.span(); ++i) {
      Slot& slot = index.slots[r.opcode + i];
      if (slot.first_cell == 0) {
        slot.first_cell = static_cast<uint16_t>(next);
        slot.shape = shapes[r.opcode + i];
        next += cells_of(slot.shape);
      }
      enter(index, slot, r, form);
    }
  });
  return index;
}

inline constexpr Index kIndex = make_index<false>();
inline constexpr Index kVexIndex = make_index<true>();

}  // namespace dejavm::soft::table
