#pragma once

#include <string>
#include <string_view>

namespace bitcluster {

/// A text of a file as it may reach a terminal, on one line: control characters, marks that reorder or break a line,
/// and bytes that are not UTF-8 become \n, \t, \x1b and their like.
std::string printable(std::string_view text);

}  // namespace bitcluster
