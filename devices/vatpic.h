// The PC's two cascaded 8259A interrupt controllers with the chipset's edge/level control registers (ELCR).
// Source: Intel 8259A datasheet (231468); ELCR: Intel ICH9 datasheet 13.4.
//
// Window: `offset` is the I/O port itself: 0x20, 0x21 (master), 0xa0, 0xa1 (slave), 0x4d0, 0x4d1 (ELCR). Wider
// accesses are bytes at consecutive ports, lowest first. Inputs 0-15 are IRQ0-IRQ15; input 2 is taken by the slave's
// INT and is ignored. The model keeps no time: outputs change only by accesses, inputs and acknowledge().
//
// Choices where the datasheet is silent: before the first ICW1, and while ICW2-ICW4 are awaited, the operation words
// work (before ICW1) but nothing is requested; ICW1 also clears ISR and rotation at automatic EOI; the priority is
// resolved at the read that follows a poll command and not frozen at the command; a poll without a request reads 0;
// a vector that no chip drives (ICW3 of both sides disagree) is 0xff.
// Not modelled: buffered mode's SP/EN pin; the roles of master and slave are wired.
#pragma once

#include "devices/core/model.h"

namespace dejavm {

struct Vatpic {
  static constexpr std::string_view kName = "vatpic";
  static constexpr uint16_t kVersion = 1;

  enum class Stage : uint8_t { kNeverInitialised, kIcw2, kIcw3, kIcw4, kReady };

  struct Chip {
    uint8_t lines;  // levels of IR0-IR7
    uint8_t edges;  // edge-sense latches: a rise was seen, and neither a fall nor an acknowledge since
    uint8_t isr;
    uint8_t imr;
    uint8_t elcr;  // 1: level-sensitive
    uint8_t icw1;
    uint8_t icw2;
    uint8_t icw3;
    uint8_t icw4;
    uint8_t lowest;  // the input with the lowest priority
    Stage stage;     // the word that the next write to the odd port is
    bool rotate_on_aeoi;
    bool special_mask;
    bool read_isr;  // the even port reads ISR, else IRR
    bool poll;      // the next read is a poll
    static constexpr auto fields() {
      return std::tuple{field("lines", &Chip::lines),
                        field("edges", &Chip::edges),
                        field("isr", &Chip::isr),
                        field("imr", &Chip::imr),
                        field("elcr", &Chip::elcr),
                        field("icw1", &Chip::icw1),
                        field("icw2", &Chip::icw2),
                        field("icw3", &Chip::icw3),
                        field("icw4", &Chip::icw4),
                        field("lowest", &Chip::lowest).range(0, 7),
                        field("stage", &Chip::stage).range(0, static_cast<uint64_t>(Stage::kReady)),
                        field("rotate_on_aeoi", &Chip::rotate_on_aeoi),
                        field("special_mask", &Chip::special_mask),
                        field("read_isr", &Chip::read_isr),
                        field("poll", &Chip::poll)};
    }
  };

  struct State {
    std::array<Chip, 2> chip;  // master, slave
    static constexpr auto fields() { return std::tuple{field("chip", &State::chip)}; }
  };

  enum Line : uint64_t { kIntr = 1 << 0 };

  static const char* invalid(const State&);
  static DeviceModel model();  // vatpic_model.cc
  static void reset(State&);
  static uint64_t read(State&, Nanos now, uint64_t offset, unsigned size);
  static void write(State&, Nanos now, uint64_t offset, unsigned size, uint64_t value);
  static void advance(State&, Nanos) {}
  static Nanos next_event(const State&) { return kNever; }
  static uint64_t lines(const State&);
  static void set_line(State&, Nanos now, unsigned input, bool level);

  // The processor's pair of INTA cycles: puts the request in service and returns its vector. Without a request (it
  // vanished, or there was none) the vector is that of the chip's input 7 and nothing is in service for it.
  static uint8_t acknowledge(State&, Nanos now);
};

}  // namespace dejavm
