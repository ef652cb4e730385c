#pragma once

#include <string>

namespace bitcluster {

/// Lets another process go through all that leads to the values of an HDF5 file: groups, links, types, attributes, the
/// indices of chunks. HDF5 1.10 believes what it finds there, and dies, writes where it must not or never ends on some
/// damaged files. Error, with a message that begins with what_is_wrong, if it does.
void try_hdf5(const std::string& path, const std::string& what_is_wrong);

}  // namespace bitcluster
