#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace bitcluster {

/// Memory for vector instructions: aligned to 64 bytes, and readable (not meaningful) for 64 bytes behind its end.
/// Contents are undefined at first.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes) { reserve(bytes); }

  /// At least `bytes` bytes. Contents are lost when it grows; it never shrinks.
  void reserve(std::size_t bytes) {
    if (bytes <= capacity() && memory_) return;
    memory_.reset();  // before the new one is there: they may not fit both
    memory_.reset(static_cast<char*>(::operator new(bytes + slack, alignment)));
    memory_.get_deleter().capacity = bytes;
  }
  std::size_t capacity() const { return memory_ ? memory_.get_deleter().capacity : 0; }

  template <class T>
  T* as() const {
    return static_cast<T*>(static_cast<void*>(memory_.get()));
  }

 private:
  static constexpr std::align_val_t alignment{64};  // one AVX-512 vector and one cache line
  static constexpr std::size_t slack = 64;          // what a vector or a padded step may read behind the end

  struct Release {
    Release() : capacity(0) {}  // a default initializer would make unique_ptr's constructor see an incomplete class
    std::size_t capacity;
    void operator()(char* memory) const { ::operator delete(memory, alignment); }
  };
  std::unique_ptr<char, Release> memory_;
};

/// Buffers of one thread that are not in use, for the next tensor.
class BufferPool {
 public:
  Buffer take(std::size_t bytes) {
    // the last one given back is the warmest in the cache
    for (auto free = free_.rbegin(); free != free_.rend(); ++free) {
      if (free->capacity() < bytes || free->capacity() > 4 * bytes) continue;
      Buffer found = std::move(*free);
      free_.erase(std::next(free).base());
      return found;
    }
    return Buffer(bytes);
  }
  void give(Buffer buffer) { free_.push_back(std::move(buffer)); }

 private:
  std::vector<Buffer> free_;
};

}  // namespace bitcluster
