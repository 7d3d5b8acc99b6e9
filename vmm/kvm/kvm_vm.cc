#include "vmm/kvm/kvm_vm.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace dejavm::kvm {
namespace {

Error host_error(std::string message) { return {ErrorKind::kHost, std::move(message)}; }
Error refused(std::string_view what) {
  return host_error(fmt::format("/dev/kvm refuses {}: {}; 'dejavm host' tells what it can do", what, errno_text()));
}

// Below the firmware window, among the board's addresses: three pages that KVM wants on Intel processors.
constexpr uint64_t kTssAddress = 0xfeffd000;

}  // namespace

std::string errno_text() { return std::strerror(errno); }

KvmFd& KvmFd::operator=(KvmFd&& o) noexcept {
  std::swap(fd_, o.fd_);
  return *this;
}

KvmFd::~KvmFd() {
  if (fd_ >= 0) close(fd_);
}

long KvmFd::call(unsigned long request, unsigned long argument) const {
  for (;;) {
    const int result = ioctl(fd_, request, argument);
    if (result >= 0 || errno != EINTR || request == KVM_RUN) return result;
  }
}

Result<KvmFd> open_kvm() {
  KvmFd kvm(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (!kvm.ok()) {
    if (errno == EACCES || errno == EPERM)
      return host_error(
          "/dev/kvm may not be opened: permission denied; add the user to the group that owns it (often: kvm), or run "
          "as root");
    return host_error(fmt::format(
        "/dev/kvm cannot be opened: {}; the processor's virtualization must be on in the firmware and kvm-intel or "
        "kvm-amd loaded, or use --engine deterministic",
        errno_text()));
  }
  if (const long version = kvm.call(KVM_GET_API_VERSION); version != KVM_API_VERSION)
    return host_error(fmt::format("/dev/kvm has version {} of its interface; {} is needed", version, KVM_API_VERSION));
  return kvm;
}

KvmVcpu::~KvmVcpu() { munmap(run_, run_bytes_); }

Result<std::unique_ptr<KvmVm>> KvmVm::create(GuestMemory* memory, uint32_t vcpus) {
  auto opened = open_kvm();
  if (!opened) return opened.error();
  std::unique_ptr<KvmVm> m(new KvmVm);
  m->system_ = opened.take();
  m->vm_ = KvmFd(static_cast<int>(m->system_.call(KVM_CREATE_VM)));
  if (!m->vm_.ok()) return refused("a virtual machine");
  m->vm_.call(KVM_SET_TSS_ADDR, kTssAddress);  // of no effect where it is not needed
  if (memory != nullptr)
    if (auto done = m->add_memory(*memory); !done) return done.error();
  for (uint32_t n = 0; n < vcpus; ++n)
    if (auto done = m->add_vcpu(n); !done) return done.error();
  return m;
}

Result<void> KvmVm::add_vcpu(uint32_t number) {
  KvmFd fd(static_cast<int>(vm_.call(KVM_CREATE_VCPU, static_cast<unsigned long>(number))));
  if (!fd.ok()) return refused(fmt::format("virtual processor {}", number));
  const auto run_bytes = static_cast<size_t>(system_.call(KVM_GET_VCPU_MMAP_SIZE));
  void* run = mmap(nullptr, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.fd(), 0);
  if (run == MAP_FAILED) return refused("the virtual processor's shared page");
  vcpus_.push_back(std::make_unique<KvmVcpu>(std::move(fd), static_cast<kvm_run*>(run), run_bytes));
  return {};
}

Result<void> KvmVm::add_memory(GuestMemory& memory) {
  memory_ = &memory;
  uint32_t slot = 0;
  for (const MemoryRegion& r : memory.regions()) {
    if (r.hidden) continue;
    const uint32_t flags = r.rom ? KVM_MEM_READONLY : KVM_MEM_LOG_DIRTY_PAGES;
    const kvm_userspace_memory_region region{slot++, flags, r.start.value, r.len_bytes,
                                             reinterpret_cast<uint64_t>(r.host)};
    if (vm_.call(KVM_SET_USER_MEMORY_REGION, &region) < 0) return refused("a region of memory");
  }
  return {};
}

Result<void> KvmVm::filter_msrs() const {
  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_X86_USER_SPACE_MSR;
  cap.args[0] = KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER;
  if (vm_.call(KVM_ENABLE_CAP, &cap) < 0) return refused("MSR exits (KVM_CAP_X86_USER_SPACE_MSR, Linux 5.10)");
  // EFER, STAR, LSTAR, CSTAR, SFMASK; FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX.
  uint8_t high[0x108 / 8] = {};
  for (unsigned index : {0x80, 0x81, 0x82, 0x83, 0x84, 0x100, 0x101, 0x102, 0x103})
    high[index / 8] |= static_cast<uint8_t>(1 << index % 8);
  kvm_msr_filter filter{};
  filter.flags = KVM_MSR_FILTER_DEFAULT_DENY;
  filter.ranges[0] = {KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, 0x108, 0xc0000000, high};
  if (vm_.call(KVM_X86_SET_MSR_FILTER, &filter) < 0)
    return refused("an MSR filter (KVM_CAP_X86_MSR_FILTER, Linux 5.10)");
  return {};
}

void KvmVm::collect_dirty() {
  uint32_t slot = 0;
  for (const MemoryRegion& r : memory_->regions()) {
    if (r.hidden) continue;
    const uint32_t this_slot = slot++;
    if (r.rom) continue;
    const uint64_t pages = r.len_bytes / kPageSize;
    bitmap_.assign((pages + 63) / 64, 0);
    kvm_dirty_log log{};
    log.slot = this_slot;
    log.dirty_bitmap = bitmap_.data();
    CHECK(vm_.call(KVM_GET_DIRTY_LOG, &log) >= 0);
    for (uint64_t word = 0; word < bitmap_.size(); ++word)
      for (uint64_t bits = bitmap_[word]; bits != 0; bits &= bits - 1)
        r.flags[word * 64 + static_cast<uint64_t>(__builtin_ctzll(bits))] |= kPageDirty;
  }
}

}  // namespace dejavm::kvm
