// dejavm trace dump and tail: a line for each event.
#pragma once

#include "tools/dejavm/trace_tool.h"

namespace dejavm::cli {

int dump_trace(const TraceOptions&);
int tail_trace(const TraceOptions&);

}  // namespace dejavm::cli
