// Which engine executes a machine, and how. The guest does the same either way.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace dejavm {

// How guest code is made into host code.
struct TranslateOptions {
  bool on = true;
  unsigned threshold = 50;  // executions after which a block is translated
  size_t cache_bytes = size_t{64} << 20;
};

struct EngineChoice {
  std::string name{};              // as is_engine() has it; empty: that of the file the machine comes from
  TranslateOptions translation{};  // of the deterministic engine

  EngineChoice() = default;
  EngineChoice(std::string_view engine, TranslateOptions how = {}) : name(engine), translation(how) {}
  EngineChoice(const char* engine) : name(engine) {}
  EngineChoice(std::string engine) : name(std::move(engine)) {}
  EngineChoice or_else(std::string_view recorded) const {
    return {name.empty() ? recorded : std::string_view(name), translation};
  }
};

}  // namespace dejavm
