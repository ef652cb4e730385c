#include "host/base/huge_pages.hpp"

#include <unistd.h>

#include <cstdlib>
#include <string>

namespace bitcluster {

void use_huge_pages(char** arguments) {
#ifdef __GLIBC__
  constexpr const char *variable = "GLIBC_TUNABLES", *tunable = "glibc.malloc.hugetlb";
  const char* set = std::getenv(variable);
  std::string tunables = set ? set : "";
  if (tunables.find(tunable) != std::string::npos) return;  // as this function or somebody else wants it
  tunables += (tunables.empty() ? "" : ":") + std::string(tunable) + "=1";
  if (setenv(variable, tunables.c_str(), 1) == 0) execv("/proc/self/exe", arguments);
#endif
}

}  // namespace bitcluster
