// What the parts of the virtio core share. core.cc: registers; rings.cc: the steps from a notification to the chain's
// return.
#pragma once

#include "devices/virtio/core.h"

namespace dejavm::virtio {

inline constexpr uint8_t kIsrQueue = 1, kIsrConfig = 2;

void look_for_work(const Device&);
void forget_chain(Core&);
void interrupt(const Device&, uint16_t vector, uint8_t isr);
const char* invalid_chain(const Core&, const Queue&);

}  // namespace dejavm::virtio
