// Writes the sample trace of the tests to the file named, and its events, as our own reader sees them, to standard
// output: a line each, "NAME VCPU POSITION OPERAND=NUMBER ...".
#include <cstdio>
#include <fstream>
#include <string>

#include "tests/replay/trace/sample_trace.h"

namespace {

void print(const dejavm::Event& e) {
  std::printf("%s %u %llu", std::string(dejavm::name_of(e.kind)).c_str(), e.at.vcpu,
              static_cast<unsigned long long>(e.at.retired.value));
  for (const dejavm::EventOperand& operand : dejavm::descriptor_of(e.kind)) {
    std::printf(" %s=", std::string(operand.name).c_str());
    if (operand.field != dejavm::EventField::kData)
      std::printf("%llu", static_cast<unsigned long long>(operand_value(e, operand)));
    else
      for (const uint8_t byte : e.data) std::printf("%02x", byte);
  }
  std::printf("\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 1;
  const auto bytes = dejavm::sample_trace();
  std::ofstream(argv[1], std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  auto r = dejavm::TraceReader::open(argv[1], dejavm::TraceReader::Check::kAll);
  if (!r.ok()) return 1;
  dejavm::EventCursor cursor(**r, (*r)->keyframes().front());
  for (; const dejavm::Event* e = cursor.peek(); cursor.pop()) print(*e);
  return 0;
}
