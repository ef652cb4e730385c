#pragma once

#include <hdf5.h>

#include <cstdint>
#include <string>

namespace bitcluster {

/// Checks the chunks that [first, first + count) of the first dimension of a dataset lie in, if it has any. Error if
/// one was never written, which HDF5 reads as zeros without a word, or does not become as large as a chunk when its
/// filters are undone, which makes HDF5 1.10 read beyond its memory. what_is_wrong: as for hdf5_check().
void check_chunks(hid_t dataset, std::int64_t first, std::int64_t count, const std::string& what_is_wrong);

}  // namespace bitcluster
