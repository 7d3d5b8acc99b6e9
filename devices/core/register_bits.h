// Bits of device registers as scoped enumerations: `lcr & Lcr::kDlab` is a number as the register's is, and what
// belongs to two registers does not mix. A device's sources say `using namespace register_bits;`.
#pragma once

#include <concepts>
#include <type_traits>

namespace dejavm::register_bits {

template <class E>
concept Bits = std::is_enum_v<E> && !std::is_convertible_v<E, std::underlying_type_t<E>>;

template <Bits E>
constexpr auto number(E e) {
  return static_cast<std::underlying_type_t<E>>(e);
}

// The type that holds both a register's value and its bits.
template <Bits E, std::integral T>
using Both = std::conditional_t<sizeof(T) >= sizeof(E), T, std::underlying_type_t<E>>;

template <Bits E, std::integral T>
constexpr T operator&(T value, E bits) {
  return static_cast<T>(value & number(bits));
}
template <Bits E, std::integral T>
constexpr Both<E, T> operator|(T value, E bits) {
  return static_cast<Both<E, T>>(value | number(bits));
}
template <Bits E, std::integral T>
constexpr T& operator|=(T& value, E bits) {
  return value = static_cast<T>(value | number(bits));
}
template <Bits E>
constexpr E operator|(E a, E b) {
  return static_cast<E>(number(a) | number(b));
}
template <Bits E>
constexpr auto operator~(E bits) {
  return ~number(bits);
}
template <Bits E, std::integral T>
constexpr Both<E, T> operator|(E bits, T value) {
  return value | bits;
}
template <Bits E, std::integral T>
constexpr bool operator==(T value, E bits) {
  return value == number(bits);
}
// The bits if the condition holds, else 0.
template <Bits E>
constexpr auto bits_if(bool condition, E bits) {
  return condition ? number(bits) : std::underlying_type_t<E>{0};
}

}  // namespace dejavm::register_bits
