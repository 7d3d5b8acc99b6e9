// What is said to a command line that is not understood: what was not, the likeliest meaning, and where the help is.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

namespace dejavm::cli {

// Prints what `e` asks for (help, version) or complains of; the exit status.
int answer_parse_error(const CLI::App& app, const CLI::ParseError& e, int argc, const char* const* argv);

}  // namespace dejavm::cli
