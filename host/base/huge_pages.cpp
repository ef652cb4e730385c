// Large blocks of memory on huge pages. A network's weights, a split's images and an accelerator's tensors are
// gigabytes that are used for a short time; the kernel hands out every 4 KiB page of them at first touch, which costs
// 11 us on the virtual machine of analysis/benchmarks.md, and huge pages need few TLB entries. Linux gives them to
// those that ask, where transparent_hugepage is madvise; elsewhere nothing changes.

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

constexpr std::size_t huge_page = std::size_t(2) << 20;  // of x86-64; elsewhere the request may be in vain

/// Blocks that begin on a huge page of their own; at least two, so that little is lost to the alignment.
constexpr std::size_t large = 2 * huge_page;

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (bytes >= large && alignment < huge_page) alignment = huge_page;
  for (;;) {
    void* memory = nullptr;
    if (alignment > alignof(std::max_align_t)) {
      if (posix_memalign(&memory, alignment, bytes) != 0) memory = nullptr;
    } else {
      memory = std::malloc(bytes > 0 ? bytes : 1);
    }
    if (memory) {
      // whole pages only: a part of one would cost memory that nobody asked for
      if (bytes >= large) madvise(memory, bytes / huge_page * huge_page, MADV_HUGEPAGE);
      return memory;
    }
    const std::new_handler handler = std::get_new_handler();
    if (!handler) throw std::bad_alloc();
    handler();
  }
}

}  // namespace

// All other forms of new and delete end in these.
void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return allocate(bytes, std::size_t(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
