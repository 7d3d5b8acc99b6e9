#include "tools/dejavm/host_tool.h"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tools/dejavm/report.h"
#include "vmm/kvm/kvm_probe.h"

namespace dejavm::cli {
namespace {

// Whether the kernel lets us count instructions. Empty: it does.
std::string pmu_problem() {
  perf_event_attr a{};
  a.size = sizeof a;
  a.type = PERF_TYPE_HARDWARE;
  a.config = PERF_COUNT_HW_INSTRUCTIONS;
  a.exclude_kernel = 1;
  const long fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
  if (fd < 0) return std::strerror(errno);
  close(static_cast<int>(fd));
  return {};
}

struct Line {
  const char* key;
  bool there;
  std::string text;
};

std::vector<Line> lines(const kvm::KvmProbe& p) {
  return {
      {"port_io", p.port_io, "port I/O exits"},
      {"mmio", p.mmio, "memory-mapped I/O exits"},
      {"msr_exits", p.msr_exits, "MSR exits"},
      {"interrupt_window", p.interrupt_window, "interrupts injected when the guest can take them"},
      {"immediate_exit", p.immediate_exit, "pending I/O completed before a snapshot"},
      {"tsc_offset", p.tsc_offset, "the guest's TSC can be set: without it a restored guest sees its TSC jump"},
      {"xsetbv", p.xsetbv, "XCR0 follows XSETBV: without it guests are not shown XSAVE"},
      {"single_step", p.single_step, "single-stepping: --engine kvm-step"},
      {"rep_single_step", p.rep_single_step,
       "... of a REP's iterations: without it kvm-step leaves them to the deterministic engine"},
      {"fast_kernels", p.kernel_minstr_per_s > 150,
       fmt::format("kernels run on the processor: {:.0f} million instructions/s in ring 0", p.kernel_minstr_per_s)}};
}

}  // namespace

void add_host_tool(CLI::App& app, HostOptions& o) {
  app.add_flag("--json", o.json, "as one JSON object");
  app.footer(
      "KVM's abilities are tried with a tiny guest, not read from a list. Exit status: 0 all of dejavm works here; 4 "
      "--engine kvm does not,\n"
      "or not as it should.");
}

int run_host(const HostOptions& o) {
  const auto probe = kvm::probe_kvm();
  const std::string pmu = pmu_problem();
  const bool whole = probe && probe->whole();
  if (o.json) {
    nlohmann::ordered_json j;
    j["kvm"] = probe.ok();
    if (!probe) j["kvm_problem"] = probe.error().message;
    if (probe) {
      for (const Line& l : lines(*probe)) j[l.key] = l.there;
      j["kernel_minstr_per_s"] = probe->kernel_minstr_per_s;
      j["features_not_shown"] = probe->missing;
    }
    j["whole"] = whole;
    j["pmu"] = pmu.empty();
    fmt::print("{}\n", j.dump());
    return whole ? kDone : kAbnormal;
  }
  fmt::print("deterministic engine   works on every x86-64 machine: run, record, replay, snapshots\n");
  if (!probe) {
    fmt::print("KVM                    no: {}\n", probe.error().message);
  } else {
    fmt::print("KVM                    {}\n", whole ? "whole: --engine kvm works at the speed of the processor"
                                                    : "partial: --engine kvm works, with what is missing below");
    for (const Line& l : lines(*probe)) fmt::print("  {:<4} {}\n", l.there ? "yes" : "NO", l.text);
    std::string missing;
    for (const std::string& m : probe->missing) missing += (missing.empty() ? "" : ", ") + m;
    fmt::print("  CPU model: {}\n", missing.empty() ? "all features" : "guests are not shown " + missing);
  }
  fmt::print("PMU                    {}\n", pmu.empty() ? "yes" : "no: " + pmu + "; nothing of dejavm needs it");
  if (!whole)
    fmt::print("\ntools/kvm-lab COMMAND runs a command where KVM is whole, on any machine: it is emulated.\n");
  return whole ? kDone : kAbnormal;
}

}  // namespace dejavm::cli
