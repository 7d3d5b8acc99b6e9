#include "devices/virtiorng.h"

#include <algorithm>
#include <cstring>

#include "devices/core/split_mix.h"
#include "devices/virtio/on_pci.h"

namespace dejavm {
namespace {

using State = Virtiorng::State;
using virtio::Phase;

constexpr virtio::Kind kKind{Virtiorng::kPci, 0};

virtio::Device device(State& s) { return {kKind, s.pci, s.core, s.queue}; }

void forget_request(State& s) {
  s.position = s.length = 0;
  s.data = {};
}

// Where the next piece goes.
struct Piece {
  uint64_t address = 0;
  uint32_t len_bytes = 0;
};
Piece next_piece(const State& s) {
  uint64_t address = 0, room = 0;
  if (!virtio::place(s.core, true, s.position, address, room)) return {};
  return {address, static_cast<uint32_t>(std::min({room, s.length - s.position, uint64_t{Virtiorng::kPieceBytes}}))};
}

void draw(State& s) {
  const uint32_t wanted = next_piece(s).len_bytes;
  s.data = {};
  for (uint32_t at = 0; at < wanted; at += 8) {
    const uint64_t output = SplitMix64::output(s.seed, s.counter++);
    std::memcpy(&s.data[at], &output, std::min<size_t>(8, wanted - at));
  }
}

void begin_request(State& s) {
  forget_request(s);
  if (s.core.readable != 0 || s.core.writable == 0) return virtio::broken(device(s));
  s.length = std::min(s.core.writable, Virtiorng::kMaxBytes);
  draw(s);
}

void piece_moved(State& s) {
  s.position += next_piece(s).len_bytes;
  if (s.position < s.length) return draw(s);
  const auto written = static_cast<uint32_t>(s.length);
  forget_request(s);
  virtio::served(device(s), written);
}

}  // namespace

uint64_t Virtiorng::read(State& s, Nanos now, uint64_t offset, unsigned size) {
  advance(s, now);
  return virtio::read({device(s), s.vector, {}}, offset, size);
}

void Virtiorng::write(State& s, Nanos now, uint64_t offset, unsigned size, uint64_t value) {
  advance(s, now);
  switch (virtio::write({device(s), s.vector, {}}, offset, size, value).left) {
    case virtio::Left::kNothing:
    case virtio::Left::kConfigured: return;
    case virtio::Left::kResetDevice:
      forget_request(s);
      virtio::reset(s.core, s.queue);
      return;
    case virtio::Left::kResetFunction: {
      const uint64_t time = s.core.now_ns;
      reset(s);
      s.core.now_ns = time;
    }
  }
}

void Virtiorng::advance(State& s, Nanos now) { virtio::advance(device(s), now); }

Nanos Virtiorng::next_event(const State& s) { return s.core.due_ns != 0 ? Nanos{s.core.due_ns} : kNever; }

uint64_t Virtiorng::lines(const State& s) { return s.core.isr != 0 && pci::drives_intx(s.pci) ? uint64_t{kInta} : 0; }

bool Virtiorng::pop_message(State& s, BusMessage& message) { return pci::pop_message(kPci, s.pci, s.vector, message); }

bool Virtiorng::next_transfer(const State& s, Transfer& t) {
  if (!pci::may_master(s.pci)) return false;
  if (s.core.phase != Phase::kServing) return virtio::next_transfer(s.core, s.queue, t);
  const Piece piece = next_piece(s);
  t = {.kind = Transfer::Kind::kWrite,
       .address = piece.address,
       .len_bytes = piece.len_bytes,
       .bytes = std::span(s.data).first(piece.len_bytes)};
  return true;
}

void Virtiorng::transferred(State& s, Nanos now, bool ok, std::span<const uint8_t> bytes) {
  advance(s, now);
  if (s.core.phase != Phase::kServing) {
    virtio::transferred(device(s), ok, bytes);
    if (s.core.phase == Phase::kServing) begin_request(s);
    return;
  }
  if (ok) return piece_moved(s);
  pci::received_master_abort(s.pci);
  forget_request(s);
  virtio::broken(device(s));
}

void Virtiorng::set_seed(State& s, uint64_t seed) { s.seed = seed; }

void Virtiorng::reset(State& s) {
  State fresh{};
  fresh.seed = s.seed;
  fresh.counter = s.counter;
  s = fresh;
}

const char* Virtiorng::invalid(const State& s) {
  if (const char* why = virtio::invalid(kKind, s.core, s.queue)) return why;
  if (s.core.phase == Phase::kServing) {
    if (s.core.readable != 0) return "a request with data for the device";
    if (s.length != std::min(s.core.writable, kMaxBytes)) return "length is not that of the chain's room";
    if (s.position >= s.length || next_piece(s).len_bytes == 0) return "position is outside the request's room";
  } else if (s.length != 0 || s.position != 0) {
    return "a request without a chain";
  }
  return pci::invalid(kPci, s.pci);
}

}  // namespace dejavm
