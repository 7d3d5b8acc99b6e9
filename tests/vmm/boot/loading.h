// A machine's memory and vCPU for the loaders' tests, and files to load from.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "vmm/boot/boot.h"

namespace dejavm::boot {

// A file that lives as long as this.
class TempFile {
 public:
  explicit TempFile(std::span<const uint8_t> content) {
    std::string path = (std::filesystem::temp_directory_path() / "dejavm-boot-test-XXXXXX").string();
    const int fd = mkstemp(path.data());
    EXPECT_GE(fd, 0);
    EXPECT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    ::close(fd);
    path_ = path;
  }
  ~TempFile() { std::filesystem::remove(path_); }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Loading {
  explicit Loading(uint64_t ram_bytes, uint64_t rom_bytes = 0) {
    config.memory_bytes = ram_bytes;
    config.rom_bytes = rom_bytes;
    Result<std::unique_ptr<GuestMemory>> m = GuestMemory::create(ram_bytes, rom_bytes);
    EXPECT_TRUE(m);
    memory = m.take();
  }
  Result<void> load() { return boot::load(source, config, *memory, vcpu); }

  template <class T>
  T at(uint64_t gpa) const {
    T value{};
    EXPECT_TRUE(memory->read({gpa}, &value, sizeof value)) << std::hex << gpa;
    return value;
  }
  std::vector<uint8_t> bytes(uint64_t gpa, uint64_t len) const {
    std::vector<uint8_t> v(len);
    EXPECT_TRUE(memory->read({gpa}, v.data(), len)) << std::hex << gpa;
    return v;
  }
  std::string text(uint64_t gpa) const {
    std::string s;
    while (const char c = at<char>(gpa + s.size())) s += c;
    return s;
  }

  BootSource source;
  MachineConfig config;
  std::unique_ptr<GuestMemory> memory;
  VcpuState vcpu = reset_vcpu_state();
};

// An error as a user should see it: one line that begins with the file's name.
inline void expect_message(const Result<void>& r, const std::string& path, const std::string& part = "") {
  ASSERT_FALSE(r.ok());
  const std::string& m = r.error().message;
  EXPECT_EQ(m.find(path), 0u) << m;
  EXPECT_EQ(m.find('\n'), std::string::npos) << m;
  EXPECT_NE(m.find(part), std::string::npos) << m;
}

// What every loader leaves: a state that a processor could be in, at an address that holds something.
inline void expect_startable(const Loading& l) {
  const char* why = Vcpu::invalid(l.vcpu);
  EXPECT_EQ(why, nullptr) << why;
  EXPECT_NE(l.memory->find({l.vcpu.rip + l.vcpu.segment[kCs].base}), nullptr);
}

// Flat protected mode, as all the 32-bit protocols want it: 4 GiB segments from 0, no paging, no interrupts.
inline void expect_flat_protected_mode(const Loading& l) {
  EXPECT_EQ(l.vcpu.cr0 & 0x80000001, 1u);
  EXPECT_EQ(l.vcpu.efer, 0u);
  EXPECT_EQ(l.vcpu.rflags, 2u);
  for (unsigned n = kEs; n <= kGs; ++n) {
    const SegmentState& s = l.vcpu.segment[n];
    EXPECT_EQ(s.base, 0u) << n;
    EXPECT_EQ(s.limit, 0xffffffffu) << n;
    EXPECT_EQ(s.attributes & 0xffe, n == kCs ? 0xc9au : 0xc92u) << n;  // code or writable data, DPL 0, P, D/B, G
  }
}

inline std::vector<uint8_t> slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

template <class T>
void poke(std::vector<uint8_t>& bytes, uint64_t offset, T value) {
  __builtin_memcpy(bytes.data() + offset, &value, sizeof value);
}

}  // namespace dejavm::boot
