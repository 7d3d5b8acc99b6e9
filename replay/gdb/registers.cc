#include "replay/gdb/registers.h"

#include <cstring>
#include <functional>

#include <fmt/format.h>

#include "replay/guest/where.h"

namespace dejavm::gdb {
namespace {

using Bytes = std::vector<uint8_t>;

struct Register {
  std::string name, type, feature, group;
  unsigned bytes;
  std::function<uint64_t(const VcpuState&)> get;                       // of up to 8 bytes
  std::function<void(VcpuState&, uint64_t)> set;                       // none: read only
  std::function<void(VcpuState&, uint8_t* bytes, bool write)> wide{};  // of more
};

unsigned top(const VcpuState& s) { return s.fpu.fsw >> 11 & 7; }

// Two bits a register, as FSAVE has them (SDM vol. 1, 8.1.7): 0 valid, 1 zero, 2 special, 3 empty.
uint64_t full_tags(const VcpuState& s) {
  uint64_t out = 0;
  for (unsigned n = 0; n < 8; ++n) {
    const uint64_t m = s.fpu.st_mantissa[n];
    const unsigned e = s.fpu.st_exponent[n] & 0x7fff;
    uint64_t tag = 0;
    if (!(s.fpu.ftw >> n & 1)) tag = 3;
    else if (e == 0 && m == 0) tag = 1;
    else if (e == 0 || e == 0x7fff || !(m >> 63)) tag = 2;
    out |= tag << (2 * n);
  }
  return out;
}

const std::vector<Register>& table() {
  static const std::vector<Register> all = [] {
    std::vector<Register> r;
    const char *core = "org.gnu.gdb.i386.core", *sse = "org.gnu.gdb.i386.sse", *segments = "org.gnu.gdb.i386.segments",
               *system = "org.dejavm.system";
    auto add = [&](const char* feature, std::string name, const char* type, unsigned bytes, auto get, auto set) {
      r.push_back({std::move(name), type, feature, feature == system ? "system" : "", bytes, get, set});
    };
    auto number = [&](const char* feature, std::string name, const char* type, unsigned bytes, auto place) {
      add(
          feature, std::move(name), type, bytes,
          [place](const VcpuState& s) { return static_cast<uint64_t>(place(const_cast<VcpuState&>(s))); },
          [place](VcpuState& s, uint64_t v) {
            auto& to = place(s);
            to = static_cast<std::remove_reference_t<decltype(to)>>(v);
          });
    };
    static constexpr std::pair<const char*, Gpr> kGprs[] = {{"rax", kRax}, {"rbx", kRbx}, {"rcx", kRcx}, {"rdx", kRdx},
                                                            {"rsi", kRsi}, {"rdi", kRdi}, {"rbp", kRbp}, {"rsp", kRsp},
                                                            {"r8", kR8},   {"r9", kR9},   {"r10", kR10}, {"r11", kR11},
                                                            {"r12", kR12}, {"r13", kR13}, {"r14", kR14}, {"r15", kR15}};
    for (const auto& [name, gpr] : kGprs)
      number(core, name, gpr == kRbp || gpr == kRsp ? "data_ptr" : "int64", 8,
             [which = gpr](VcpuState& s) -> uint64_t& { return s.gpr[which]; });
    number(core, "rip", "code_ptr", 8, [](VcpuState& s) -> uint64_t& { return s.rip; });
    number(core, "eflags", "i386_eflags", 4, [](VcpuState& s) -> uint64_t& { return s.rflags; });
    static constexpr std::pair<const char*, Seg> kSegs[] = {{"cs", kCs}, {"ss", kSs}, {"ds", kDs},
                                                            {"es", kEs}, {"fs", kFs}, {"gs", kGs}};
    // What a selector written here would load is not known: they are read only.
    for (const auto& [name, seg] : kSegs)
      add(
          core, name, "int32", 4, [which = seg](const VcpuState& s) { return uint64_t{s.segment[which].selector}; },
          std::function<void(VcpuState&, uint64_t)>());
    for (unsigned n = 0; n < 8; ++n) {
      r.push_back(
          {fmt::format("st{}", n), "i387_ext", core, "", 10, {}, {}, [n](VcpuState& s, uint8_t* bytes, bool write) {
             const unsigned p = (top(s) + n) & 7;
             std::memcpy(write ? static_cast<void*>(&s.fpu.st_mantissa[p]) : bytes,
                         write ? bytes : static_cast<void*>(&s.fpu.st_mantissa[p]), 8);
             std::memcpy(write ? static_cast<void*>(&s.fpu.st_exponent[p]) : bytes + 8,
                         write ? bytes + 8 : static_cast<void*>(&s.fpu.st_exponent[p]), 2);
           }});
    }
    number(core, "fctrl", "int", 4, [](VcpuState& s) -> uint16_t& { return s.fpu.fcw; });
    number(core, "fstat", "int", 4, [](VcpuState& s) -> uint16_t& { return s.fpu.fsw; });
    add(core, "ftag", "int", 4, full_tags, [](VcpuState& s, uint64_t v) {
      s.fpu.ftw = 0;
      for (unsigned n = 0; n < 8; ++n)
        s.fpu.ftw = static_cast<uint8_t>(s.fpu.ftw | ((v >> (2 * n) & 3) != 3 ? 1 << n : 0));
    });
    add(
        core, "fiseg", "int", 4, [](const VcpuState& s) { return s.fpu.fip >> 32 & 0xffff; },
        std::function<void(VcpuState&, uint64_t)>());
    add(
        core, "fioff", "int", 4, [](const VcpuState& s) { return s.fpu.fip & 0xffffffff; },
        std::function<void(VcpuState&, uint64_t)>());
    add(
        core, "foseg", "int", 4, [](const VcpuState& s) { return s.fpu.fdp >> 32 & 0xffff; },
        std::function<void(VcpuState&, uint64_t)>());
    add(
        core, "fooff", "int", 4, [](const VcpuState& s) { return s.fpu.fdp & 0xffffffff; },
        std::function<void(VcpuState&, uint64_t)>());
    number(core, "fop", "int", 4, [](VcpuState& s) -> uint16_t& { return s.fpu.fop; });
    for (unsigned n = 0; n < 16; ++n)
      r.push_back(
          {fmt::format("xmm{}", n), "vec128", sse, "", 16, {}, {}, [n](VcpuState& s, uint8_t* bytes, bool write) {
             std::memcpy(write ? static_cast<void*>(&s.fpu.xmm[n]) : bytes,
                         write ? bytes : static_cast<void*>(&s.fpu.xmm[n]), 16);
           }});
    number(sse, "mxcsr", "i386_mxcsr", 4, [](VcpuState& s) -> uint32_t& { return s.fpu.mxcsr; });
    number(segments, "fs_base", "int64", 8, [](VcpuState& s) -> uint64_t& { return s.segment[kFs].base; });
    number(segments, "gs_base", "int64", 8, [](VcpuState& s) -> uint64_t& { return s.segment[kGs].base; });
    auto show = [&](std::string name, unsigned bytes, auto get) {
      add(system, std::move(name), bytes == 8 ? "int64" : "int32", bytes, get,
          std::function<void(VcpuState&, uint64_t)>());
    };
    show("cr0", 8, [](const VcpuState& s) { return s.cr0; });
    show("cr2", 8, [](const VcpuState& s) { return s.cr2; });
    show("cr3", 8, [](const VcpuState& s) { return s.cr3; });
    show("cr4", 8, [](const VcpuState& s) { return s.cr4; });
    show("xcr0", 8, [](const VcpuState& s) { return s.xcr0; });
    show("efer", 8, [](const VcpuState& s) { return s.efer; });
    show("k_gs_base", 8, [](const VcpuState& s) { return s.kernel_gs_base; });
    show("star", 8, [](const VcpuState& s) { return s.star; });
    show("lstar", 8, [](const VcpuState& s) { return s.lstar; });
    for (unsigned n = 0; n < 4; ++n) show(fmt::format("dr{}", n), 8, [n](const VcpuState& s) { return s.dr[n]; });
    show("dr6", 8, [](const VcpuState& s) { return s.dr6; });
    show("dr7", 8, [](const VcpuState& s) { return s.dr7; });
    show("gdtr_base", 8, [](const VcpuState& s) { return s.gdtr.base; });
    show("gdtr_limit", 4, [](const VcpuState& s) { return s.gdtr.limit; });
    show("idtr_base", 8, [](const VcpuState& s) { return s.idtr.base; });
    show("idtr_limit", 4, [](const VcpuState& s) { return s.idtr.limit; });
    static constexpr std::pair<const char*, Seg> kCaches[] = {{"cs", kCs}, {"ss", kSs}, {"ds", kDs},
                                                              {"es", kEs}, {"tr", kTr}, {"ldtr", kLdtr}};
    for (const auto& [name, seg] : kCaches) {
      if (seg == kTr || seg == kLdtr)
        show(name, 4, [which = seg](const VcpuState& s) { return uint64_t{s.segment[which].selector}; });
      show(fmt::format("{}_base", name), 8, [which = seg](const VcpuState& s) { return s.segment[which].base; });
    }
    show("linear_pc", 8, [](const VcpuState& s) { return linear_rip(s); });
    return r;
  }();
  return all;
}

}  // namespace

size_t register_count() { return table().size(); }

std::vector<uint8_t> read_register(const VcpuState& s, size_t number) {
  if (number >= table().size()) return {};
  const Register& r = table()[number];
  Bytes out(r.bytes);
  if (r.wide) {
    VcpuState copy = s;
    r.wide(copy, out.data(), false);
  } else {
    const uint64_t v = r.get(s);
    std::memcpy(out.data(), &v, r.bytes);
  }
  return out;
}

bool write_register(VcpuState& s, size_t number, std::span<const uint8_t> value) {
  if (number >= table().size()) return false;
  const Register& r = table()[number];
  if (value.size() != r.bytes) return false;
  if (r.wide) {
    Bytes copy(value.begin(), value.end());
    r.wide(s, copy.data(), true);
    return true;
  }
  uint64_t v = 0;
  std::memcpy(&v, value.data(), r.bytes);
  if (!r.set) return v == r.get(s);
  r.set(s, v);
  return true;
}

std::vector<uint8_t> read_all_registers(const VcpuState& s) {
  Bytes out;
  for (size_t n = 0; n < table().size(); ++n) {
    const Bytes one = read_register(s, n);
    out.insert(out.end(), one.begin(), one.end());
  }
  return out;
}

bool write_all_registers(VcpuState& s, std::span<const uint8_t> values) {
  VcpuState to = s;
  for (size_t n = 0; n < table().size() && !values.empty(); ++n) {
    if (values.size() < table()[n].bytes || !write_register(to, n, values.first(table()[n].bytes))) return false;
    values = values.subspan(table()[n].bytes);
  }
  s = to;
  return true;
}

const std::string& target_description() {
  static const std::string text = [] {
    std::string out =
        "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM "
        "\"gdb-target.dtd\"><target><architecture>i386:x86-64</architecture>";
    std::string feature;
    for (const Register& r : table()) {
      if (r.feature != feature) {
        out += feature.empty() ? "" : "</feature>";
        feature = r.feature;
        out += fmt::format("<feature name=\"{}\">", feature);
        if (feature.ends_with("core")) {
          out += "<flags id=\"i386_eflags\" size=\"4\">";
          static constexpr std::pair<const char*, unsigned> kFlags[] = {
              {"CF", 0},  {"PF", 2},  {"AF", 4},  {"ZF", 6},  {"SF", 7},  {"TF", 8},   {"IF", 9},   {"DF", 10},
              {"OF", 11}, {"NT", 14}, {"RF", 16}, {"VM", 17}, {"AC", 18}, {"VIF", 19}, {"VIP", 20}, {"ID", 21}};
          for (const auto& [name, bit] : kFlags)
            out += fmt::format("<field name=\"{}\" start=\"{}\" end=\"{}\"/>", name, bit, bit);
          out += "</flags>";
        } else if (feature.ends_with("sse")) {
          out +=
              "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" "
              "count=\"2\"/>"
              "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
              "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
              "<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" "
              "type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
              "<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/><field "
              "name=\"v2_int64\" type=\"v2i64\"/>"
              "<field name=\"uint128\" type=\"uint128\"/></union><flags id=\"i386_mxcsr\" size=\"4\">";
          static constexpr const char* kBits[] = {"IE", "DE", "ZE", "OE", "UE", "PE", "DAZ",
                                                  "IM", "DM", "ZM", "OM", "UM", "PM"};
          for (unsigned bit = 0; bit < 13; ++bit)
            out += fmt::format("<field name=\"{}\" start=\"{}\" end=\"{}\"/>", kBits[bit], bit, bit);
          out += "<field name=\"FZ\" start=\"15\" end=\"15\"/></flags>";
        }
      }
      out += fmt::format("<reg name=\"{}\" bitsize=\"{}\" type=\"{}\"{}/>", r.name, 8 * r.bytes, r.type,
                         r.group.empty() ? "" : fmt::format(" group=\"{}\"", r.group));
    }
    return out + "</feature></target>";
  }();
  return text;
}

}  // namespace dejavm::gdb
