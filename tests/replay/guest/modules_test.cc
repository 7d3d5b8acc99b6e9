// The symbols of a guest's modules, from a list that is made by hand, and hostile ones. Real ones:
// tests/tools/debian_races_test.py.
#include "replay/guest/modules.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/replay/guest/fake_kernel.h"

namespace dejavm {
namespace {

constexpr uint64_t kHead = 0x300000, kFirst = 0x301000, kSecond = 0x302000;
constexpr uint32_t kList = 8, kModuleName = 24, kTables = 96, kSymtab = 0, kCount = 8, kStrings = 16;

std::vector<uint8_t> types() {
  Blob blob;
  blob.all_kinds();
  blob.type("module", 4, 4,
            {blob.name("state"), 1, 0, blob.name("list"), 1, kList * 8, blob.name("name"), 1, kModuleName * 8,
             blob.name("kallsyms"), 1, kTables * 8});
  blob.type("mod_kallsyms", 4, 3,
            {blob.name("symtab"), 1, kSymtab * 8, blob.name("num_symtab"), 1, kCount * 8, blob.name("strtab"), 1,
             kStrings * 8});
  return blob.bytes();
}

struct ModuleGuest : Guest {
  ModuleGuest() : Guest(types()) {
    kernel.symbols.push_back({kImage + kHead, 'd', "modules"});
    put(kHead, kImage + kFirst + kList);
    module(kFirst, kSecond + kList, "races");
    module(kSecond, kHead, "virtio");
  }
  void module(uint64_t at, uint64_t next, const char* name) {
    put(at + kList, kImage + next);
    CHECK(memory->write(Gpa{at + kModuleName}, name, std::strlen(name) + 1));
    put(at + kTables, kImage + at + 0x100);
    put(at + 0x100 + kSymtab, kImage + at + 0x200);
    put(at + 0x100 + kCount, uint32_t{4});
    put(at + 0x100 + kStrings, kImage + at + 0x400);
    const char names[] = "\0add_one\0counter\0elsewhere";
    CHECK(memory->write(Gpa{at + 0x400}, names, sizeof names));
    const Elf64_Sym symbols[] = {{},
                                 {1, ELF64_ST_INFO(STB_LOCAL, STT_FUNC), 0, 1, at + 0xf00, 16},
                                 {9, ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT), 0, 2, at + 0xf80, 4},
                                 {17, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, SHN_UNDEF, 0, 0}};
    CHECK(memory->write(Gpa{at + 0x200}, symbols, sizeof symbols));
  }
  std::vector<std::string> found() const {
    std::vector<std::string> out;
    for (const ModuleSymbol& symbol : module_symbols(*memory, vcpu, kernel)) out.push_back(symbol.name);
    return out;
  }
};

TEST(Modules, TellTheirSymbols) {
  ModuleGuest guest;
  EXPECT_THAT(guest.found(),
              testing::ElementsAre("add_one [races]", "counter [races]", "add_one [virtio]", "counter [virtio]"));
  EXPECT_EQ(module_symbols(*guest.memory, guest.vcpu, guest.kernel)[1].address, kFirst + 0xf80);
}

TEST(Modules, OfAListThatEndsNowhereAreReadOnceEach) {
  ModuleGuest guest;
  guest.put(kSecond + kList, uint64_t{0x10});
  EXPECT_EQ(guest.found().size(), 4u) << "not in memory";
  guest.put(kFirst + kList, kImage + kFirst + kList);
  EXPECT_EQ(guest.found().size(), 2000u) << "round and round, to its bound";
  guest.put(kHead, kImage + kHead);
  EXPECT_TRUE(guest.found().empty());
}

TEST(Modules, OfHugeTablesAreBounded) {
  ModuleGuest guest;
  guest.put(kFirst + 0x100 + kCount, ~uint32_t{0});
  EXPECT_LE(guest.found().size(), 200'000u);
  guest.put(kFirst + 0x100 + kSymtab, ~uint64_t{0} - 8);
  EXPECT_EQ(guest.found().size(), 2u) << "the other module's";
}

TEST(Modules, NeedTheKernelsTypesAndList) {
  ModuleGuest guest;
  guest.kernel.symbols.back().name = "other";
  EXPECT_TRUE(guest.found().empty());
  Blob blob;
  blob.task(true);
  Guest other(blob.bytes());
  other.kernel.symbols.push_back({kImage + kHead, 'd', "modules"});
  EXPECT_TRUE(module_symbols(*other.memory, other.vcpu, other.kernel).empty());
}

TEST(Modules, HostileListsEndInAnAnswer) {
  std::mt19937_64 random(1);
  for (unsigned n = 0; n < 200; ++n) {
    ModuleGuest guest;
    for (unsigned k = 0; k < 1 + n % 4; ++k) guest.put(kHead + random() % 0x2500, static_cast<uint8_t>(random()));
    (void)guest.found();
  }
}

}  // namespace
}  // namespace dejavm
