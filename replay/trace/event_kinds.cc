#include "replay/trace/event_kinds.h"

#include <algorithm>
#include <initializer_list>

#include <fmt/format.h>

#include "devices/core/transfer.h"

namespace dejavm {
namespace {

using F = EventField;
using enum OperandForm;

constexpr uint64_t kPortSizes = 0b1011, kAnySize = 0xff;
constexpr uint64_t kMaxPort = 0xffff, kMax32 = 0xffffffff, kMaxVector = 0xff;

struct Descriptor {
  std::string_view name, meaning;
  EventRole role = EventRole::kExit;
  bool guest_sees = true;
  EventTarget target = EventTarget::kNobody;
  std::initializer_list<EventOperand> operands = {};
};

constexpr EventDescriptor make(const Descriptor& d) {
  EventDescriptor made{
      .name = d.name, .meaning = d.meaning, .role = d.role, .guest_sees = d.guest_sees, .target = d.target};
  for (const EventOperand& operand : d.operands) made.operands.at(made.operand_count++) = operand;
  return made;
}

constexpr EventOperand size_operand(uint64_t allowed) {
  return {.name = "size",
          .label = " size ",
          .form = kSize,
          .field = F::kSize,
          .text = OperandText::kDecimal,
          .max = allowed};
}

constexpr EventDescriptor port_access(std::string_view name, std::string_view meaning, std::string_view arrow) {
  return make(
      {.name = name,
       .meaning = meaning,
       .target = EventTarget::kPort,
       .operands = {{.name = "address", .label = " port ", .form = kLast, .field = F::kAddress, .max = kMaxPort},
                    size_operand(kPortSizes),
                    {.name = "value", .label = arrow}}});
}

constexpr EventDescriptor memory_access(std::string_view name, std::string_view meaning, std::string_view arrow) {
  return make({.name = name,
               .meaning = meaning,
               .target = EventTarget::kGpa,
               .operands = {{.name = "address", .label = " address ", .form = kLast, .field = F::kAddress},
                            size_operand(kAnySize),
                            {.name = "value", .label = arrow}}});
}

constexpr EventDescriptor msr_access(std::string_view name, std::string_view meaning, OperandForm value,
                                     std::string_view arrow) {
  return make(
      {.name = name,
       .meaning = meaning,
       .target = EventTarget::kMsr,
       .operands = {{.name = "msr", .label = " msr ", .field = F::kAddress, .max = kMax32},
                    {.name = "value", .label = arrow, .form = value},
                    {.name = "ok", .label = " #GP", .form = kFlag, .field = F::kOk, .text = OperandText::kIfClear}}});
}

constexpr EventDescriptor characters(std::string_view name, std::string_view meaning, bool guest_sees,
                                     EventTarget target, std::string_view operand, OperandText text) {
  return make({.name = name,
               .meaning = meaning,
               .role = EventRole::kInput,
               .guest_sees = guest_sees,
               .target = target,
               .operands = {{.name = operand, .label = " ", .form = kBytes, .field = F::kData, .text = text}}});
}

constexpr EventOperand number32(std::string_view name, std::string_view label, EventField field) {
  return {.name = name, .label = label, .field = field, .max = kMax32};
}

}  // namespace

// clang-format off
constexpr std::array<EventDescriptor, kEventKinds> kEventDescriptors = {
    port_access("io_read", "port read; value: the answer", " -> "),
    port_access("io_write", "port write", " <- "),
    memory_access("mmio_read", "memory-mapped read; value: the answer", " -> "),
    memory_access("mmio_write", "memory-mapped write", " <- "),
    msr_access("msr_read", "MSR read; ok: it took no #GP", kNumberIfFlag, " -> "),
    msr_access("msr_write", "MSR write; ok: it took no #GP", kNumber, " <- "),
    make({.name = "cr8_read", .meaning = "CR8 read; value: the answer", .target = EventTarget::kLocalApic,
          .operands = {{.name = "value", .label = " -> "}}}),
    make({.name = "cr8_write", .meaning = "CR8 write", .target = EventTarget::kLocalApic, .operands = {{.name = "value", .label = " <- "}}}),
    make({.name = "cpuid", .meaning = "CPUID, and its answer", .target = EventTarget::kCpu,
          .operands = {number32("leaf", " leaf ", F::kAddress), number32("subleaf", " subleaf ", F::kSubleaf),
                       {.name = "cr4", .label = " cr4 ", .field = F::kCr4}, {.name = "xcr0", .label = " xcr0 ", .field = F::kXcr0},
                       number32("eax", " -> ", F::kEax), number32("ebx", " ", F::kEbx), number32("ecx", " ", F::kEcx),
                       number32("edx", " ", F::kEdx)}}),
    make({.name = "interrupt", .meaning = "interrupt acknowledged; none: the request had vanished", .target = EventTarget::kLocalApic,
          .operands = {{.name = "vector", .label = " vector ", .form = kSuccessor, .max = kMaxVector, .none = " no vector"}}}),
    characters("console", "what was typed", true, EventTarget::kConsole, "data", OperandText::kCharacters),
    make({.name = "stop", .meaning = "the user ended the run", .role = EventRole::kInput, .guest_sees = false}),
    make({.name = "idle", .meaning = "the vCPU is halted, and time goes on from now_ns to to_ns; the next event was due at next_ns",
          .role = EventRole::kTime,
          .operands = {{.name = "now_ns", .label = " now ", .form = kTime, .field = F::kNow, .text = OperandText::kTime},
                       {.name = "to_ns", .label = " -> ", .form = kLater, .field = F::kValue, .text = OperandText::kTime},
                       {.name = "next_ns", .label = " next ", .form = kDue, .field = F::kNextEvent, .text = OperandText::kTime, .none = " next never"}}}),
    characters("control", "a request to whoever keeps the machine (checkpoint, pause, ...), as UTF-8 text", false, EventTarget::kNobody, "request", OperandText::kUtf8),
    make({.name = "place", .meaning = "where the interrupt of the next event goes in, or where an NMI does, in recordings of engines whose positions do not tell (KVM)",
          .role = EventRole::kPlace, .guest_sees = false, .target = EventTarget::kLocalApic,
          .operands = {{.name = "rip", .label = " rip ", .field = F::kAddress},
                       {.name = "registers_hash", .label = " registers ", .form = kWord, .text = OperandText::kHash},
                       {.name = "nmi", .label = " nmi", .form = kFlag, .field = F::kOk, .text = OperandText::kIfSet}}}),
    make({.name = "dma_read", .meaning = "a device read guest memory; ok: it is RAM, and has these bytes", .role = EventRole::kDma,
          .operands = {{.name = "requester", .label = " requester ", .field = F::kSubleaf, .max = 0xffff},
                       {.name = "address", .label = " address ", .field = F::kAddress},
                       {.name = "size", .label = " size ", .text = OperandText::kDecimal, .max = kMaxTransferBytes},
                       {.name = "data", .label = " -> ", .form = kBytesIfFlag, .field = F::kData, .text = OperandText::kBytes},
                       {.name = "ok", .label = " refused", .form = kFlag, .field = F::kOk, .text = OperandText::kIfClear}}}),
};
// clang-format on

std::string event_table() {
  static constexpr std::string_view kForms[] = {"size",           "flag",      "last",  "number",
                                                "number if flag", "successor", "bytes", "bytes if flag",
                                                "word",           "time",      "later", "due"};
  static constexpr std::string_view kRoles[] = {"exit", "input", "time", "place", "dma"};
  std::string out =
      "| kind | name | role | the guest sees it | operands | meaning |\n| --- | --- | --- | --- | --- | --- |\n";
  for (unsigned kind = 0; kind < kEventKinds; ++kind) {
    const EventDescriptor& d = kEventDescriptors[kind];
    std::string operands;
    for (const EventOperand& operand : d)
      operands += fmt::format("{}`{}` {}", operands.empty() ? "" : ", ", operand.name,
                              kForms[static_cast<unsigned>(operand.form)]);
    out += fmt::format("| {} | `{}` | {} | {} | {} | {} |\n", kind, d.name, kRoles[static_cast<unsigned>(d.role)],
                       d.guest_sees ? "yes" : "no", operands, d.meaning);
  }
  return out;
}

}  // namespace dejavm
