// dejavm device list|show|run: the device models by themselves.
#pragma once

#include <string>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct DeviceOptions {
  std::string device, script, vcd;
  bool json = false, state = false;
};

void add_device_tool(CLI::App& app, DeviceOptions&);
int run_device(const CLI::App& app, const DeviceOptions&);

}  // namespace dejavm::cli
