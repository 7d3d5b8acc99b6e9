// How guest code is made into host code. Of no consequence to what the guest does.
#pragma once

#include <cstddef>

namespace dejavm::soft {

struct TranslateOptions {
  bool on = true;
  unsigned threshold = 50;               // executions after which a block is translated
  size_t cache_bytes = size_t{64} << 20;
};

// What engines made from now on take, where nothing else is said.
TranslateOptions& default_translation();

}  // namespace dejavm::soft
