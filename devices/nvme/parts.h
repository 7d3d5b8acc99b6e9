// What the parts of Nvme share. nvme.cc: registers, queues and the steps of a command; state.cc: what a state may be;
// admin.cc and io.cc: what the commands of each kind do; identify.cc: what the controller tells of itself.
#pragma once

#include "devices/nvme.h"

namespace dejavm::nvme {

using State = Nvme::State;
using Phase = Nvme::Phase;

// Status codes with their type in bits 10:8 (4.6.1).
enum Status : uint16_t {
  kSuccess = 0x000,
  kInvalidOpcode = 0x001,
  kInvalidField = 0x002,
  kDataTransferError = 0x004,
  kInternalError = 0x006,
  kAbortRequested = 0x007,
  kInvalidNamespace = 0x00b,
  kInvalidPrpOffset = 0x013,
  kLbaOutOfRange = 0x080,
  kInvalidCompletionQueue = 0x100,
  kInvalidQueue = 0x101,
  kInvalidQueueSize = 0x102,
  kTooManyAsyncEvents = 0x105,
  kInvalidVector = 0x108,
  kInvalidLogPage = 0x109,
  kInvalidQueueDeletion = 0x10c,
  kFeatureNotSaveable = 0x10d,
  kCompareFailure = 0x285,
  kWriteToReadOnly = 0x182,
};
inline constexpr uint16_t kDoNotRetry = 1 << 14;

inline constexpr uint32_t kCcWritable = 0x00fffff1;  // of CC

inline uint8_t opcode(const State& s) { return static_cast<uint8_t>(s.command[0]); }
inline uint16_t command_id(const State& s) { return static_cast<uint16_t>(s.command[0] >> 16); }
inline uint64_t prp1(const State& s) { return s.command[6] | uint64_t{s.command[7]} << 32; }
inline uint64_t prp2(const State& s) { return s.command[8] | uint64_t{s.command[9]} << 32; }
inline uint64_t first_block(const State& s) { return s.command[10] | uint64_t{s.command[11]} << 32; }

// nvme.cc. How a command goes on: it ends with a status; or so many bytes are moved by its PRPs first.
void complete(State&, uint16_t status, uint32_t result = 0);
void move(State&, uint64_t bytes);
// It is not at hand any more, and has no completion yet.
void drop(State&);

// admin.cc, io.cc: begin the command at hand, and go on when its data have moved.
void begin_admin(State&);
void begin_io(State&);
void io_data_arrived(State&);
// The step of an I/O command that is due; of those with data the piece at `address`.
void io_transfer(const State&, uint64_t address, uint32_t len_bytes, Transfer&);
// What a piece that was moved means: bytes of a comparison, of ranges. True: it is one of data in memory.
bool io_moved(State&, std::span<const uint8_t> bytes);

// Why the I/O command whose data are to be moved cannot be, or nullptr.
const char* io_invalid(const State&);

// identify.cc: fill `data`; a status.
uint16_t identify(State&);
uint16_t log_page(State&, uint64_t& bytes);

}  // namespace dejavm::nvme
