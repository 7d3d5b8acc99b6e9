#pragma once

#include <cstddef>

namespace dejavm::soft {

struct TranslateOptions {
  unsigned threshold = 50;               // executions after which a block is translated
  size_t cache_bytes = size_t{64} << 20;
};

}  // namespace dejavm::soft
