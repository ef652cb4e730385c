#pragma once

#include <omp.h>

#include <exception>
#include <mutex>

namespace bitcluster {

/// Threads that parallel loops use: OMP_NUM_THREADS, or what --threads or the rank set-up asked for.
inline int thread_count() { return omp_get_max_threads(); }
inline void set_thread_count(int threads) { omp_set_num_threads(threads); }

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
