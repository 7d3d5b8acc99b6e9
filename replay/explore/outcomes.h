// outcomes.jsonl: what a search looks for, and what became of each of its runs.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "replay/explore/explore.h"
#include "replay/store/hash.h"

namespace dejavm {

class Outcomes {
 public:
  // Reads what is in the folder, which it creates if it has to. `begin`: the digest of the machine that all start from.
  static Result<Outcomes> open(const AttemptPlan&, const ExploreOptions&, const Hash128& begin);
  const std::map<uint64_t, ExploredRun>& runs() const { return runs_; }
  const std::optional<ExploredRun>& in_order() const { return in_order_; }
  // On the disk before this returns.
  Result<void> add(const ExploredRun&);

 private:
  Result<void> take(const std::string& line);
  std::string path_;
  std::map<uint64_t, ExploredRun> runs_;
  std::optional<ExploredRun> in_order_;
};

}  // namespace dejavm
