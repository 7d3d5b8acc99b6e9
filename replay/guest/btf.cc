#include "replay/guest/btf.h"

#include <array>
#include <cstring>

namespace dejavm {
namespace {

constexpr uint64_t kMaxBtfBytes = 64 << 20;
constexpr uint32_t kStruct = 4;

Error bad(std::string why) { return {ErrorKind::kBadInput, "the guest kernel's types: " + why}; }

uint64_t trailing_bytes(uint32_t kind, uint64_t count) {
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

}  // namespace

template <class T>
bool Btf::get(uint64_t at, T& to) const {
  if (at > bytes_.size() || sizeof to > bytes_.size() - at) return false;
  std::memcpy(&to, &bytes_[at], sizeof to);
  return true;
}

Result<Btf> Btf::of(std::vector<uint8_t> bytes) {
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

Result<Btf> Btf::read(const GuestMemory& memory, const GuestKernel& kernel) {
  const KernelSymbol* start = kernel.symbol("__start_BTF");
  const KernelSymbol* stop = kernel.symbol("__stop_BTF");
  if (start == nullptr || stop == nullptr) return bad("it has none (CONFIG_DEBUG_INFO_BTF)");
  if (stop->address < start->address || stop->address - start->address > kMaxBtfBytes) return bad("they have no size");
  std::vector<uint8_t> bytes(stop->address - start->address);
  if (!read_kernel_image(memory, kernel, start->address, bytes.data(), bytes.size()))
    return bad("they are not in memory");
  return of(std::move(bytes));
}

std::map<std::string, uint32_t> Btf::members(std::string_view struct_name) const {
  for (uint64_t at = types_; at + 12 <= types_end_;) {
    std::array<uint32_t, 3> type{};  // name, info, size or type
    if (!get(at, type)) break;
    const uint32_t kind = type[1] >> 24 & 0x1f;
    const uint32_t count = type[1] & 0xffff;
    at += 12;
    if (kind == kStruct && name(type[0]) == struct_name) return members_at(at, count, type[1] >> 31);
    at += trailing_bytes(kind, count);
  }
  return {};
}

std::string_view Btf::name(uint32_t offset) const {
  const uint64_t at = strings_ + offset;
  if (at >= bytes_.size()) return {};
  const char* text = reinterpret_cast<const char*>(&bytes_[at]);
  return {text, strnlen(text, bytes_.size() - at)};
}

std::map<std::string, uint32_t> Btf::members_at(uint64_t at, uint32_t count, bool has_bit_sizes) const {
  std::map<std::string, uint32_t> out;
  for (uint32_t n = 0; n < count; ++n) {
    std::array<uint32_t, 3> member{};  // name, type, offset in bits
    if (!get(at + uint64_t{n} * 12, member)) break;
    const uint32_t bits = has_bit_sizes ? member[2] & 0xffffff : member[2];
    out.emplace(name(member[0]), bits / 8);
  }
  return out;
}

}  // namespace dejavm
