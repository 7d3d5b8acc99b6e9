// The fastest that an exit can be: a vCPU in real mode that writes to a port in a loop, and nothing around KVM_RUN.
// Prints exits per second. Usage: kvm_bare EXITS
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "vmm/kvm/kvm_state.h"
#include "vmm/kvm/kvm_vm.h"

int main(int argc, char** argv) {
  using namespace dejavm;
  const unsigned long exits = argc > 1 ? std::strtoul(argv[1], nullptr, 0) : 200'000;
  auto memory = GuestMemory::create(1 << 20, 0);
  CHECK(memory.ok());
  const uint8_t code[] = {0xe6, 0x80, 0xeb, 0xfc};  // 1: out 0x80, al; jmp 1b
  CHECK((*memory)->write(Gpa{0x1000}, code, sizeof code));
  auto vm = kvm::KvmVm::create(memory->get());
  if (!vm) {
    std::fprintf(stderr, "%s\n", vm.error().message.c_str());
    return 1;
  }
  VcpuState s = reset_vcpu_state();
  s.segment[kCs].selector = 0;
  s.segment[kCs].base = 0;
  s.rip = 0x1000;
  CHECK(kvm::store_state((*vm)->vcpu(), s, nullptr).ok());
  const auto start = std::chrono::steady_clock::now();
  for (unsigned long n = 0; n < exits; ++n)
    CHECK((*vm)->vcpu().call(KVM_RUN) == 0 && (*vm)->vcpu().run().exit_reason == KVM_EXIT_IO);
  std::printf("%.0f\n", static_cast<double>(exits) /
                            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
