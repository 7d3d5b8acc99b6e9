#include "devices/core/fields.h"

#include <algorithm>
#include <numeric>

#include "devices/core/result.h"

namespace dejavm {

uint64_t load_element(const FieldInfo& info, const void* struct_data, uint32_t index) {
  CHECK(index < info.count && info.kind != FieldKind::kStruct && info.element_size <= 8);
  uint64_t value = 0;
  std::memcpy(&value, static_cast<const std::byte*>(struct_data) + info.offset + size_t{index} * info.element_size,
              info.element_size);
  if (info.kind == FieldKind::kSigned && info.element_size < 8) {
    const unsigned shift = 64 - 8 * info.element_size;
    value = static_cast<uint64_t>(static_cast<int64_t>(value << shift) >> shift);
  }
  return value;
}

void store_element(const FieldInfo& info, void* struct_data, uint32_t index, uint64_t value) {
  CHECK(index < info.count && info.kind != FieldKind::kStruct && info.element_size <= 8);
  std::memcpy(static_cast<std::byte*>(struct_data) + info.offset + size_t{index} * info.element_size, &value,
              info.element_size);
}

bool in_range(const FieldInfo& info, uint64_t value) {
  if (info.kind == FieldKind::kSigned)
    return static_cast<int64_t>(value) >= static_cast<int64_t>(info.min_value) &&
           static_cast<int64_t>(value) <= static_cast<int64_t>(info.max_value);
  return value >= info.min_value && value <= info.max_value;
}

std::vector<uint32_t> fields_detail::file_order(std::span<const FieldInfo> fields) {
  std::vector<uint32_t> order(fields.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const std::string_view x = fields[a].name, y = fields[b].name;
    return x.size() != y.size() ? x.size() < y.size() : x < y;
  });
  return order;
}

}  // namespace dejavm
