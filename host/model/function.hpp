#pragma once

#include <algorithm>
#include <cmath>

#include "host/model/network.hpp"

namespace bitcluster {

/// The function's value at x: in float32 for float networks, in double for the tables of integer ones.
template <class Real>
Real apply(const Function& function, Real x) {
  const auto alpha = Real(function.alpha), beta = Real(function.beta);
  const auto softplus = [](Real value) {
    return std::max(value, Real(0)) + std::log1p(std::exp(-std::abs(value)));  // exp() cannot overflow
  };
  switch (function.kind) {
    case Function::Kind::identity:
      return x;
    case Function::Kind::leaky_relu:
      return x < 0 ? alpha * x : x;
    case Function::Kind::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Function::Kind::hard_sigmoid:
      return std::clamp(alpha * x + beta, Real(0), Real(1));
    case Function::Kind::hard_swish:
      return x * std::clamp(x / 6 + Real(0.5), Real(0), Real(1));
    case Function::Kind::linear:
      return alpha * x + beta;
    case Function::Kind::tanh:
      return std::tanh(x);
    case Function::Kind::elu:
      return x < 0 ? alpha * std::expm1(x) : x;
    case Function::Kind::selu:
      return beta * (x < 0 ? alpha * std::expm1(x) : x);
    case Function::Kind::celu:
      return x < 0 ? alpha * std::expm1(x / alpha) : x;
    case Function::Kind::softplus:
      return softplus(x);
    case Function::Kind::softsign:
      return x / (1 + std::abs(x));
    case Function::Kind::erf:
      return std::erf(x);
    case Function::Kind::gelu:
      return alpha * x * (1 + std::erf(x * Real(0.70710678118654752440)));
    case Function::Kind::mish:
      return x * std::tanh(softplus(x));
    case Function::Kind::threshold:
      return x > alpha ? x : 0;
    case Function::Kind::absolute:
      return std::abs(x);
    case Function::Kind::sign:
      return Real((x > 0) - (x < 0));
    case Function::Kind::round:
      return std::nearbyint(x);
    case Function::Kind::floor:
      return std::floor(x);
    case Function::Kind::ceil:
      return std::ceil(x);
  }
  return x;
}

/// Whether the function gives nothing negative, where its arguments are `non_negative` or may be anything.
inline bool gives_non_negative(const Function& function, bool non_negative) {
  switch (function.kind) {
    case Function::Kind::sigmoid:
    case Function::Kind::hard_sigmoid:
    case Function::Kind::softplus:
    case Function::Kind::absolute:
      return true;
    case Function::Kind::linear:
      return non_negative && function.alpha >= 0 && function.beta >= 0;
    case Function::Kind::selu:
      return non_negative && function.beta >= 0;
    case Function::Kind::gelu:
      return non_negative && function.alpha >= 0;
    default:  // keeps the sign of what is not negative
      return non_negative;
  }
}

}  // namespace bitcluster
