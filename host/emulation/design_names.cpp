#include <cstdlib>

#include "host/emulation/accelerator.hpp"

namespace bitcluster {

const std::map<std::string, Design>& design_names() {
  static const std::map<std::string, Design> names = {{"bit_parallel", Design::bit_parallel},
                                                      {"stripes", Design::stripes},
                                                      {"dynamic_stripes", Design::dynamic_stripes},
                                                      {"loom", Design::loom},
                                                      {"pragmatic", Design::pragmatic},
                                                      {"pragmatic_weights", Design::pragmatic_weights},
                                                      {"laconic", Design::laconic},
                                                      {"tactical_p", Design::tactical_p},
                                                      {"tactical_e", Design::tactical_e},
                                                      {"bitlet", Design::bitlet},
                                                      {"bitwave", Design::bitwave},
                                                      {"bitvert", Design::bitvert},
                                                      {"bitcluster", Design::bitcluster}};
  return names;
}

std::string to_string(Design design) {
  for (const auto& [name, value] : design_names()) {
    if (value == design) return name;
  }
  std::abort();
}

}  // namespace bitcluster
