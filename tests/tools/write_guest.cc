// Writes the built-in guest to standard output, as the ELF file that it is.
#include <cstdio>

#include "vmm/boot/default_guest.h"

int main() {
  const auto guest = dejavm::boot::default_guest();
  return std::fwrite(guest.data(), 1, guest.size(), stdout) == guest.size() ? 0 : 1;
}
