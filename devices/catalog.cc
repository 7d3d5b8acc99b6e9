#include "devices/catalog.h"

#include <array>

#include "devices/models.h"

namespace dejavm {

std::span<const DeviceModel> device_catalog() {
  static const auto kCatalog = []<class... Models>(ModelList<Models...>) {
    return std::array{Models::model()...};
  }(AllModels{});
  return kCatalog;
}

const DeviceModel* find_device(std::string_view name) {
  for (const DeviceModel& d : device_catalog())
    if (d.name() == name) return &d;
  return nullptr;
}

}  // namespace dejavm
