// A Linux guest's memory as far as looking at it goes: types of a kernel, made by hand, and a task.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "replay/guest/kallsyms.h"
#include "vmm/state/vcpu_state.h"

namespace dejavm {

inline constexpr uint64_t kImage = 0xffffffff80000000;
inline constexpr uint64_t kBtf = 0x100000, kOwn = 0x200000, kCurrent = 0x40, kTask = 0x201000;
inline constexpr uint32_t kPid = 0x120, kProcess = 0x124, kName = 0x300;

struct Blob {
  std::vector<uint32_t> types;
  std::string strings = std::string(1, '\0');

  uint32_t name(const std::string& text) {
    const auto at = static_cast<uint32_t>(strings.size());
    strings += text + '\0';
    return at;
  }
  void type(const std::string& text, uint32_t kind, uint32_t count, std::vector<uint32_t> more, bool bits = false) {
    types.insert(types.end(), {name(text), kind << 24 | count | uint32_t{bits} << 31, 0});
    types.insert(types.end(), more.begin(), more.end());
  }
  // One of each kind that has data behind it, so that each has to be passed over rightly.
  void all_kinds() {
    type("int", 1, 0, {32});
    type("", 2, 0, {});
    type("", 3, 0, {1, 1, 16});
    type("some", 4, 1, {name("pid"), 1, 64});
    type("one_of", 5, 2, {name("a"), 1, 0, name("b"), 1, 0});
    type("number", 6, 2, {name("x"), 0, name("y"), 1});
    type("", 13, 1, {name("argument"), 1});
    type("variable", 14, 0, {0});
    type(".data", 15, 1, {1, 0, 4});
    type("tag", 17, 0, {0});
    type("long", 19, 1, {name("z"), 0, 1});
  }
  void task(bool bits, bool has_name = true) {
    const uint32_t field = bits ? 8u << 24 : 0;
    std::vector<uint32_t> members{name("state"), 1, 0,           name("pid"), 1, (kPid * 8) | field,
                                  name("tgid"),  1, kProcess * 8};
    if (has_name) members.insert(members.end(), {name("comm"), 3, kName * 8});
    type("task_struct", 4, has_name ? 4 : 3, members, bits);
  }
  std::vector<uint8_t> bytes() const {
    const auto len = static_cast<uint32_t>(types.size() * 4);
    const uint32_t head[6] = {0x0001eb9f, 24, 0, len, len, static_cast<uint32_t>(strings.size())};
    std::vector<uint8_t> out(24 + len + strings.size());
    std::memcpy(out.data(), head, 24);
    std::memcpy(&out[24], types.data(), len);
    std::memcpy(&out[24 + len], strings.data(), strings.size());
    return out;
  }
};

struct Guest {
  std::unique_ptr<GuestMemory> memory = GuestMemory::create(4 << 20, 0).take();
  GuestKernel kernel;
  VcpuState vcpu = reset_vcpu_state();

  template <class T>
  void put(uint64_t at, const T& value) {
    CHECK(memory->write(Gpa{at}, &value, sizeof value));
  }
  explicit Guest(const std::vector<uint8_t>& btf) {
    CHECK(memory->write(Gpa{kBtf}, btf.data(), btf.size()));
    kernel.symbols = {{kCurrent, 'A', "current_task"},
                      {kImage + kBtf, 'R', "__start_BTF"},
                      {kImage + kBtf + btf.size(), 'R', "__stop_BTF"}};
    put(kOwn + kCurrent, kImage + kTask);
    put(kTask + kPid, uint32_t{42});
    put(kTask + kProcess, uint32_t{40});
    const char name[16] = {'a', '/', 'b', '\n', 'c', 0, 'x', 0, 0, 0, 0, 0, 0, 0, 0, 'z'};
    put(kTask + kName, name);
    // The image's 1 GiB from physical 0 on.
    put(0x1000 + 511 * 8, uint64_t{0x2003});
    put(0x2000 + 510 * 8, uint64_t{0x83});
    vcpu.cr0 = 0x80000001;
    vcpu.cr4 = 0x20;
    vcpu.efer = 0x500;
    vcpu.cr3 = 0x1000;
    vcpu.segment[kGs].base = kImage + kOwn;
  }
};

}  // namespace dejavm
