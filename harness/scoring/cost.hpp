#pragma once

#include <span>

#include "host/inference/backend.hpp"

namespace bitcluster {

/// What a variant costs, in products, per image.
struct VariantCost {
  double own = 0;     //!< of the layers that it computes itself
  double shared = 0;  //!< of the reference's layers that it needs; variants of one tile share them
  double tile = 0;    //!< per tile, not per image: preparing weights
};

/// In products of one image, by which what else takes time is counted, too.
VariantCost variant_cost(const Network& network, const Variant& variant);
/// Of the float32 network.
VariantCost float_cost(const Network& network);

/// What these variants cost together for one image.
double cost_of(std::span<const VariantCost> costs, std::span<const int> variants);

}  // namespace bitcluster
