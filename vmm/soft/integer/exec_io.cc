// IN, OUT, INS and OUTS. Source: Intel SDM vol. 2.
#include "vmm/soft/integer/flags.h"
#include "vmm/soft/integer/iterate.h"
#include "vmm/soft/mmu.h"

namespace dejavm::soft {
namespace {

// I/O permission: SDM vol. 1, 19.5.2.
void check_io(Cpu& c, unsigned port, unsigned size) {
  if (!c.protected_mode() || (c.cpl <= c.iopl() && !c.v86())) return;
  const SegmentState& tr = c.s.segment[kTr];
  const unsigned type = tr.attributes & 15;
  if ((type != 9 && type != 11) || tr.limit < 103) Cpu::fault(kGP, 0);
  const uint64_t at = uint64_t{c.load_system<uint16_t>(tr.base + 0x66)} + port / 8;
  if (at + 1 > tr.limit) Cpu::fault(kGP, 0);
  const unsigned bits = c.load_system<uint16_t>(tr.base + at);
  if ((bits >> (port & 7)) & ((1u << size) - 1)) Cpu::fault(kGP, 0);
}

Port port_of(uint64_t v) { return Port{static_cast<uint16_t>(v)}; }

}  // namespace

void exec_ins(Cpu& c, const Decoded& d) {
  iterate(c, d, [&] {
    const Port port = port_of(c.r[kRdx]);
    check_io(c, port.value, d.op_size);
    // The port is read only when the store cannot fault.
    const uint64_t at = c.linear(kEs, c.reg(kRdi, d.addr_size), d.op_size, Access::kWrite);
    c.probe_write(at, d.op_size);
    const uint64_t v = c.exits->io_read(c.position(), port, d.op_size);
    c.write_linear(at, &v, d.op_size);
    step(c, d, kRdi);
    return true;
  });
}

void exec_outs(Cpu& c, const Decoded& d) {
  iterate(c, d, [&] {
    const Port port = port_of(c.r[kRdx]);
    check_io(c, port.value, d.op_size);
    const uint64_t v = c.load_sized(d.seg, c.reg(kRsi, d.addr_size), d.op_size);
    c.exits->io_write(c.position(), port, d.op_size, v);
    step(c, d, kRsi);
    return true;
  });
}

void exec_in(Cpu& c, const Decoded& d) {
  const Port port = port_of(c.read_operand(d, 1));
  const unsigned size = d.operands[0].size;
  check_io(c, port.value, size);
  c.set_reg(kRax, size, c.exits->io_read(c.position(), port, size) & mask_of(size));
}

void exec_out(Cpu& c, const Decoded& d) {
  const Port port = port_of(c.read_operand(d, 0));
  const unsigned size = d.operands[1].size;
  check_io(c, port.value, size);
  c.exits->io_write(c.position(), port, size, c.reg(kRax, size));
}

}  // namespace dejavm::soft
