#include "host/results/results.hpp"

#include <algorithm>
#include <type_traits>

namespace bitcluster {
namespace {

/// The rows of a table are of one model each.
template <class Row>
concept OfModel = requires(const Row& row) {
  row.model;
};

}  // namespace

std::string to_string(Stage stage) { return stage_names.at(std::size_t(stage)); }

bool from_string(const std::string& name, Stage& stage) {
  const auto found = std::find(stage_names.begin(), stage_names.end(), name);
  if (found == stage_names.end()) return false;
  stage = Stage(found - stage_names.begin());
  return true;
}

std::vector<std::string> models_of(const Results& results) {
  std::vector<std::string> models;
  for_each_table([&]<class Row>(std::vector<Row> Results::*table) {
    if constexpr (OfModel<Row> && !std::is_same_v<Row, SummaryRow>) {
      for (const Row& row : results.*table) {
        if (std::find(models.begin(), models.end(), row.model) == models.end()) models.push_back(row.model);
      }
    }
  });
  return models;
}

void append_rows(Results& to, const Results& from) {
  for_each_table([&]<class Row>(std::vector<Row> Results::*table) {
    if constexpr (OfModel<Row>) (to.*table).insert((to.*table).end(), (from.*table).begin(), (from.*table).end());
  });
}

}  // namespace bitcluster
