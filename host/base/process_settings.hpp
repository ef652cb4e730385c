#pragma once

namespace bitcluster {

/// Libraries read some settings only when a program starts. The first thing in main(), this starts the program anew
/// with those that are not set yet; where that is not possible, nothing changes.
///
/// Large blocks of memory lie on huge pages: a network's weights, a split's images and an accelerator's tensors are
/// gigabytes that are used for a short time; the kernel hands out every 4 KiB page of them at first touch, which costs
/// 11 us on the virtual machine of analysis/benchmarks.md, and huge pages need few TLB entries. Linux gives them to
/// those that ask, where transparent_hugepage is madvise, and glibc asks where its tunable glibc.malloc.hugetlb is 1
/// (since 2.35).
///
/// Threads that wait for others soon sleep: GNU OpenMP's spin for milliseconds otherwise, and where other processes use
/// some of the cores, those that are waited for do not run meanwhile. With one such process on two cores, `evaluate
/// --rounding compensated` of a small network took 230 s instead of 5; now it takes 12, and 5 without it, as before.
void restart_with_settings(char** arguments);

}  // namespace bitcluster
