// Law 1: compiles with -DLISTED, and not without it, because a member is missing from fields().
#include "devices/core/fields.h"

namespace dejavm {

struct Sample {
  static constexpr std::string_view kName = "sample";
  static constexpr uint16_t kVersion = 1;
  struct State {
    uint32_t count = 0;
    uint32_t latch = 0;
    static constexpr auto fields() {
#ifdef LISTED
      return std::tuple{field("count", &State::count), field("latch", &State::latch)};
#else
      return std::tuple{field("count", &State::count)};
#endif
    }
  };
};

const Schema& sample() { return schema_of<Sample>(); }

}  // namespace dejavm
