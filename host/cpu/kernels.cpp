#include "host/cpu/kernels.hpp"

#include <string_view>

namespace bitcluster {

// Of every instruction set, in the files *_kernels.cpp
void add_convolution_kernels_portable(Kernels&);
void add_element_kernels_portable(Kernels&);
void add_quantize_kernels_portable(Kernels&);
void add_compensation_kernels_portable(Kernels&);
void add_convolution_kernels_avx2(Kernels&);
void add_element_kernels_avx2(Kernels&);
void add_quantize_kernels_avx2(Kernels&);
void add_compensation_kernels_avx2(Kernels&);
void add_convolution_kernels_avx512_vnni(Kernels&);
void add_element_kernels_avx512_vnni(Kernels&);
void add_quantize_kernels_avx512_vnni(Kernels&);
void add_compensation_kernels_avx512_vnni(Kernels&);

namespace {

template <auto... add>
const Kernels* assemble(const char* name) {
  static const Kernels kernels = [name] {
    Kernels result{};
    result.name = name;
    (add(result), ...);
    return result;
  }();
  return &kernels;
}

}  // namespace

const Kernels* find_kernels(const char* name) {
  const std::string_view wanted = name;
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512_vnni = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                               __builtin_cpu_supports("avx512vnni");
  if (wanted == "avx512-vnni" && has_avx512_vnni) {
    return assemble<add_convolution_kernels_avx512_vnni, add_element_kernels_avx512_vnni,
                    add_quantize_kernels_avx512_vnni, add_compensation_kernels_avx512_vnni>("avx512-vnni");
  }
  if (wanted == "avx2" && has_avx2) {
    return assemble<add_convolution_kernels_avx2, add_element_kernels_avx2, add_quantize_kernels_avx2,
                    add_compensation_kernels_avx2>("avx2");
  }
  if (wanted == "portable") {
    return assemble<add_convolution_kernels_portable, add_element_kernels_portable, add_quantize_kernels_portable,
                    add_compensation_kernels_portable>("portable");
  }
  return nullptr;
}

const Kernels& best_kernels() {
  for (const char* name : {"avx512-vnni", "avx2"}) {
    if (const Kernels* kernels = find_kernels(name)) return *kernels;
  }
  return *find_kernels("portable");
}

}  // namespace bitcluster
