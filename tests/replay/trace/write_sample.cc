// Writes the sample trace of the tests to the file named, and its events, as our own reader sees them, to standard
// output.
#include <cstdio>
#include <fstream>

#include "tests/replay/trace/sample_trace.h"

int main(int argc, char** argv) {
  if (argc != 2) return 1;
  const auto bytes = dejavm::sample_trace();
  std::ofstream(argv[1], std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  auto r = dejavm::TraceReader::open(argv[1], dejavm::TraceReader::Check::kAll);
  if (!r.ok()) return 1;
  dejavm::EventCursor cursor(**r, (*r)->keyframes().front());
  for (; const dejavm::Event* e = cursor.peek(); cursor.pop()) std::printf("%s\n", dejavm::describe(*e).c_str());
  return 0;
}
