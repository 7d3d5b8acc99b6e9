// What the command line asks for.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "tools/dejavm/distinct_files.h"
#include "vmm/machine/image_file.h"
#include "vmm/machine/machine.h"
#include "vmm/state/config.h"

namespace dejavm::cli {

// Exit statuses; docs/manual.md explains them.
enum Status : int { kDone = 0, kUsage = 1, kBadFile = 2, kDiverged = 3, kAbnormal = 4 };

struct SnapshotRequest {
  uint64_t at = 0;  // instruction
  std::string path;
};

// --disk
struct DiskOption {
  std::string path, serial;
  uint32_t block_bytes = 512;
  bool read_only = false;
  bool commit = false;  // at the end of the run
  DiskController controller = DiskController::kNvme;
  ImageFormat format = ImageFormat::kAuto;
};

struct Options {
  std::vector<DiskOption> disks;
  bool boots_from_disk = false;  // an image was given by itself: firmware starts from it, if there is no kernel
  std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();  // the command
  MachineConfig config;
  EngineChoice engine;  // without a name: deterministic, or a snapshot's own
  bool step = false;    // kvm-step
  BootSource boot;
  std::string schedule_file;
  bool reschedule = false;  // restore: with the schedule of `config`
  bool has_slice = false;   // ... and its slice
  std::string console = "stdio";
  std::string trace;              // record's output, replay's input
  uint64_t max_instructions = 0;  // 0: no limit
  uint64_t max_time_ns = 0;       // of virtual time; 0: no limit
  std::vector<SnapshotRequest> snapshots;
  std::string control;             // a socket's path
  std::string gdb;                 // where to wait for gdb
  bool paused = false;             // wait for resume before the first instruction
  bool delta = false;              // snapshots after the first as changes
  bool external_base = false;      // the images of disks stay outside of snapshots
  std::vector<BoundImage> images;  // restore's --bind diskN=
  std::string snapshot;            // restore's input
  bool verify = false;             // restore: all of memory before the first instruction
  std::vector<uint64_t> keyframes_at;
  uint64_t keyframe_interval = 100'000'000;
  std::string from;           // replay: an instruction, or kN for a keyframe
  uint64_t until = 0;         // replay; 0: the end
  bool devices_only = false;  // replay
  unsigned jobs = 0;          // replay; 0: as many as this host has use for
  bool digest = false;        // run and restore: of the machine at the end
  bool force = false;
  bool json = false;
  bool sandbox = true;
};

// Of an option that takes a size: "256M" (K, M, G and T for powers of 1024) becomes bytes.
CLI::Validator size_in_bytes();
// Of an option that takes a number of instructions: "5M" (k, M and G for powers of 1000) becomes 5000000.
CLI::Validator instruction_count();
// "90", "1.5", "10m", "2h": seconds, minutes, hours to ns, more than 0; throws CLI::ValidationError.
uint64_t parse_duration(const std::string&);
// "2026-11-25T12:00:00Z" (RFC 3339, Z or +hh:mm) to seconds since 1970; throws CLI::ValidationError.
int64_t parse_time(const std::string&);

// The files that the machine comes from.
std::vector<NamedFile> inputs_of(const Options&);

// Fills `options` from the command line of a subcommand.
void add_machine_options(CLI::App&, Options&);
// What the machine is made of, without its engine, console and snapshots.
void add_hardware_options(CLI::App&, Options&);
void add_record_options(CLI::App&, Options&);
void add_replay_options(CLI::App&, Options&);
void add_restore_options(CLI::App&, Options&);
// -o, --force and keyframes, of a subcommand that records.
void add_trace_options(CLI::App&, Options&);

}  // namespace dejavm::cli
