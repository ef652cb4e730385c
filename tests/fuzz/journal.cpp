#include "harness/journal/journal.hpp"

#include <array>
#include <stdexcept>

#include "tests/fuzz/target.hpp"

// The journal of a study, as a kill or a bad disk may leave it.
namespace bitcluster::fuzz {
namespace {

namespace fs = std::filesystem;

Key key_of(std::int64_t number) { return KeyBuilder().add("result").add(number).key(); }

std::vector<std::string> seeds(const fs::path& folder) {
  const std::string output = folder / "seed.h5";
  std::vector<std::string> files;
  {
    Journal journal(output, "me", false);
    for (int number = 0; number < 4; ++number) {
      journal.append(key_of(number), std::vector<std::byte>(std::size_t(number) * 7, std::byte(number)));
      files.push_back(read_file(Journal::path_of(output)));
    }
  }
  return files;
}

/// What could be read is there, and goes on.
void run(const std::string& input, const fs::path& folder) {
  const std::string output = folder / "out.h5";
  write_file(Journal::path_of(output), input);
  constexpr std::array<std::byte, 3> payload{};
  const Key added = key_of(-1);
  std::size_t found;
  {
    Journal journal(output, "me", true);
    found = journal.size();
    journal.find(key_of(1), 7);
    if (journal.find(added)) return;
    journal.append(added, payload);
  }
  const Journal again(output, "me", true);
  if (again.size() != found + 1 || !again.find(added, payload.size()) || again.bytes_left_out() != 0) {
    throw std::logic_error("a record that was appended is not there");
  }
}

}  // namespace

const Target journal{"journal", seeds, run};

}  // namespace bitcluster::fuzz
