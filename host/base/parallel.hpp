#pragma once

#include <omp.h>

#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace bitcluster {

/// Threads that parallel loops use: OMP_NUM_THREADS, or what --threads or the rank set-up asked for.
inline int thread_count() { return omp_get_max_threads(); }
inline void set_thread_count(int threads) { omp_set_num_threads(threads); }

/// A thread of its own. Error if the system gives none.
std::thread start_thread(std::function<void()> body);

/// Error if the system does not give so many threads at once: OpenMP would end the program with words of its own.
void check_threads(int threads);

/// Calls body(index, thread) for every index in [0, count), dynamically scheduled over the threads.
/// The body must write only to places that belong to `index` or to `thread` (in [0, thread_count())).
/// The first exception is rethrown here after all threads have stopped.
template <class Body>
void parallel_for(long count, Body&& body) {
  std::exception_ptr failure;
  std::mutex failure_mutex;
#pragma omp parallel for schedule(dynamic, 1)
  for (long index = 0; index < count; ++index) {
    try {
      body(index, omp_get_thread_num());
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace bitcluster
