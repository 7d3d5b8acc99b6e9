// What is to be done with a machine in the middle of its run.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "devices/core/types.h"

namespace dejavm {

// Something to do with the machine between two instructions; the run goes on as if nothing had been done.
struct RunStop {
  Retired at;
  std::function<void(uint64_t exits)> action;  // exits: logged so far
};

// The stops of a run in their order, with one that recurs every `interval` instructions (0: none) from `begin` on.
class Stops {
 public:
  Stops(std::vector<RunStop> stops, Retired begin, uint64_t interval, std::function<void()> recurring);
  Retired next() const;
  // Does what is due at `at`; at the last instruction of a run nothing recurs.
  void act(Retired at, uint64_t exits, bool last);

 private:
  Retired after(Retired at) const { return interval_ > ~at.value ? kForever : at + interval_; }
  std::vector<RunStop> stops_;
  size_t next_ = 0;
  uint64_t interval_;
  Retired tick_;
  std::function<void()> recurring_;
};

}  // namespace dejavm
