// The models of models.h at run time: what the conformance suite, the fuzz targets, `dejavm device` and the golden gate
// work from.
#pragma once

#include <span>
#include <string_view>

#include "devices/core/device_model.h"

namespace dejavm {

std::span<const DeviceModel> device_catalog();
const DeviceModel* find_device(std::string_view name);  // nullptr: there is none

}  // namespace dejavm
