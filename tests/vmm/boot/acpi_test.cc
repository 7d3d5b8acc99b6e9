// The tables read as an operating system reads them; offsets and values from ACPI 6.5, chapter 5, and from the headers
// of the devices they describe. ACPICA's own tools judge the AML.
#include <algorithm>
#include <map>
#include <set>

#include "devices/vhpet.h"
#include "tests/vmm/boot/loading.h"
#include "vmm/boot/acpi.h"
#include "vmm/boot/layout.h"

namespace dejavm::boot {
namespace {

struct Acpi : Loading {
  explicit Acpi(uint32_t vcpus = 1) : Loading(4 << 20) {
    config.vcpus = vcpus;
    put_acpi_tables({source, config, *memory, vcpu, "name"});
    rsdp = find_rsdp();
    EXPECT_NE(rsdp, 0u);
    const uint64_t rsdt = at<uint32_t>(rsdp + 16), xsdt = at<uint64_t>(rsdp + 24);
    const uint64_t count = (at<uint32_t>(xsdt + 4) - 36) / 8;
    EXPECT_EQ((at<uint32_t>(rsdt + 4) - 36) / 4, count);
    for (uint64_t n = 0; n < count; ++n) {
      const uint64_t table = at<uint64_t>(xsdt + 36 + 8 * n);
      EXPECT_EQ(at<uint32_t>(rsdt + 36 + 4 * n), table);
      tables[signature(table)] = table;
    }
    tables["RSDT"] = rsdt;
    tables["XSDT"] = xsdt;
    tables["DSDT"] = at<uint32_t>(tables["FACP"] + 40);
  }
  std::string signature(uint64_t table) const {
    const std::vector<uint8_t> b = bytes(table, 4);
    return {b.begin(), b.end()};
  }
  std::vector<uint8_t> whole(const std::string& name) const {
    return bytes(tables.at(name), at<uint32_t>(tables.at(name) + 4));
  }
  // 5.2.5.1: on a 16-byte boundary between 0xe0000 and 0xfffff.
  uint64_t find_rsdp() const {
    for (uint64_t gpa = 0xe0000; gpa < 0x100000; gpa += 16)
      if (at<uint64_t>(gpa) == 0x2052545020445352) return gpa;
    return 0;
  }
  uint64_t rsdp = 0;
  std::map<std::string, uint64_t> tables;
};

uint8_t sum(std::span<const uint8_t> bytes) {
  uint8_t s = 0;
  for (uint8_t b : bytes) s = static_cast<uint8_t>(s + b);
  return s;
}

TEST(AcpiTables, EveryChecksumHolds) {
  const Acpi a;
  EXPECT_EQ(sum(a.bytes(a.rsdp, 20)), 0);
  EXPECT_EQ(sum(a.bytes(a.rsdp, 36)), 0);
  EXPECT_EQ(a.at<uint8_t>(a.rsdp + 15), 2);
  EXPECT_EQ(a.at<uint32_t>(a.rsdp + 20), 36u);
  for (const auto& [name, table] : a.tables) {
    EXPECT_EQ(a.signature(table), name);
    EXPECT_EQ(sum(a.whole(name)), 0) << name;
    EXPECT_LE(table + a.at<uint32_t>(table + 4), 0x100000u) << name;
  }
  for (const char* name : {"FACP", "APIC", "HPET", "DSDT"}) EXPECT_TRUE(a.tables.count(name)) << name;
}

TEST(AcpiTables, TablesDoNotOverlap) {
  const Acpi a;
  std::map<uint64_t, uint64_t> ranges{{a.rsdp, 36}, {a.at<uint32_t>(a.tables.at("FACP") + 36), 64}};
  for (const auto& [name, table] : a.tables) ranges[table] = a.at<uint32_t>(table + 4);
  EXPECT_EQ(ranges.size(), a.tables.size() + 2);
  uint64_t end = 0;
  for (const auto& [start, len] : ranges) {
    EXPECT_GE(start, end);
    end = start + len;
  }
}

// A Generic Address Structure (5.2.3.2) in system I/O space.
void expect_port(const Acpi& a, uint64_t gas, unsigned bits, uint64_t port) {
  EXPECT_EQ(a.at<uint8_t>(gas), 1);
  EXPECT_EQ(a.at<uint8_t>(gas + 1), bits);
  EXPECT_EQ(a.at<uint8_t>(gas + 2), 0);
  EXPECT_EQ(a.at<uint64_t>(gas + 4), port);
}

TEST(AcpiTables, TheFadtNamesTheFixedHardware) {
  const Acpi a;
  const uint64_t t = a.tables.at("FACP");
  EXPECT_EQ(a.at<uint32_t>(t + 4), 276u);  // the length of revision 6
  EXPECT_EQ(a.at<uint8_t>(t + 8), 6);
  EXPECT_EQ(a.at<uint16_t>(t + 46), 9);   // SCI_INT
  EXPECT_EQ(a.at<uint32_t>(t + 48), 0u);  // SMI_CMD: always in ACPI mode
  EXPECT_EQ(a.at<uint32_t>(t + 56), 0x600u);
  EXPECT_EQ(a.at<uint32_t>(t + 64), 0x604u);
  EXPECT_EQ(a.at<uint32_t>(t + 76), 0x608u);
  EXPECT_EQ(a.at<uint8_t>(t + 88), 4);
  EXPECT_EQ(a.at<uint8_t>(t + 89), 2);
  EXPECT_EQ(a.at<uint8_t>(t + 91), 4);
  EXPECT_GT(a.at<uint16_t>(t + 96), 100);   // no C2
  EXPECT_GT(a.at<uint16_t>(t + 98), 1000);  // no C3
  EXPECT_EQ(a.at<uint8_t>(t + 108), 0x32);
  EXPECT_EQ(a.at<uint16_t>(t + 109) & 0x23, 3);  // legacy devices, 8042; CMOS RTC not absent
  const uint32_t flags = a.at<uint32_t>(t + 112);
  EXPECT_EQ(flags & 1, 1u);              // WBINVD
  EXPECT_EQ(flags & 1 << 2, 1u << 2);    // PROC_C1
  EXPECT_EQ(flags & 1 << 8, 0u);         // the PM timer has 24 bits
  EXPECT_EQ(flags & 1 << 10, 1u << 10);  // RESET_REG_SUP
  EXPECT_EQ(flags & 1 << 20, 0u);        // not hardware-reduced
  expect_port(a, t + 116, 8, 0xcf9);
  EXPECT_EQ(a.at<uint8_t>(t + 128), 6);
  EXPECT_EQ(a.at<uint64_t>(t + 140), a.at<uint32_t>(t + 40));  // X_DSDT, DSDT
  expect_port(a, t + 148, 32, 0x600);
  expect_port(a, t + 172, 16, 0x604);
  expect_port(a, t + 208, 32, 0x608);
  const uint64_t facs = a.at<uint32_t>(t + 36);
  EXPECT_EQ(a.signature(facs), "FACS");
  EXPECT_EQ(a.at<uint32_t>(facs + 4), 64u);
  EXPECT_EQ(facs % 64, 0u);
}

TEST(AcpiTables, TheMadtNamesEveryProcessorAndTheInterruptWiring) {
  for (const uint32_t vcpus : {1u, 4u, 300u}) {
    const Acpi a(vcpus);
    const std::vector<uint8_t> t = a.whole("APIC");
    EXPECT_EQ(get<uint32_t>(t, 36), 0xfee00000u);
    EXPECT_EQ(get<uint32_t>(t, 40), 1u);
    std::set<uint32_t> ids;
    std::map<unsigned, std::pair<uint32_t, uint16_t>> overrides;
    unsigned io_apics = 0, nmis = 0;
    size_t at = 44;
    for (; at < t.size(); at += t[at + 1]) {
      ASSERT_GE(t[at + 1], 6);
      switch (t[at]) {
        case 0:
          EXPECT_EQ(get<uint32_t>(t, at + 4), 1u);
          EXPECT_TRUE(ids.insert(t[at + 3]).second);
          break;
        case 9:
          EXPECT_EQ(get<uint32_t>(t, at + 8), 1u);
          EXPECT_TRUE(ids.insert(get<uint32_t>(t, at + 4)).second);
          break;
        case 1:
          ++io_apics;
          EXPECT_EQ(get<uint32_t>(t, at + 4), 0xfec00000u);
          EXPECT_EQ(get<uint32_t>(t, at + 8), 0u);
          break;
        case 2: overrides[t[at + 3]] = {get<uint32_t>(t, at + 4), get<uint16_t>(t, at + 8)}; break;
        case 4:
          ++nmis;
          EXPECT_EQ(t[at + 2], 0xff);
          EXPECT_EQ(t[at + 5], 1);
          break;
        default: ADD_FAILURE() << "structure type " << int{t[at]};
      }
    }
    EXPECT_EQ(at, t.size());
    EXPECT_EQ(ids.size(), vcpus);
    EXPECT_EQ(*ids.rbegin(), vcpus - 1);
    EXPECT_EQ(io_apics, 1u);
    EXPECT_EQ(nmis, 1u);
    EXPECT_EQ(overrides, (decltype(overrides){{0, {2, 0}}, {9, {9, 0xd}}}));  // 0xd: active high, level
  }
}

TEST(AcpiTables, TheHpetTableRepeatsWhatTheTimerSaysOfItself) {
  const Acpi a;
  const uint64_t t = a.tables.at("HPET");
  Vhpet::State hpet{};
  Vhpet::reset(hpet);
  EXPECT_EQ(a.at<uint32_t>(t + 36), Vhpet::read(hpet, {0}, 0, 4));
  EXPECT_EQ(a.at<uint8_t>(t + 40), 0);
  EXPECT_EQ(a.at<uint64_t>(t + 44), 0xfed00000u);
  EXPECT_EQ(a.at<uint32_t>(t + 4), 56u);
}

// What a shell command prints; `status` is its exit status.
std::string run(const std::string& command, int& status) {
  std::string out;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  for (int c; pipe && (c = std::fgetc(pipe)) != EOF;) out += static_cast<char>(c);
  status = pipe ? pclose(pipe) : -1;
  return out;
}

// pci.asl states them by itself.
TEST(AcpiTables, ThePciTablesNameTheBoardsAddresses) {
  using namespace address_map;
  const Acpi a;
  EXPECT_EQ(a.at<uint64_t>(a.tables.at("MCFG") + 44), kPciConfig);
  const std::vector<uint8_t> ssdt = a.whole("SSDT");
  const auto has = [&](uint64_t value, size_t bytes) {
    const auto* const first = reinterpret_cast<const uint8_t*>(&value);
    return std::search(ssdt.begin(), ssdt.end(), first, first + bytes) != ssdt.end();
  };
  EXPECT_TRUE(has(kPciConfig, 4) && has(kPciConfigBytes, 4));
  EXPECT_TRUE(has(kPciMemory, 4) && has(kPciMemory + kPciMemoryBytes - 1, 4));
  EXPECT_TRUE(has(kPciMemory64, 8) && has(kPciMemory64 + kPciMemory64Bytes - 1, 8));
}

TEST(AcpiTables, AcpicaDisassemblesAndRecompilesTheDsdt) {
  int status = 0;
  run("command -v iasl", status);
  if (status) GTEST_SKIP() << "package acpica-tools is not installed";
  for (const uint32_t vcpus : {1u, 70u, 300u}) {  // one, two and three bytes of PkgLength
    const Acpi a(vcpus);
    char dir[] = "/tmp/dejavm-acpi-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    for (const char* name : {"DSDT", "FACP", "APIC", "HPET"}) {
      const std::vector<uint8_t> bytes = a.whole(name);
      std::ofstream(std::string(dir) + "/" + name + ".dat", std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    const std::string cd = std::string("cd ") + dir + " && ";
    for (const char* name : {"DSDT", "FACP", "APIC", "HPET"}) {
      const std::string said = run(cd + "iasl -d " + name + ".dat", status);
      EXPECT_EQ(status, 0) << said;
      EXPECT_EQ(said.find("Error"), std::string::npos) << said;
      EXPECT_EQ(said.find("Warning"), std::string::npos) << said;
    }
    const std::vector<uint8_t> listing = slurp(std::string(dir) + "/DSDT.dsl");
    const std::string text(listing.begin(), listing.end());
    for (const char* part : {"Name (_S5", "\"ACPI0007\"", "EisaId (\"PNP0501\")", "EisaId (\"PNP0B00\")",
                             "EisaId (\"PNP0303\")", "0x03F8,             // Range Minimum", "{4}"})
      EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text.substr(0, 3000);
    const std::string said = run(cd + "iasl DSDT.dsl", status);
    EXPECT_EQ(status, 0) << said;
    EXPECT_NE(said.find("Compilation successful. 0 Errors"), std::string::npos) << said;
    std::filesystem::remove_all(dir);
  }
}

}  // namespace
}  // namespace dejavm::boot
