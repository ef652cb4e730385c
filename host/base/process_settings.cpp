#include "host/base/process_settings.hpp"

#include <unistd.h>

#include <cstdlib>
#include <string>

namespace bitcluster {
namespace {

bool set(const char* variable, const std::string& value) { return setenv(variable, value.c_str(), 1) == 0; }

/// Those of the two that return true have changed the environment; they never do so twice.
bool ask_for_huge_pages() {
#ifdef __GLIBC__
  constexpr const char *variable = "GLIBC_TUNABLES", *tunable = "glibc.malloc.hugetlb";
  const char* before = std::getenv(variable);
  const std::string tunables = before ? before : "";
  if (tunables.find(tunable) != std::string::npos) return false;  // as this function or somebody else wants it
  return set(variable, tunables + (tunables.empty() ? "" : ":") + tunable + "=1");
#else
  return false;
#endif
}

bool limit_spinning() {
  constexpr const char* variable = "GOMP_SPINCOUNT";  // rounds of some ns; GNU OpenMP's default is 300,000
  if (std::getenv(variable) || std::getenv("OMP_WAIT_POLICY")) return false;
  return set(variable, "1000");
}

}  // namespace

void restart_with_settings(char** arguments) {
  const bool pages = ask_for_huge_pages(), spinning = limit_spinning();
  if (pages || spinning) execv("/proc/self/exe", arguments);
}

}  // namespace bitcluster
