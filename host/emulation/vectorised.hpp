#pragma once

// The hot loops are plain loops; on x86 the compiler also makes a version for AVX2 and picks one at run time. A
// function so marked stays in the file of its callers, and what it calls is inline.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BITCLUSTER_VECTORISED __attribute__((target_clones("default", "avx2")))
#else
#define BITCLUSTER_VECTORISED
#endif
