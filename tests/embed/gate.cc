// The golden gate of a program that has nothing of dejavm's but the library: its models, and a line.
#include "replay/state/golden.h"
#include "watchdog.h"

int main(int argc, char** argv) {
  const dejavm::DeviceModel models[] = {other::watchdog_model()};
  return dejavm::golden_main(argc, argv, "other-vmm 7.1", models);
}
