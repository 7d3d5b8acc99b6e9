// The state of every device of the board's table, and ways to go through them.
#pragma once

#include <cstddef>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "vmm/board/devices.h"

namespace dejavm {

inline constexpr size_t kBoardRows = std::tuple_size_v<decltype(kBoardDevices)>;

// Calls f.operator()<kRow>() for each row of the table.
template <class F>
constexpr void for_each_row(F f) {
  [&]<size_t... kRow>(std::index_sequence<kRow...>) { (f.template operator()<kRow>(), ...); }
  (std::make_index_sequence<kBoardRows>());
}

template <size_t kRow>
using ModelOfRow = typename std::tuple_element_t<kRow, std::remove_const_t<decltype(kBoardDevices)>>::Model;

// The row of a model.
template <class M>
inline constexpr uint8_t kRowOf = [] {
  uint8_t found = 0xff;
  for_each_row([&]<size_t kRow>() {
    if (std::is_same_v<ModelOfRow<kRow>, M>) found = kRow;
  });
  return found;
}();

class BoardModels {
 public:
  explicit BoardModels(const MachineConfig& config) {
    get_all<Vlapic>().resize(config.vcpus);
    for_each_row([&]<size_t kRow>() {
      constexpr const auto& kDevice = std::get<kRow>(kBoardDevices);
      if constexpr (kDevice.kInstances == Instances::kOnePerDisk)
        std::get<kRow>(held_).state.resize(disk_count(config, kDevice.controller));
    });
  }

  // The one there is.
  template <class M>
  typename M::State& get() {
    return std::get<kRowOf<M>>(held_).state;
  }
  template <class M>
  const typename M::State& get() const {
    return std::get<kRowOf<M>>(held_).state;
  }
  // One per vCPU, or disk.
  template <class M>
  std::vector<typename M::State>& get_all() {
    return std::get<kRowOf<M>>(held_).state;
  }
  template <class M>
  const std::vector<typename M::State>& get_all() const {
    return std::get<kRowOf<M>>(held_).state;
  }

  // All of a row, one or more.
  template <size_t kRow>
  auto states() {
    return span_of(std::get<kRow>(held_).state);
  }
  template <size_t kRow>
  auto states() const {
    return span_of(std::get<kRow>(held_).state);
  }

 private:
  template <class M, Instances kInstances>
  struct Held {
    std::conditional_t<kInstances == Instances::kOne, typename M::State, std::vector<typename M::State>> state{};
  };
  template <class State>
  static std::span<State> span_of(State& one) {
    return {&one, 1};
  }
  template <class State>
  static std::span<State> span_of(std::vector<State>& all) {
    return all;
  }
  template <class State>
  static std::span<const State> span_of(const std::vector<State>& all) {
    return all;
  }

  template <class... Rows>
  static std::tuple<Held<typename Rows::Model, Rows::kInstances>...> held_for(const std::tuple<Rows...>&);
  decltype(held_for(kBoardDevices)) held_;
};

// Of the rows that are device models, not mere state.
template <class M>
concept IsDeviceModel = requires(typename M::State& s, Nanos now) {
  M::advance(s, now);
};

// Calls f.operator()<Model>(state) for every state of every device model.
template <class Models, class F>
void for_each_device(Models& models, F f) {
  for_each_row([&]<size_t kRow>() {
    using M = ModelOfRow<kRow>;
    if constexpr (IsDeviceModel<M>)
      for (auto& state : models.template states<kRow>()) f.template operator()<M>(state);
  });
}

}  // namespace dejavm
