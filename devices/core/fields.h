// fields(): the one list of a state's members, from which save, restore, equality, diff, dump, hash, generators
// and fuzz mutation all follow.
//
// A state is a trivially copyable struct without pointers or padding, of members that are unsigned or signed
// integers, bool, enums with a fixed underlying type, std::array of those, or nested structs with fields() of
// their own (and arrays of them). It lists each member exactly once, in declaration order:
//
//   struct State {
//     uint8_t irr; uint8_t imr; uint16_t reload; uint32_t spare;
//     static constexpr auto fields() {
//       return std::tuple{field("irr", &State::irr),
//                         field("imr", &State::imr),
//                         field("reload", &State::reload).range(1, 0xffff).unit("ticks"),
//                         field("spare", &State::spare).since(2, /*default*/ 0)};
//     }
//   };
//
// schema_of<Model>() turns the list into run-time tables (Schema, FieldInfo), so codecs are written once and not
// per type. A member that is not listed does not compile: the listed bytes must equal sizeof(State).
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

namespace dejavm {

template <class S, class M>
struct Field {
  std::string_view name;
  M S::*member;
  uint64_t min_value;  // inclusive, per element; two's complement for signed members
  uint64_t max_value;
  std::string_view unit_name = "";
  uint16_t since_version = 1;  // the model's version that introduced it
  uint64_t default_value = 0;  // for files older than that; left out of files while equal to it
  constexpr Field range(uint64_t lo, uint64_t hi) const {
    Field f = *this;
    f.min_value = lo;
    f.max_value = hi;
    return f;
  }
  constexpr Field unit(std::string_view u) const {
    Field f = *this;
    f.unit_name = u;
    return f;
  }
  constexpr Field since(uint16_t v, uint64_t dflt) const {
    Field f = *this;
    f.since_version = v;
    f.default_value = dflt;
    return f;
  }
};

namespace fields_detail {
template <class T>
struct Element {
  using type = T;
  static constexpr size_t count = 1;
};
template <class T, size_t N>
struct Element<std::array<T, N>> {
  using type = T;
  static constexpr size_t count = N;
};
template <class T, bool = std::is_enum_v<T>>
struct Raw {
  using type = T;
};
template <class T>
struct Raw<T, true> {
  using type = std::underlying_type_t<T>;
};
template <class T>
concept HasFields = requires {
  T::fields();
};
template <class T>
constexpr uint64_t min_of() {
  if constexpr (std::is_integral_v<T>) return static_cast<uint64_t>(std::numeric_limits<T>::min());
  else return 0;
}
template <class T>
constexpr uint64_t max_of() {
  if constexpr (std::is_integral_v<T>) return static_cast<uint64_t>(std::numeric_limits<T>::max());
  else return 0;
}
}  // namespace fields_detail

template <class S, class M>
constexpr Field<S, M> field(std::string_view name, M S::*member) {
  using E = typename fields_detail::Raw<typename fields_detail::Element<M>::type>::type;
  return {name, member, fields_detail::min_of<E>(), fields_detail::max_of<E>()};
}

// Bytes that S's fields() account for; equal to sizeof(S) when nothing is forgotten and nothing is padding.
template <class S>
constexpr size_t listed_bytes() {
  return std::apply(
      [](auto... f) {
        auto bytes = []<class M>(const Field<S, M>&) constexpr {
          using El = fields_detail::Element<M>;
          if constexpr (fields_detail::HasFields<typename El::type>)
            return El::count * listed_bytes<typename El::type>();
          else return sizeof(M);
        };
        return (size_t{0} + ... + bytes(f));
      },
      S::fields());
}

enum class FieldKind : uint8_t { kUnsigned, kSigned, kBool, kStruct };

struct FieldInfo {
  std::string_view name;
  std::string_view unit;
  FieldKind kind;
  uint16_t since;
  uint32_t offset;        // bytes from the start of the enclosing struct
  uint32_t element_size;  // bytes
  uint32_t count;         // elements; 1 and !is_array for scalars
  bool is_array;
  uint64_t min_value, max_value, default_value;
  std::span<const FieldInfo> members;  // for kStruct
  std::span<const uint32_t> order;     // of members, as Schema::order
};

// A model's description at run time. `invalid` is the cross-field rule: nullptr when the state is consistent,
// else the reason (a static string). `data` points at an object of `size` bytes.
struct Schema {
  std::string_view name;
  uint16_t version;
  uint32_t size;
  std::span<const FieldInfo> fields;
  std::span<const uint32_t> order;  // of fields in files: shorter names first, equal lengths by bytes (RFC 8949, 4.2.1)
  const char* (*invalid)(const void* data);
};

// One piece of the machine's state: what it is, which one, and where it lives.
struct ChunkRef {
  const Schema* schema;
  uint32_t instance;
  bool critical;  // a reader that does not know this schema must refuse the file
  void* data;
};

namespace fields_detail {
std::vector<uint32_t> file_order(std::span<const FieldInfo>);
template <class S>
std::span<const uint32_t> order_of();
template <class S>
std::span<const FieldInfo> infos() {
  static_assert(std::is_trivially_copyable_v<S>, "a state is trivially copyable");
  static_assert(listed_bytes<S>() == sizeof(S),
                "a member is missing from fields(), is listed twice, or there is padding");
  static const std::vector<FieldInfo> table = [] {
    std::vector<FieldInfo> out;
    alignas(S) static std::byte storage[sizeof(S)];
    const S& base = *reinterpret_cast<const S*>(storage);
    std::apply(
        [&](auto... f) {
          auto add = [&]<class M>(const Field<S, M>& fld) {
            using El = Element<M>;
            using R = typename Raw<typename El::type>::type;
            FieldInfo i{};
            i.name = fld.name;
            i.unit = fld.unit_name;
            i.since = fld.since_version;
            i.offset = static_cast<uint32_t>(reinterpret_cast<const std::byte*>(&(base.*(fld.member))) - storage);
            i.element_size = sizeof(typename El::type);
            i.count = El::count;
            i.is_array = !std::is_same_v<M, typename El::type>;
            i.min_value = fld.min_value;
            i.max_value = fld.max_value;
            i.default_value = fld.default_value;
            if constexpr (HasFields<R>) {
              i.kind = FieldKind::kStruct;
              i.members = infos<R>();
              i.order = order_of<R>();
            } else if constexpr (std::is_same_v<R, bool>) i.kind = FieldKind::kBool;
            else i.kind = std::is_signed_v<R> ? FieldKind::kSigned : FieldKind::kUnsigned;
            out.push_back(i);
          };
          (add(f), ...);
        },
        S::fields());
    return out;
  }();
  return table;
}
template <class S>
std::span<const uint32_t> order_of() {
  static const std::vector<uint32_t> order = file_order(infos<S>());
  return order;
}
template <class M>
concept HasInvalid = requires(const typename M::State& s) {
  M::invalid(s);
};
}  // namespace fields_detail

// Model: a type with `State`, `kName`, `kVersion` and, optionally, `static const char* invalid(const State&)`.
template <class Model>
const Schema& schema_of() {
  static const Schema schema{Model::kName,
                             Model::kVersion,
                             sizeof(typename Model::State),
                             fields_detail::infos<typename Model::State>(),
                             fields_detail::order_of<typename Model::State>(),
                             [](const void* data) -> const char* {
                               if constexpr (fields_detail::HasInvalid<Model>)
                                 return Model::invalid(*static_cast<const typename Model::State*>(data));
                               else return (void)data, nullptr;
                             }};
  return schema;
}

// Element access by description, for codecs: the value as 64 bits, sign-extended for kSigned.
uint64_t load_element(const FieldInfo& info, const void* struct_data, uint32_t index);
void store_element(const FieldInfo& info, void* struct_data, uint32_t index, uint64_t value);
bool in_range(const FieldInfo& info, uint64_t value);

}  // namespace dejavm
