#include "harness/program/results_output.hpp"

#include <ctime>

#include "harness/program/version.hpp"
#include "host/files/posix_file.hpp"
#include "host/results/file.hpp"

namespace bitcluster {
namespace {

std::string now() {
  const std::time_t time = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&time));
  return text;
}

}  // namespace

Results start_results(const Ranks& ranks, const std::string& output, const std::string& backend) {
  if (ranks.root() && !output.empty()) check_writable(output);
  Results results;
  results.provenance.program_version = program_version;
  results.provenance.git_commit = git_commit;
  results.provenance.date = now();
  results.provenance.ranks = ranks.size();
  results.provenance.devices = ranks.gather(ranks.host() + ": " + backend);
  return results;
}

void finish_results(const Ranks& ranks, const std::string& output, const Results& results) {
  if (ranks.root() && !output.empty()) write_results(output, results);
}

}  // namespace bitcluster
