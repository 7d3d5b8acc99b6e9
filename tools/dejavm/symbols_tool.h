// dejavm symbols: the symbols of a Linux guest, from its own memory.
#pragma once

#include <string>

#include "tools/dejavm/options.h"

namespace dejavm::cli {

struct SymbolsOptions {
  std::string file, output, at;
  bool force = false;
};

void add_symbols_tool(CLI::App& app, SymbolsOptions&);
int run_symbols(const SymbolsOptions&);

}  // namespace dejavm::cli
