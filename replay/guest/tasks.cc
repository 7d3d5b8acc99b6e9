#include "replay/guest/tasks.h"

#include <array>
#include <cstring>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "vmm/state/page_tables.h"

namespace dejavm {
namespace {

constexpr uint64_t kMaxBtfBytes = 64 << 20;
constexpr uint32_t kNameBytes = 16;

Error bad(std::string why) { return {ErrorKind::kBadInput, "the guest kernel's types: " + why}; }

// The types of a BTF blob, of which all that is read is within it.
class Btf {
 public:
  static Result<Btf> of(std::vector<uint8_t> bytes) {
    Btf b;
    b.bytes_ = std::move(bytes);
    std::array<uint32_t, 6> head{};  // magic, version and flags; length; types: offset, length; strings: the same
    constexpr uint32_t kMagic = 0x0001eb9f;
    if (!b.get(0, head) || (head[0] & 0x00ffffff) != kMagic) return bad("there is no BTF of version 1");
    b.types_ = uint64_t{head[1]} + head[2];
    b.types_end_ = b.types_ + head[3];
    b.strings_ = uint64_t{head[1]} + head[4];
    if (b.types_end_ > b.bytes_.size() || b.strings_ > b.bytes_.size()) return bad("its parts are outside of it");
    return b;
  }

  // Where in a struct its members are, in bytes; empty: there is none of this name.
  std::map<std::string, uint32_t> members(std::string_view struct_name) const {
    for (uint64_t at = types_; at + 12 <= types_end_;) {
      std::array<uint32_t, 3> type{};  // name, info, size or type
      if (!get(at, type)) break;
      const uint32_t kind = type[1] >> 24 & 0x1f, count = type[1] & 0xffff;
      at += 12;
      if (kind == kStruct && name(type[0]) == struct_name) return members_at(at, count, type[1] >> 31);
      at += trailing_bytes(kind, count);
    }
    return {};
  }

 private:
  static constexpr uint32_t kStruct = 4;

  template <class T>
  bool get(uint64_t at, T& to) const {
    if (at > bytes_.size() || sizeof to > bytes_.size() - at) return false;
    std::memcpy(&to, &bytes_[at], sizeof to);
    return true;
  }
  std::string_view name(uint32_t offset) const {
    const uint64_t at = strings_ + offset;
    if (at >= bytes_.size()) return {};
    const char* text = reinterpret_cast<const char*>(&bytes_[at]);
    return {text, strnlen(text, bytes_.size() - at)};
  }
  static uint64_t trailing_bytes(uint32_t kind, uint64_t count) {
    enum Kind : uint32_t {
      kInt = 1,
      kArray = 3,
      kUnion = 5,
      kEnum = 6,
      kFunctionPrototype = 13,
      kVariable = 14,
      kDataSection = 15,
      kDeclarationTag = 17,
      kEnum64 = 19
    };
    switch (kind) {
      case kInt:
      case kVariable:
      case kDeclarationTag: return 4;
      case kArray: return 12;
      case kStruct:
      case kUnion:
      case kDataSection:
      case kEnum64: return count * 12;
      case kEnum:
      case kFunctionPrototype: return count * 8;
      default: return 0;
    }
  }
  std::map<std::string, uint32_t> members_at(uint64_t at, uint32_t count, bool has_bit_sizes) const {
    std::map<std::string, uint32_t> out;
    for (uint32_t n = 0; n < count; ++n) {
      std::array<uint32_t, 3> member{};  // name, type, offset in bits
      if (!get(at + uint64_t{n} * 12, member)) break;
      const uint32_t bits = has_bit_sizes ? member[2] & 0xffffff : member[2];
      out.emplace(name(member[0]), bits / 8);
    }
    return out;
  }

  std::vector<uint8_t> bytes_;
  uint64_t types_ = 0, types_end_ = 0, strings_ = 0;
};

Result<Btf> read_btf(const GuestMemory& memory, const GuestKernel& kernel) {
  const KernelSymbol* start = kernel.symbol("__start_BTF");
  const KernelSymbol* stop = kernel.symbol("__stop_BTF");
  if (start == nullptr || stop == nullptr) return bad("it has none (CONFIG_DEBUG_INFO_BTF)");
  if (stop->address < start->address || stop->address - start->address > kMaxBtfBytes) return bad("they have no size");
  std::vector<uint8_t> bytes(stop->address - start->address);
  if (!read_kernel_image(memory, kernel, start->address, bytes.data(), bytes.size()))
    return bad("they are not in memory");
  return Btf::of(std::move(bytes));
}

// By linear address, page by page.
bool read_linear(const GuestMemory& memory, const VcpuState& s, uint64_t linear, std::span<uint8_t> to) {
  for (uint8_t& byte : to) {
    const auto gpa = translate(memory, s, linear++);
    if (!gpa || !memory.read(Gpa{*gpa}, &byte, 1)) return false;
  }
  return true;
}

template <class T>
bool get_linear(const GuestMemory& memory, const VcpuState& s, uint64_t linear, T& to) {
  std::array<uint8_t, sizeof(T)> bytes{};
  if (!read_linear(memory, s, linear, bytes)) return false;
  std::memcpy(&to, bytes.data(), sizeof to);
  return true;
}

}  // namespace

Result<GuestTasks> GuestTasks::find(const GuestMemory& memory, const GuestKernel& kernel) {
  auto btf = read_btf(memory, kernel);
  if (!btf) return btf.error();
  GuestTasks out;
  if (const KernelSymbol* pointer = kernel.symbol("current_task")) {
    out.current_ = pointer->address;
  } else if (const KernelSymbol* hot = kernel.symbol("pcpu_hot")) {  // from Linux 6.2 on, its first member
    out.current_ = hot->address;
  } else {
    return bad("neither current_task nor pcpu_hot is one of its symbols");
  }
  const auto members = btf->members("task_struct");
  for (const auto& [name, to] : {std::pair("pid", &out.pid_), {"tgid", &out.process_}, {"comm", &out.name_}}) {
    const auto found = members.find(name);
    if (found == members.end()) return bad(fmt::format("its task_struct has no member '{}'", name));
    *to = found->second;
  }
  return out;
}

std::optional<GuestTask> GuestTasks::current(const GuestMemory& memory, const VcpuState& s) const {
  // In the kernel GS is that of the vCPU's own data; in a process SWAPGS would bring it.
  constexpr uint64_t kKernelHalf = uint64_t{1} << 63;
  const uint64_t own = s.segment[kGs].base & kKernelHalf ? s.segment[kGs].base : s.kernel_gs_base;
  uint64_t task = 0;
  if (!(own & kKernelHalf) || !get_linear(memory, s, own + current_, task) || !(task & kKernelHalf)) return {};
  GuestTask out;
  std::array<uint8_t, kNameBytes> name{};
  if (!get_linear(memory, s, task + pid_, out.pid) || !get_linear(memory, s, task + process_, out.process) ||
      !read_linear(memory, s, task + name_, name))
    return {};
  for (size_t n = 0; n + 1 < name.size() && name[n] != 0; ++n) {
    const bool printable = name[n] >= 0x20 && name[n] < 0x7f;
    out.name += printable ? static_cast<char>(name[n]) : '?';
  }
  return out;
}

}  // namespace dejavm
