#pragma once

#include <string>

namespace bitcluster {

/// Which design's rule gives the cycles of a step (DESIGN section 5.2). One entry, one function in designs.cpp.
enum class Design { bit_parallel, stripes, pragmatic_weights, laconic, bitcluster };

/// Whether a design's cycles depend on the activations' values.
bool needs_activations(Design design);

/// An accelerator as its TOML file in configs/accelerators/ describes it.
struct Accelerator {
  std::string name;
  Design design = Design::bit_parallel;
};

/// Error for an unreadable file, an unknown or misspelled key, an impossible value.
Accelerator load_accelerator(const std::string& path);

}  // namespace bitcluster
