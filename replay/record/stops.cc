#include "replay/record/stops.h"

#include <algorithm>

namespace dejavm {

Stops::Stops(std::vector<RunStop> stops, Retired begin, uint64_t interval, std::function<void()> recurring)
    : stops_(std::move(stops)),
      interval_(interval ? interval : ~uint64_t{0}),
      tick_(after(begin)),
      recurring_(std::move(recurring)) {
  std::stable_sort(stops_.begin(), stops_.end(), [](const RunStop& a, const RunStop& b) { return a.at < b.at; });
}

Retired Stops::next() const { return next_ < stops_.size() ? std::min(stops_[next_].at, tick_) : tick_; }

void Stops::act(Retired at, uint64_t exits, bool last) {
  if (at >= tick_ && !last) {
    recurring_();
    tick_ = after(tick_);
  }
  for (; next_ < stops_.size() && stops_[next_].at <= at; ++next_) stops_[next_].action(exits);
}

}  // namespace dejavm
