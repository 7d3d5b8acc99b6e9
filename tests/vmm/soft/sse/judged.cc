#include "tests/vmm/soft/sse/judged.h"

#include <cinttypes>
#include <csignal>
#include <cstdarg>
#include <cstdio>

namespace dejavm::soft {
namespace {

std::string format(const char* f, ...) {
  char line[200];
  va_list args;
  va_start(args, f);
  std::vsnprintf(line, sizeof line, f, args);
  va_end(args);
  return line;
}

std::string vector(const Bits128& v) { return format("%016" PRIx64 "_%016" PRIx64, v[1], v[0]); }

// FXSAVE numbers x87 registers from the top of the stack, VcpuState does not.
unsigned slot(const FxImage& fx, unsigned physical) { return (physical - (fx.fsw >> 11)) & 7; }

std::string registers(const NativeState& s) {
  std::string out;
  for (unsigned i = 0; i < 3; ++i) out += format("  xmm%u %s\n", i, vector(s.fx.xmm[i]).c_str());
  for (unsigned i = 1; i < 3; ++i) out += format("  mm%u  %016" PRIx64 "\n", i, s.fx.st[slot(s.fx, i)].mantissa);
  out += format("  rax %" PRIx64 " rcx %" PRIx64 " rdx %" PRIx64 " flags %03x mxcsr %04x\n", s.rax, s.rcx, s.rdx,
                static_cast<unsigned>(s.rflags & kArithFlags), s.fx.mxcsr);
  for (unsigned i = 0; i < kWindowBytes; i += 16) {
    Bits128 v;
    std::memcpy(v.data(), &s.memory[i], 16);
    out += format("  mem+%02x %s\n", i, vector(v).c_str());
  }
  return out;
}

}  // namespace

void Judged::put_guest(const NativeState& s) {
  FpuState& f = t.c.s.fpu;
  f.fcw = s.fx.fcw;
  f.fsw = s.fx.fsw;
  f.ftw = s.fx.ftw;
  f.mxcsr = s.fx.mxcsr;
  for (unsigned i = 0; i < 16; ++i) f.xmm[i].q = s.fx.xmm[i];
  for (unsigned i = 0; i < 8; ++i) {
    f.st_mantissa[i] = s.fx.st[slot(s.fx, i)].mantissa;
    f.st_exponent[i] = s.fx.st[slot(s.fx, i)].exponent;
  }
  t.c.r[kRax] = s.rax;
  t.c.r[kRcx] = s.rcx;
  t.c.r[kRdx] = s.rdx;
  t.c.set_rflags(s.rflags);
  t.c.rip = TestCpu::kCode;
  CHECK(t.memory->write(Gpa{kGuestWindow}, s.memory.data(), kWindowBytes));
}

void Judged::get_guest() {
  const FpuState& f = t.c.s.fpu;
  guest = before;
  guest.fx.fsw = f.fsw;
  guest.fx.ftw = f.ftw;
  guest.fx.mxcsr = f.mxcsr;
  for (unsigned i = 0; i < 16; ++i) guest.fx.xmm[i] = f.xmm[i].q;
  for (unsigned i = 0; i < 8; ++i) {
    guest.fx.st[slot(guest.fx, i)].mantissa = f.st_mantissa[i];
    guest.fx.st[slot(guest.fx, i)].exponent = f.st_exponent[i];
  }
  guest.rax = t.c.r[kRax];
  guest.rcx = t.c.r[kRcx];
  guest.rdx = t.c.r[kRdx];
  guest.rflags = t.c.rflags();
  CHECK(t.memory->read(Gpa{kGuestWindow}, guest.memory.data(), kWindowBytes));
}

void Judged::run(const Form& f, const NativeState& state, uint8_t imm, unsigned from_end, bool may_fault) {
  before = state;
  bytes = f.bytes;
  if (f.imm8) bytes.push_back(imm);
  const unsigned offset = kWindowBytes - from_end - (f.implicit_rdi ? f.mmx ? 8 : 16 : f.memory_bytes);

  host = state;
  host.rsi = host.rdi = native.memory_address() + offset;
  signal = native.run(bytes, host, may_fault);

  put_guest(state);
  t.c.r[kRsi] = t.c.r[kRdi] = kGuestWindow + offset;
  CHECK(decode({bytes.data(), bytes.size()}, CodeMode::k64, t.d) == DecodeStatus::kOk);
  EXPECT_EQ(op_name(t.d.op), op_name(f.op));
  EXPECT_EQ(t.d.len, bytes.size());
  t.c.next_rip = t.c.rip + t.d.len;
  fault.reset();
  try {
    f.exec(t.c, t.d);
  } catch (const GuestFault& g) {
    fault = g;
  }
  get_guest();
  if (signal) {  // the host's general registers and memory are as they were
    const FxImage fx = host.fx;
    host = before;
    host.fx = fx;
  }
}

std::string Judged::difference() const {
  std::string out;
  int ours = 0;
  if (fault) ours = fault->vector == kXM ? SIGFPE : fault->vector == kGP && fault->error == 0 ? SIGSEGV : -1;
  if (ours != signal)
    out += format("host signal %d, ours %s %u\n", signal, fault ? "faulted with" : "completed",
                  fault ? fault->vector : 0u);
  auto compare = [&](const char* what, unsigned i, uint64_t h, uint64_t g) {
    if (h != g) out += format("%s%u: host %016" PRIx64 ", ours %016" PRIx64 "\n", what, i, h, g);
  };
  for (unsigned i = 0; i < 16; ++i)
    if (host.fx.xmm[i] != guest.fx.xmm[i])
      out += format("xmm%u: host %s, ours %s\n", i, vector(host.fx.xmm[i]).c_str(), vector(guest.fx.xmm[i]).c_str());
  for (unsigned i = 0; i < 8; ++i) {
    const auto &h = host.fx.st[slot(host.fx, i)], &g = guest.fx.st[slot(guest.fx, i)];
    compare("mm", i, h.mantissa, g.mantissa);
    compare("exponent of mm", i, h.exponent, g.exponent);
  }
  compare("fsw", 0, host.fx.fsw, guest.fx.fsw);
  compare("ftw", 0, host.fx.ftw, guest.fx.ftw);
  compare("mxcsr", 0, host.fx.mxcsr, guest.fx.mxcsr);
  compare("rax", 0, host.rax, guest.rax);
  compare("rcx", 0, host.rcx, guest.rcx);
  compare("rdx", 0, host.rdx, guest.rdx);
  compare("arithmetic flags", 0, host.rflags & kArithFlags, guest.rflags & kArithFlags);
  for (unsigned i = 0; i < kWindowBytes; ++i) compare("memory byte ", i, host.memory[i], guest.memory[i]);
  return out;
}

std::string Judged::describe() const {
  std::string out = "bytes";
  for (uint8_t b : bytes) out += format(" %02x", b);
  return out + "\nbefore:\n" + registers(before) + "host:\n" + registers(host) + "ours:\n" + registers(guest);
}

}  // namespace dejavm::soft
