#include "host/base/parallel.hpp"

#include <fmt/format.h>

#include <latch>
#include <system_error>
#include <utility>
#include <vector>

#include "host/base/error.hpp"

namespace bitcluster {

std::thread start_thread(std::function<void()> body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& error) {
    throw Error("cannot start another thread", error.code().message(),
                "use fewer threads or ranks, or raise the limits (ulimit -u, ulimit -v)");
  }
}

void check_threads(int threads) {
  std::latch checked(1);
  std::vector<std::thread> started;
  std::exception_ptr failure;
  try {
    while (int(started.size()) + 1 < threads) started.push_back(start_thread([&] { checked.wait(); }));
  } catch (...) {
    failure = std::current_exception();
  }
  checked.count_down();
  for (std::thread& thread : started) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace bitcluster
