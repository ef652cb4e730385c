#pragma once

#include <algorithm>
#include <cmath>

#include "host/model/network.hpp"

namespace bitcluster {

/// The definition of every Function, as ONNX and its papers write it.
template <class Real>
Real naive_function(const Function& function, Real x) {
  const Real a = function.alpha, b = function.beta, one = 1, zero = 0;
  switch (function.kind) {
    case Function::Kind::identity:
      return x;
    case Function::Kind::leaky_relu:
      return x < 0 ? a * x : x;
    case Function::Kind::sigmoid:
      return one / (one + std::exp(-x));
    case Function::Kind::hard_sigmoid:
      return std::max(zero, std::min(one, a * x + b));
    case Function::Kind::hard_swish:
      return x * std::max(zero, std::min(one, x / 6 + Real(0.5)));
    case Function::Kind::linear:
      return a * x + b;
    case Function::Kind::tanh:
      return one - 2 / (std::exp(2 * x) + one);
    case Function::Kind::elu:
      return x >= 0 ? x : a * (std::exp(x) - one);
    case Function::Kind::selu:
      return b * (x > 0 ? x : a * std::exp(x) - a);
    case Function::Kind::celu:
      return std::max(zero, x) + std::min(zero, a * (std::exp(x / a) - one));
    case Function::Kind::softplus:
      return std::log(one + std::exp(x));
    case Function::Kind::softsign:
      return x / (one + std::fabs(x));
    case Function::Kind::erf:
      return one - std::erfc(x);
    case Function::Kind::gelu:
      return 2 * a * x * (one - std::erfc(x / std::sqrt(Real(2))) / 2);
    case Function::Kind::mish:
      return x * std::tanh(std::log(one + std::exp(x)));
    case Function::Kind::threshold:
      return x <= a ? zero : x;
    case Function::Kind::absolute:
      return std::max(x, -x);
    case Function::Kind::sign:
      return x == 0 ? zero : x / std::fabs(x);
    case Function::Kind::round:
      return std::rint(x);
    case Function::Kind::floor:
      return std::floor(x);
    case Function::Kind::ceil:
      return -std::floor(-x);
  }
  return x;
}

/// Every kind, for tests that go through all.
inline constexpr Function::Kind function_kinds[] = {
    Function::Kind::identity,   Function::Kind::leaky_relu, Function::Kind::sigmoid,  Function::Kind::hard_sigmoid,
    Function::Kind::hard_swish, Function::Kind::linear,     Function::Kind::tanh,     Function::Kind::elu,
    Function::Kind::selu,       Function::Kind::celu,       Function::Kind::softplus, Function::Kind::softsign,
    Function::Kind::erf,        Function::Kind::gelu,       Function::Kind::mish,     Function::Kind::threshold,
    Function::Kind::absolute,   Function::Kind::sign,       Function::Kind::round,    Function::Kind::floor,
    Function::Kind::ceil};

}  // namespace bitcluster
