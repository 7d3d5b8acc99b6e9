// The only place with KVM ioctls: /dev/kvm, a virtual machine with its vCPUs, and the memory below them. Every call
// that the kernel refuses is an Error that names the call, the reason and the remedy.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "devices/core/result.h"
#include "vmm/state/memory.h"

namespace dejavm::kvm {

// A file descriptor of KVM's. Calls are named for errors.
class KvmFd {
 public:
  KvmFd() = default;
  explicit KvmFd(int fd) : fd_(fd) {}
  KvmFd(KvmFd&& o) noexcept : fd_(o.fd_) { o.fd_ = -1; }
  KvmFd& operator=(KvmFd&& o) noexcept;
  ~KvmFd();
  bool ok() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  // The ioctl's result, or -1 with errno; EINTR is tried again.
  long call(unsigned long request, unsigned long argument = 0) const;
  long call(unsigned long request, const void* argument) const {
    return call(request, reinterpret_cast<unsigned long>(argument));
  }

 private:
  int fd_ = -1;
};

// Opens /dev/kvm and checks its version. The error tells an absent KVM from a missing permission, and the remedy.
Result<KvmFd> open_kvm();

// One vCPU, and the page that KVM shares with us for it.
class KvmVcpu {
 public:
  KvmVcpu(KvmFd fd, kvm_run* run, size_t run_bytes) : fd_(std::move(fd)), run_(run), run_bytes_(run_bytes) {}
  KvmVcpu(const KvmVcpu&) = delete;
  ~KvmVcpu();
  template <typename Argument = unsigned long>
  long call(unsigned long request, Argument argument = {}) const {
    return fd_.call(request, argument);
  }
  kvm_run& run() const { return *run_; }

 private:
  KvmFd fd_;
  kvm_run* run_;
  size_t run_bytes_;
};

// A virtual machine with its vCPUs and guest memory in its slots. No interrupt controller or timer of the kernel's.
class KvmVm {
 public:
  static Result<std::unique_ptr<KvmVm>> create(GuestMemory* memory, uint32_t vcpus = 1);
  const KvmFd& system() const { return system_; }
  const KvmFd& vm() const { return vm_; }
  uint32_t vcpus() const { return static_cast<uint32_t>(vcpus_.size()); }
  KvmVcpu& vcpu(uint32_t n = 0) const { return *vcpus_[n]; }
  // Which MSRs the guest uses without an exit: EFER and what SYSCALL, segment bases and RDTSCP need; all others come as
  // KVM_EXIT_X86_RDMSR and _WRMSR.
  Result<void> filter_msrs() const;
  // Marks the pages that the guest has written since the last call as dirty in GuestMemory's flags.
  void collect_dirty();

 private:
  KvmVm() = default;
  Result<void> add_memory(GuestMemory& memory);
  Result<void> add_vcpu(uint32_t number);
  KvmFd system_, vm_;
  std::vector<std::unique_ptr<KvmVcpu>> vcpus_;
  GuestMemory* memory_ = nullptr;
  std::vector<uint64_t> bitmap_;
};

// Calls whose argument ends in an array: Linux's header, read as C++, has another size for it, and so another number.
inline constexpr unsigned long kGetSupportedCpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8);
inline constexpr unsigned long kSetCpuid2 = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);
inline constexpr unsigned long kGetMsrs = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x88, 8);
inline constexpr unsigned long kSetMsrs = _IOC(_IOC_WRITE, KVMIO, 0x89, 8);
inline constexpr unsigned long kGetXsave = _IOC(_IOC_READ, KVMIO, 0xa4, 4096);
inline constexpr unsigned long kSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xa5, 4096);

std::string errno_text();  // of errno, for messages

}  // namespace dejavm::kvm
