#pragma once

namespace bitcluster {

/// Has large blocks of memory lie on huge pages. A network's weights, a split's images and an accelerator's tensors are
/// gigabytes that are used for a short time; the kernel hands out every 4 KiB page of them at first touch, which costs
/// 11 us on the virtual machine of analysis/benchmarks.md, and huge pages need few TLB entries. Linux gives them to
/// those that ask, where transparent_hugepage is madvise, and glibc asks where its tunable glibc.malloc.hugetlb is 1
/// (since 2.35), which it reads when a program starts: the first thing in main(), this starts the program anew with it.
/// Without glibc, or where that is not possible, nothing changes.
void use_huge_pages(char** arguments);

}  // namespace bitcluster
