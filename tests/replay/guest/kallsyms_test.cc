// Symbols from a guest's memory: tables made by hand, right ones and hostile ones. Real ones: tests/tools/gdb_test.py.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <regex>

#include <fmt/format.h>

#include "replay/guest/kallsyms.h"
#include "replay/guest/symbol_file.h"
#include "tests/replay/folder.h"

namespace dejavm {
namespace {

constexpr uint64_t kBase = 0xffffffff81000000, kTables = 0xffffffff81100000;

// Memory with VMCOREINFO at 64 KiB and the tables at their image's place, phys_base 0.
struct Kernel {
  std::unique_ptr<GuestMemory> memory = GuestMemory::create(32 << 20, 0).take();
  uint64_t at = kTables;
  std::string info = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nNUMBER(phys_base)=0\nKERNELOFFSET=0\n";

  template <class T>
  void put(const std::vector<T>& data) {
    CHECK(memory->write(Gpa{at & 0x7fffffff}, data.data(), data.size() * sizeof(T)));
    at = (at + data.size() * sizeof(T) + 7) & ~uint64_t{7};
  }
  void place(const char* name) { info += fmt::format("SYMBOL({})={:x}\n", name, at); }
  void publish() {
    std::vector<uint8_t> page(4096);
    const uint32_t head[3] = {11, static_cast<uint32_t>(info.size()), 0};
    std::memcpy(page.data(), head, sizeof head);
    std::memcpy(page.data() + 12, "VMCOREINFO", 11);
    std::memcpy(page.data() + 24, info.data(), info.size());
    CHECK(memory->write(Gpa{0x10000}, page.data(), page.size()));
  }
  // Tokens: each byte for itself, but 1: "_start", and 2: "Tthe".
  void tokens() {
    std::vector<char> table;
    std::vector<uint16_t> index;
    for (int t = 0; t < 256; ++t) {
      index.push_back(static_cast<uint16_t>(table.size()));
      const std::string text = t == 1 ? "_start" : t == 2 ? "Tthe" : std::string(1, static_cast<char>(t));
      for (const char c : text) table.push_back(c);
      table.push_back(0);
    }
    place("kallsyms_token_table");
    put(table);
    place("kallsyms_token_index");
    put(index);
  }
  void tables(const std::vector<std::vector<uint8_t>>& names, const std::vector<int32_t>& offsets, uint32_t count) {
    std::vector<uint8_t> bytes;
    for (const auto& n : names) {
      if (n.size() >= 128) {
        bytes.push_back(static_cast<uint8_t>(0x80 | (n.size() & 0x7f)));
        bytes.push_back(static_cast<uint8_t>(n.size() >> 7));
      } else bytes.push_back(static_cast<uint8_t>(n.size()));
      bytes.insert(bytes.end(), n.begin(), n.end());
    }
    place("kallsyms_names");
    put(bytes);
    tokens();
    place("kallsyms_num_syms");
    put(std::vector<uint32_t>{count});
    place("kallsyms_offsets");
    put(offsets);
    place("kallsyms_relative_base");
    put(std::vector<uint64_t>{kBase});
  }
};

std::vector<std::vector<uint8_t>> names() {
  return {{'A', 'p', 'e', 'r'}, {2, 1}, std::vector<uint8_t>(200, 't'), {'d', 'x'}};
}

TEST(Kallsyms, TablesAreReadAsLinuxReadsThem) {
  Kernel k;
  k.tables(names(), {0x40, -1, -1 - 0x10, -1 - 0x2000}, 4);
  k.publish();
  const auto found = GuestKernel::find(*k.memory);
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->release, "6.1.0-test");
  ASSERT_EQ(found->symbols.size(), 4u);
  EXPECT_EQ(found->symbols[0].address, 0x40u);
  EXPECT_EQ(found->symbols[0].name, "per");
  EXPECT_EQ(found->symbols[1].type, 'T');
  EXPECT_EQ(found->symbols[1].name, "the_start");
  EXPECT_EQ(found->symbols[1].address, kBase);
  EXPECT_EQ(found->symbols[2].name, std::string(199, 't'));
  EXPECT_EQ(found->symbols[3].address, kBase + 0x2000);
  EXPECT_EQ(symbols_of(*found).name(kBase + 4), "the_start+0x4");
  EXPECT_EQ(kernel_place(*k.memory, kBase + 0x2001), "x+0x1");
  const Bytes elf = symbol_file(*found, *k.memory);
  EXPECT_EQ(std::memcmp(elf.data(), "\177ELF", 4), 0);
}

std::string output_of(const std::string& command) {
  FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
  CHECK(pipe != nullptr);
  std::string out;
  char piece[4096];
  while (const size_t n = std::fread(piece, 1, sizeof piece, pipe)) out.append(piece, n);
  const int status = pclose(pipe);
  return status == 0 ? out : fmt::format("status {}: {}", status, out);
}

// Binutils read what gdb will: local symbols first, as many as the section says, and no complaints.
TEST(SymbolFile, BinutilsFindTheSymbolsInOrder) {
  const Folder folder;
  const auto memory = GuestMemory::create(1 << 20, 0).take();
  const GuestKernel kernel{"6.1.0-test",
                           0,
                           0,
                           {{kBase, 'T', "_stext"},
                            {kBase + 0x10, 't', "local_code"},
                            {kBase + 0x40, 'T', "global_code"},
                            {kBase + 0x1000, 'T', "_etext"},
                            {kBase + 0x2000, 'D', "global_data"},
                            {kBase + 0x2010, 'd', "local_data"},
                            {kBase + 0x3000, 'T', "_sinittext"}}};
  const std::string path = folder / "kernel";
  const Bytes elf = symbol_file(kernel, *memory);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(elf.data()), static_cast<std::streamsize>(elf.size()));
  EXPECT_EQ(output_of("nm -n " + path),
            "ffffffff81000000 T _stext\nffffffff81000010 t local_code\nffffffff81000040 T global_code\n"
            "ffffffff81001000 B _etext\nffffffff81002000 B global_data\nffffffff81002010 b local_data\n"
            "ffffffff81003000 A _sinittext\n");
  const std::string lint = output_of("readelf --lint --symbols --section-headers --wide " + path);
  EXPECT_EQ(lint.find("arning"), std::string::npos) << lint;
  // Index, then the number of local symbols: that of nothing, and two.
  EXPECT_TRUE(std::regex_search(lint, std::regex("\\.symtab +SYMTAB .* 3 +8\n"))) << lint;
  EXPECT_EQ(output_of("addr2line --functions --exe=" + path + " ffffffff81000014").substr(0, 11), "local_code\n");
}

// Linux's unwind tables as DWARF's, as readelf reads them: struct orc_entry of 6.1 and that of 6.4.
TEST(SymbolFile, ReadelfReadsTheUnwindTables) {
  struct OrcEntry {
    int16_t sp_offset, bp_offset;
    uint16_t bits;
  };
  static_assert(sizeof(OrcEntry) == 6);
  constexpr uint64_t kPlaces = kBase + 0x10000, kTable = kBase + 0x20000;
  const Folder folder;
  const auto memory = GuestMemory::create(32 << 20, 0).take();
  const int32_t places[] = {-0x10000, -0x10000 + 0x10 - 4, -0x10000 + 0x20 - 8, -0x10000 + 0x40 - 12};
  CHECK(memory->write(Gpa{kPlaces & 0x7fffffff}, places, sizeof places));
  GuestKernel kernel{"6.1.0-test",
                     0,
                     0,
                     {{kBase, 'T', "_stext"},
                      {kBase + 0x1000, 'T', "_etext"},
                      {kPlaces, 'D', "__start_orc_unwind_ip"},
                      {kPlaces + sizeof places, 'D', "__stop_orc_unwind_ip"},
                      {kTable, 'D', "__start_orc_unwind"}}};
  // A call's frame at RSP + 16 and RBP at 16 below it; struct pt_regs at RSP; through [RBP - 8]; where nothing is
  // known.
  const OrcEntry old_entries[] = {{16, -16, 0x015}, {0, 0, 0x105}, {-8, 0, 0x008}, {0, 0, 0}};
  const OrcEntry new_entries[] = {{16, -16, 0x215}, {0, 0, 0x305}, {-8, 0, 0x208}, {0, 0, 0}};
  for (const auto& [release, entries] : {std::pair("6.1.0-test", old_entries), std::pair("6.4.0", new_entries)}) {
    CHECK(memory->write(Gpa{kTable & 0x7fffffff}, entries, sizeof old_entries));
    kernel.release = release;
    const std::string path = folder / "kernel";
    const Bytes elf = symbol_file(kernel, *memory);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(elf.data()), static_cast<std::streamsize>(elf.size()));
    const std::string frames =
        std::regex_replace(output_of("readelf --debug-dump=frames-interp --wide " + path), std::regex(" +"), " ");
    for (const std::string_view row :
         {"FDE cie=00000000 pc=ffffffff81000000..ffffffff81001000\n",
          "\n LOC CFA rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 ra \n",
          "\nffffffff81000000 rsp+16 u u u u u u c-16 u u u u u u u u u c-8 \n",
          "\nffffffff81000010 rsp+0 c+80 c+96 c+88 c+40 c+104 c+112 c+32 c+152 c+72 c+64 c+56 c+48 c+24 c+16 c+8 c+0 "
          "c+128 \n",
          "\nffffffff81000020 exp u u u u u u s u u u u u u u u u c-8 \n",
          "\nffffffff81000040 rsp+8 u u u u u u s u u u u u u u u u u \n"})
      EXPECT_NE(frames.find(row), std::string::npos) << release << ": no" << row << "in:\n" << frames;
  }
}

TEST(Kallsyms, WithoutNegativeOffsetsAllAreRelative) {
  Kernel k;
  k.tables(names(), {0, 0x10, 0x20, 0x30}, 4);
  k.publish();
  const auto found = GuestKernel::find(*k.memory);
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->symbols[3].address, kBase + 0x30);
}

TEST(Kallsyms, WhatIsMissingIsNamed) {
  Kernel none;
  auto why = [](const Kernel& k) {
    const auto found = GuestKernel::find(*k.memory);
    return found ? std::string() : found.error().message;
  };
  EXPECT_NE(why(none).find("no VMCOREINFO"), std::string::npos);
  Kernel old;
  old.publish();
  EXPECT_NE(why(old).find("kallsyms_names"), std::string::npos) << why(old);
  Kernel many;
  many.tables(names(), {0, 1, 2, 3}, 0x7fffffff);
  many.publish();
  EXPECT_NE(why(many).find("there are 2147483647"), std::string::npos) << why(many);
  Kernel endless;
  endless.tables({{'T'}}, {0}, 1);
  endless.publish();
  EXPECT_NE(why(endless).find("no name"), std::string::npos) << why(endless);
  Kernel elsewhere;
  elsewhere.at = 0xffffffff81000000 + (uint64_t{1} << 20);
  elsewhere.tables(names(), {0, 1, 2, 3}, 4);
  elsewhere.info.replace(elsewhere.info.find("phys_base)=0"), 12, "phys_base)=2147483648");
  elsewhere.publish();
  EXPECT_NE(why(elsewhere).find("not in memory"), std::string::npos) << why(elsewhere);
}

TEST(Kallsyms, AnyTablesEndInAnAnswer) {
  std::mt19937_64 random(1);
  size_t read = 0;
  for (int round = 0; round < 300; ++round) {
    Kernel k;
    k.tables(names(), {0x40, -1, -17, -8193}, 4);
    // A few bytes of the tables, or of where they are, are others.
    for (unsigned n = 1 + random() % 4; n-- > 0;) {
      if (random() % 3 == 0) {
        k.info[random() % k.info.size()] = static_cast<char>(random());
      } else {
        const auto byte = static_cast<uint8_t>(random());
        k.memory->write(Gpa{(kTables & 0x7fffffff) + random() % (k.at - kTables)}, &byte, 1);
      }
    }
    k.publish();
    const auto found = GuestKernel::find(*k.memory);
    read += found ? 1 : 0;
    if (found) symbol_file(*found, *k.memory);
    else EXPECT_TRUE(found.error().message.starts_with("the guest's kernel symbols: ")) << found.error().message;
  }
  EXPECT_GT(read, 50u);
}

}  // namespace
}  // namespace dejavm
