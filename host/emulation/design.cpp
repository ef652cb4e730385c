#include "host/emulation/design.hpp"

#include <cstdlib>

namespace bitcluster {

extern const DesignInfo bit_parallel_design, stripes_design, dynamic_stripes_design, loom_design, pragmatic_design,
    pragmatic_weights_design, laconic_design, tactical_p_design, tactical_e_design, bitlet_design, bitwave_design,
    bitvert_design, bitcluster_design;

std::span<const DesignInfo* const> designs() {
  static constexpr const DesignInfo* list[] = {
      &bit_parallel_design,       //
      &stripes_design,            //
      &dynamic_stripes_design,    //
      &loom_design,               //
      &pragmatic_design,          //
      &pragmatic_weights_design,  //
      &laconic_design,            //
      &tactical_p_design,         //
      &tactical_e_design,         //
      &bitlet_design,             //
      &bitwave_design,            //
      &bitvert_design,            //
      &bitcluster_design,
  };
  return list;
}

const DesignInfo& design_named(std::string_view name) {
  for (const DesignInfo* design : designs()) {
    if (design->name == name) return *design;
  }
  std::abort();
}

int dense_bits_of_one_operand(const Accelerator&) { return 8; }

double encoded_weight_bits(const Accelerator& accelerator, const LayerTensors& layer) {
  const auto own = accelerator.design->weight_bits;
  return own ? own(accelerator, layer) : layer.weight_format.bits;
}

}  // namespace bitcluster
