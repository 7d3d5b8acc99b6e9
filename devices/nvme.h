// An NVMe 1.4 controller with one namespace. Source: NVM Express Base Specification 1.4; sections are its own.
//
// Window: as devices/pci/function.h has it. BAR 0 (64-bit memory, 16 KiB): controller registers and, from 0x1000 on,
// doorbells; BAR 4 (32-bit memory, 4 KiB): MSI-X.
//
// Commands are served one at a time, the queues in turn: fetched kCommandNs after the controller could have begun, then
// carried out step by step (devices/core/transfer.h) and completed at once. Data goes from the disk to memory and back
// without passing through the state. What one event makes is bounded by the largest transfer (MDTS), the largest range
// of Write Zeroes, in pieces, and kDiscardBytes: of what Dataset Management gives back beyond that nothing comes, as it
// may.
//
// Queues: kQueues of each kind with that of administration, up to kMaxEntries long, contiguous. Not there, and refused
// as the specification says: namespace management, firmware download, format, directives, virtualisation, security,
// SGLs, metadata, reservations, the controller memory buffer, host memory buffer. The volatile write cache is modelled:
// `unflushed` says whether anything was written since the last Flush.
#pragma once

#include "devices/core/transfer.h"
#include "devices/pci/function.h"

namespace dejavm {

struct Nvme {
  static constexpr std::string_view kName = "nvme";
  static constexpr uint16_t kVersion = 1;
  static constexpr unsigned kQueues = 33, kPage = 4096;
  static constexpr uint16_t kVectors = kQueues;
  static constexpr uint32_t kMaxEntries = 1024, kMaxTransferBytes = 128 * kPage, kZeroBytes = 1 << 20;
  static constexpr uint64_t kDiscardBytes = 1 << 30;
  static constexpr uint64_t kCommandNs = 10'000;
  static constexpr unsigned kRegisterBar = 0, kMsixBar = 4, kAsyncEvents = 4;
  static constexpr pci::Identity kPci{
      .vendor = 0x1b36,
      .device = 0x00f0,
      .class_code = 0x010802,
      .revision = 2,
      .subsystem_vendor = 0x1b36,
      .subsystem = 0x00f0,
      .bars = {{{pci::Space::kMemory64, 0x4000}, {}, {}, {}, {pci::Space::kMemory32, 0x1000}, {}}},
      .interrupts = true,
      .msix_vectors = kVectors,
      .msix_bar = kMsixBar,
  };

  enum class Phase : uint8_t {
    kIdle,        // no command is at hand
    kFetching,    // a command is to be read
    kList,        // a PRP list's entry is
    kData,        // data are to be moved
    kCompleting,  // its completion is to be written, when there is room
  };

  struct Submission {
    uint64_t base = 0;
    uint32_t entries = 0;  // 0: there is no such queue
    uint16_t head = 0, tail = 0, completion = 0;
    std::array<uint8_t, 6> reserved{};
    static constexpr auto fields() {
      return std::tuple{field("base", &Submission::base),
                        field("entries", &Submission::entries).range(0, kMaxEntries),
                        field("head", &Submission::head).range(0, kMaxEntries - 1),
                        field("tail", &Submission::tail).range(0, kMaxEntries - 1),
                        field("completion", &Submission::completion).range(0, kQueues - 1),
                        field("reserved", &Submission::reserved).range(0, 0)};
    }
  };
  struct Completion {
    uint64_t base = 0;
    uint32_t entries = 0;
    uint16_t head = 0, tail = 0, vector = 0;
    bool phase = false;       // that of the next entry
    bool interrupts = false;  // enabled
    std::array<uint8_t, 4> reserved{};
    static constexpr auto fields() {
      return std::tuple{field("base", &Completion::base),
                        field("entries", &Completion::entries).range(0, kMaxEntries),
                        field("head", &Completion::head).range(0, kMaxEntries - 1),
                        field("tail", &Completion::tail).range(0, kMaxEntries - 1),
                        field("vector", &Completion::vector).range(0, kVectors - 1),
                        field("phase", &Completion::phase),
                        field("interrupts", &Completion::interrupts),
                        field("reserved", &Completion::reserved).range(0, 0)};
    }
  };
  // Of the last commands that failed, for the error log.
  struct Failure {
    uint64_t number = 0;  // of all failures; 0: none
    uint64_t lba = 0;
    uint16_t queue = 0, command = 0, status = 0;
    uint16_t reserved = 0;
    static constexpr auto fields() {
      return std::tuple{field("number", &Failure::number),
                        field("lba", &Failure::lba),
                        field("queue", &Failure::queue).range(0, kQueues - 1),
                        field("command", &Failure::command),
                        field("status", &Failure::status),
                        field("reserved", &Failure::reserved).range(0, 0)};
    }
  };
  static constexpr unsigned kFailures = 4;

  struct State {
    // The disk: configuration, which a reset keeps.
    uint64_t blocks = 0;
    std::array<uint8_t, 20> serial{};
    uint8_t block_shift = 9;  // 9 or 12
    bool read_only = false;
    std::array<uint8_t, 2> reserved{};

    uint64_t now_ns = 0;
    uint64_t due_ns = 0;  // when the next command is fetched; 0: none is waiting
    pci::Function pci;
    uint32_t cc = 0, aqa = 0, masked = 0;  // CC, AQA, INTMS
    bool ready = false, fatal = false, unflushed = false;
    uint8_t shutdown = 0;  // CSTS.SHST
    uint64_t asq = 0, acq = 0;
    std::array<Submission, kQueues> submission;
    std::array<Completion, kQueues> completion;
    uint16_t turn = 0;  // the queue that is looked at first

    // The command at hand.
    uint16_t queue = 0;
    Phase phase = Phase::kIdle;
    std::array<uint8_t, 3> reserved2{};
    std::array<uint32_t, 16> command{};
    uint64_t position = 0, length = 0;  // of its data
    uint64_t page = 0;                  // where the next data are; 0: to be read from the list
    uint64_t list = 0;                  // the list's next entry
    uint32_t result = 0;                // DW0 of the completion
    uint16_t status = 0;                // status code and type
    uint16_t in_turn = 0;               // of Dataset Management: ranges that are done
    std::array<uint8_t, kPage> data{};  // what the controller tells, or is told

    // Features (5.21), asynchronous events (5.2), logs (5.14).
    uint16_t temperature_over = 0x157, temperature_under = 0;  // K
    uint32_t async_config = 0, arbitration = 0;
    uint8_t power_state = 0, async_count = 0;
    bool write_cache = true;
    uint8_t reserved3 = 0;
    uint64_t read_commands = 0, write_commands = 0, read_blocks = 0, written_blocks = 0, failures = 0;
    std::array<Failure, kFailures> failure;
    std::array<pci::MsixEntry, kVectors> vector;
    static constexpr auto fields() {
      return std::tuple{field("blocks", &State::blocks).range(0, uint64_t{1} << 48),
                        field("serial", &State::serial),
                        field("block_shift", &State::block_shift).range(9, 12),
                        field("read_only", &State::read_only),
                        field("reserved", &State::reserved).range(0, 0),
                        field("now_ns", &State::now_ns).unit("ns"),
                        field("due_ns", &State::due_ns).unit("ns"),
                        field("pci", &State::pci),
                        field("cc", &State::cc),
                        field("aqa", &State::aqa).range(0, 0x0fff0fff),
                        field("masked", &State::masked),
                        field("ready", &State::ready),
                        field("fatal", &State::fatal),
                        field("unflushed", &State::unflushed),
                        field("shutdown", &State::shutdown).range(0, 2),
                        field("asq", &State::asq),
                        field("acq", &State::acq),
                        field("submission", &State::submission),
                        field("completion", &State::completion),
                        field("turn", &State::turn).range(0, kQueues - 1),
                        field("queue", &State::queue).range(0, kQueues - 1),
                        field("phase", &State::phase).range(0, 4),
                        field("reserved2", &State::reserved2).range(0, 0),
                        field("command", &State::command),
                        field("position", &State::position).unit("bytes"),
                        field("length", &State::length).unit("bytes"),
                        field("page", &State::page),
                        field("list", &State::list),
                        field("result", &State::result),
                        field("status", &State::status),
                        field("in_turn", &State::in_turn).range(0, 256),
                        field("data", &State::data),
                        field("temperature_over", &State::temperature_over),
                        field("temperature_under", &State::temperature_under),
                        field("async_config", &State::async_config),
                        field("arbitration", &State::arbitration),
                        field("power_state", &State::power_state).range(0, 0),
                        field("async_count", &State::async_count).range(0, kAsyncEvents),
                        field("write_cache", &State::write_cache),
                        field("reserved3", &State::reserved3).range(0, 0),
                        field("read_commands", &State::read_commands),
                        field("write_commands", &State::write_commands),
                        field("read_blocks", &State::read_blocks),
                        field("written_blocks", &State::written_blocks),
                        field("failures", &State::failures),
                        field("failure", &State::failure),
                        field("vector", &State::vector)};
    }
  };

  enum Line : uint64_t { kInta = 1 };

  static const char* invalid(const State&);
  static DeviceModel model();  // nvme_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos now);
  static Nanos next_event(const State&);
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos, unsigned, bool) {}  // there are no inputs
  static bool pop_message(State&, BusMessage&);
  static bool next_transfer(const State&, Transfer&);
  static void transferred(State&, Nanos now, bool ok, std::span<const uint8_t> bytes);

  // What the machine's configuration says: before the first reset.
  static void set_disk(State&, uint64_t bytes, unsigned block_bytes, std::string_view serial, bool read_only);
};

}  // namespace dejavm
