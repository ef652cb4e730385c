#pragma once

#include <concepts>

namespace bitcluster {

/// One function for std::visit out of a lambda per alternative. An alternative that none of them takes does not
/// compile, so whoever adds one is shown every place that must know it.
template <class... Functions>
struct overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
overloaded(Functions...) -> overloaded<Functions...>;

/// The alternatives that one such function treats alike: `const OneOf<Add, Concat> auto&`.
template <class T, class... Alternatives>
concept OneOf = (std::same_as<T, Alternatives> || ...);

}  // namespace bitcluster
