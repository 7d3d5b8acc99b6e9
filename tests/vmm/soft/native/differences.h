// Where real processors do otherwise than the engine, or than each other: one row for each kind, with the processors
// and the source. Tests that execute instructions on the host's own processor ask here about each difference that they
// find; kinds that are known are counted and printed, and only one of no known kind is a failure.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "tests/vmm/soft/native/host_cpu.h"
#include "vmm/soft/decode.h"

namespace dejavm::soft {

struct Processor {
  bool amd = false, intel = false;  // Hygon's count as AMD's
  unsigned family = 0, model = 0;   // as CPUID leaf 1 displays them: extended fields included
  std::string name() const;
};
const Processor& host_processor();

// One instruction, what came before it, and what came of it: `signal` on the host, or 0; `vector` in the engine, or -1.
struct Answers {
  const Decoded& insn;
  const UserState& before;
  const UserState& host;
  int signal;
  const UserState& ours;
  int vector;
};

struct KnownDifference {
  const char* instructions;
  const char* what;
  const char* processors;  // on which it has been seen, or which their manuals describe so
  const char* source;
  bool (*on)(const Processor&);
  bool (*is)(const Answers&);
};
// Which of several NaNs comes out, which the tests of SSE operations recognise by themselves.
const KnownDifference& choice_of_nan();

// Collects the differences of one run of a test.
class Differences {
 public:
  // `text`: what differs, line by line. `seed` and `number` find the case again.
  void add(const Answers& answers, const std::string& name, uint64_t number, const std::string& text);
  void add_known(const KnownDifference& kind) { ++known_[&kind]; }
  void add_unknown(const std::string& name, const std::string& text);
  // Prints the known kinds; fails the test for each other. On a processor of a family that nobody has tried yet, what
  // is not known is shown and the test is skipped, unless DEJAVM_ANY_HOST is set (tools/check --full sets it).
  void finish(uint64_t seed) const;

 private:
  std::map<const KnownDifference*, uint64_t> known_;
  std::map<std::string, uint64_t> unknown_;
  std::string report_;
};

}  // namespace dejavm::soft
