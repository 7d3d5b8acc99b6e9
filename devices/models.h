// Every device model there is. The catalogue, the conformance suite, fuzz targets, `dejavm device` and the golden gate
// work from this list; the board's table (vmm/board/devices.h) must have each of them.
#pragma once

#include "devices/fwcfg.h"
#include "devices/i8042.h"
#include "devices/nvme.h"
#include "devices/pcihost.h"
#include "devices/pctestdev.h"
#include "devices/sysctl.h"
#include "devices/testdma.h"
#include "devices/testpci.h"
#include "devices/uart16550.h"
#include "devices/vatpic.h"
#include "devices/vatpit.h"
#include "devices/vhpet.h"
#include "devices/vioapic.h"
#include "devices/virtioblk.h"
#include "devices/virtiorng.h"
#include "devices/vlapic.h"
#include "devices/vpmtmr.h"
#include "devices/vrtc.h"

namespace dejavm {

template <class... Models>
struct ModelList {};
using AllModels = ModelList<Vatpic, Vatpit, Vhpet, Vioapic, Vlapic, Vpmtmr, Vrtc, Uart16550, I8042, Sysctl, Pctestdev,
                            Testdma, Pcihost, Testpci, Nvme, Virtioblk, Virtiorng, Fwcfg>;

}  // namespace dejavm
