#include "devices/testdma.h"

#include <algorithm>

namespace dejavm {
namespace {

using State = Testdma::State;
using Phase = Testdma::Phase;

uint32_t piece_bytes(const State& s) { return std::min(s.length, Testdma::kPieceBytes); }

void wait(State& s) {
  s.phase = Phase::kWaiting;
  s.due_ns = s.now_ns + std::min(Testdma::kPieceNs, ~uint64_t{0} - s.now_ns);
}

void end(State& s, uint32_t how) {
  s.ended |= how;
  s.phase = Phase::kIdle;
  s.due_ns = 0;
  s.piece = {};
}

void start(State& s, uint32_t command) {
  if (s.phase != Phase::kIdle) {
    s.ended |= Testdma::kError;
    return;
  }
  s.command = command;
  const bool known = command >= Testdma::kCopy && command <= Testdma::kFill;
  if (!known || s.length == 0 || s.length > Testdma::kMaxLength) return end(s, Testdma::kError);
  if (command == Testdma::kSum) s.result = 0;
  wait(s);
}

void piece_done(State& s) {
  const uint32_t bytes = piece_bytes(s);
  if (s.command != Testdma::kFill) s.source += bytes;
  if (s.command != Testdma::kSum) s.target += bytes;
  s.length -= bytes;
  s.piece = {};
  if (s.length == 0) end(s, Testdma::kDone);
  else wait(s);
}

}  // namespace

const char* Testdma::invalid(const State& s) {
  if (s.ended & kBusy) return "it has ended busy";
  if (s.phase == Phase::kIdle) return s.due_ns != 0 ? "a piece is due, but none is to be done" : nullptr;
  if (s.command < kCopy || s.command > kFill) return "it is busy with a command that there is not";
  if (s.length == 0 || s.length > kMaxLength) return "it is busy with a length that there is not";
  if (s.phase == Phase::kWaiting && (s.due_ns < s.now_ns || s.due_ns - s.now_ns > kPieceNs))
    return "the next piece is not due within its time";
  if (s.phase == Phase::kReading && s.command == kFill) return "a fill reads";
  if (s.phase == Phase::kWriting && s.command == kSum) return "a sum writes";
  return nullptr;
}

void Testdma::reset(State& s) { s = State{}; }

void Testdma::advance(State& s, Nanos now) {
  if (now.value <= s.now_ns) return;
  s.now_ns = now.value;
  if (s.phase != Phase::kWaiting || s.due_ns > s.now_ns) return;
  s.due_ns = 0;
  if (s.command == kFill) {
    s.phase = Phase::kWriting;
    s.piece.fill(static_cast<uint8_t>(s.result));
  } else {
    s.phase = Phase::kReading;
  }
}

Nanos Testdma::next_event(const State& s) { return s.phase == Phase::kWaiting ? Nanos{s.due_ns} : kNever; }

uint64_t Testdma::lines(const State& s) { return s.ended != 0 ? uint64_t{kIrq} : 0; }

uint64_t Testdma::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  if (size != 4 || offset % 4 != 0) return open_bus(size);
  switch (offset) {
    case kCommand: return s.command;
    case kStatus: return s.ended | (s.phase != Phase::kIdle ? uint64_t{kBusy} : 0);
    case kSource: return s.source & 0xffffffff;
    case kSource + 4: return s.source >> 32;
    case kTarget: return s.target & 0xffffffff;
    case kTarget + 4: return s.target >> 32;
    case kLength: return s.length;
    case kResult: return s.result;
    default: return open_bus(size);
  }
}

void Testdma::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  if (size != 4 || offset % 4 != 0) return;
  const auto word = static_cast<uint32_t>(value);
  if (offset == kCommand) return start(s, word);
  if (offset == kStatus) {
    s.ended &= ~word;
    return;
  }
  if (s.phase != Phase::kIdle) return;
  switch (offset) {
    case kSource:
    case kSource + 4: s.source = with_half(s.source, offset != kSource, word); break;
    case kTarget:
    case kTarget + 4: s.target = with_half(s.target, offset != kTarget, word); break;
    case kLength: s.length = word; break;
    case kResult: s.result = word; break;
    default: break;
  }
}

bool Testdma::next_transfer(const State& s, Transfer& t) {
  if (s.phase == Phase::kReading) {
    t = {.kind = Transfer::Kind::kRead, .address = s.source, .len_bytes = piece_bytes(s)};
    return true;
  }
  if (s.phase == Phase::kWriting) {
    t = {.kind = Transfer::Kind::kWrite,
         .address = s.target,
         .len_bytes = piece_bytes(s),
         .bytes = std::span(s.piece).first(piece_bytes(s))};
    return true;
  }
  return false;
}

void Testdma::transferred(State& s, Nanos now, bool ok, std::span<const uint8_t> bytes) {
  advance(s, now);
  if (!ok) return end(s, kError);
  if (s.phase == Phase::kWriting) return piece_done(s);
  if (s.phase != Phase::kReading) return;
  if (s.command == kSum) {
    for (const uint8_t byte : bytes) s.result += byte;
    return piece_done(s);
  }
  std::copy(bytes.begin(), bytes.end(), s.piece.begin());
  s.phase = Phase::kWriting;
}

}  // namespace dejavm
