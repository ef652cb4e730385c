#include "host/results/summary.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

namespace bitcluster {
namespace {

/// What one emulation, or the sum of several, took per image.
struct Totals {
  double cycles = 0, compute_cycles = 0, energy_pj = 0;
  double slots = 0, useful = 0;
  double idle_edge = 0, idle_lane = 0, idle_row_column = 0, idle_null_term = 0, idle_memory = 0;

  static Totals per_image(const EmulationRow& row) {
    const auto part = [&](auto sum) { return double(sum) / double(row.images); };
    return {part(row.cycles),         part(row.compute_cycles), part(row.energy_pj), part(row.slots),
            part(row.useful),         part(row.idle_edge),      part(row.idle_lane), part(row.idle_row_column),
            part(row.idle_null_term), part(row.idle_memory)};
  }

  Totals& operator+=(const Totals& other) {
    cycles += other.cycles;
    compute_cycles += other.compute_cycles;
    energy_pj += other.energy_pj;
    slots += other.slots;
    useful += other.useful;
    idle_edge += other.idle_edge;
    idle_lane += other.idle_lane;
    idle_row_column += other.idle_row_column;
    idle_null_term += other.idle_null_term;
    idle_memory += other.idle_memory;
    return *this;
  }

  double share(double part) const { return slots > 0 ? part / slots : not_available; }
};

/// One model with one assignment on one accelerator, over its layers.
struct Emulated {
  std::string model, basis, assignment, accelerator;
  Totals totals;
  double clock_ghz = 1;
};

double clock_of(const Results& results, const EmulationRow& emulated) {
  for (const AcceleratorRow& row : results.accelerators) {
    if (row.basis == emulated.basis && row.accelerator == emulated.accelerator) return row.clock_ghz;
  }
  return not_available;
}

std::vector<Emulated> total_emulation(const Results& results) {
  std::vector<Emulated> all;
  std::map<std::array<std::string, 4>, std::size_t> places;
  for (const EmulationRow& row : results.emulation) {
    const auto [place, is_new] =
        places.try_emplace({row.model, row.basis, row.assignment, row.accelerator}, all.size());
    if (is_new) all.push_back({row.model, row.basis, row.assignment, row.accelerator, {}, clock_of(results, row)});
    all[place->second].totals += Totals::per_image(row);
  }
  return all;
}

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

double ratio(double numerator, double denominator) {
  return denominator > 0 && numerator > 0 ? numerator / denominator : not_available;
}

Advantage advantage(const Emulated& of_bitcluster, const Emulated& of_other) {
  const Totals &bitcluster = of_bitcluster.totals, &other = of_other.totals;
  const auto speedup = [&](double other_cycles, double cycles) {
    return ratio(other_cycles / of_other.clock_ghz, cycles / of_bitcluster.clock_ghz);
  };
  return {.speedup = speedup(other.cycles, bitcluster.cycles),
          .compute_speedup = speedup(other.compute_cycles, bitcluster.compute_cycles),
          .energy_ratio = ratio(other.energy_pj, bitcluster.energy_pj),
          .utilisation_ratio = ratio(bitcluster.share(bitcluster.useful), other.share(other.useful))};
}

/// Geometric mean of what is available.
class GeometricMean {
 public:
  void add(double value) {
    if (!std::isfinite(value)) return;
    logarithms_ += std::log(value);
    ++count_;
  }
  double value() const { return count_ > 0 ? std::exp(logarithms_ / count_) : not_available; }

 private:
  double logarithms_ = 0;
  int count_ = 0;
};

struct MeanAdvantage {
  GeometricMean speedup, compute_speedup, energy_ratio, utilisation_ratio;

  void add(const Advantage& of_model) {
    speedup.add(of_model.speedup);
    compute_speedup.add(of_model.compute_speedup);
    energy_ratio.add(of_model.energy_ratio);
    utilisation_ratio.add(of_model.utilisation_ratio);
  }
  Advantage value() const {
    return {speedup.value(), compute_speedup.value(), energy_ratio.value(), utilisation_ratio.value()};
  }
};

/// Over the models.
struct Mean {
  Emulated all_models;
  MeanAdvantage m_bc, l_bc;
};

Mean& mean_of(std::vector<Mean>& means, const Emulated& one) {
  const auto found = std::find_if(means.begin(), means.end(), [&](const Mean& mean) {
    return mean.all_models.basis == one.basis && mean.all_models.assignment == one.assignment &&
           mean.all_models.accelerator == one.accelerator;
  });
  if (found != means.end()) return *found;
  return means.emplace_back(Mean{{geometric_mean_name, one.basis, one.assignment, one.accelerator, {}}, {}, {}});
}

/// The evaluations on the test split, in order.
struct Evaluated {
  std::vector<std::string> models, assignments;
  std::map<std::pair<std::string, std::string>, const EvaluationRow*> rows;  // (model, assignment); the last counts

  Evaluated(const std::vector<EvaluationRow>& evaluations, const std::string& test_split) {
    for (const EvaluationRow& row : evaluations) {
      if (row.split != test_split) continue;
      add_once(models, row.model);
      add_once(assignments, row.assignment);
      rows[{row.model, row.assignment}] = &row;
    }
  }

  const EvaluationRow* find(const std::string& model, const std::string& assignment) const {
    const auto found = rows.find({model, assignment});
    return found == rows.end() ? nullptr : found->second;
  }
};

SummaryRow start_row(const Emulated& names) {
  return {.model = names.model, .basis = names.basis, .assignment = names.assignment, .accelerator = names.accelerator};
}

void set_accuracy(SummaryRow& row, const Evaluated& evaluated) {
  if (const EvaluationRow* reference = evaluated.find(row.model, "float")) row.float_top1 = reference->top1;
  const EvaluationRow* own = evaluated.find(row.model, row.assignment);
  if (!own) return;
  row.top1 = own->top1;
  row.loss = own->loss;
  row.loss_low = own->loss_low;
  row.loss_high = own->loss_high;
  row.terms_mean = own->terms_mean;
  row.terms_per_product = own->terms_per_product;
  row.budget = own->budget;
  row.within_budget = own->within_budget;
}

void set_shares(SummaryRow& row, const Totals& totals) {
  row.utilisation = totals.share(totals.useful);
  row.idle_edge = totals.share(totals.idle_edge);
  row.idle_lane = totals.share(totals.idle_lane);
  row.idle_row_column = totals.share(totals.idle_row_column);
  row.idle_null_term = totals.share(totals.idle_null_term);
  row.idle_memory = totals.share(totals.idle_memory);
}

/// Of one model on one accelerator. emulated: of all models, which BitCluster's side is looked up in.
SummaryRow emulated_row(const Emulated& one, const Evaluated& evaluated, const std::vector<Emulated>& emulated) {
  SummaryRow row = start_row(one);
  set_accuracy(row, evaluated);
  row.cycles = one.totals.cycles;
  row.compute_cycles = one.totals.compute_cycles;
  row.energy_pj = one.totals.energy_pj;
  set_shares(row, one.totals);
  const auto against = [&](const char* assignment) -> Advantage {
    const auto bitcluster = std::find_if(emulated.begin(), emulated.end(), [&](const Emulated& other) {
      return other.model == one.model && other.basis == one.basis && other.assignment == assignment;
    });
    return bitcluster == emulated.end() ? Advantage() : advantage(*bitcluster, one);
  };
  row.m_bc = against("M-BC");
  row.l_bc = against("L-BC");
  return row;
}

}  // namespace

void summarize(Results& results, const std::string& test_split) {
  const Evaluated evaluated(results.evaluations, test_split);
  const std::vector<Emulated> emulated = total_emulation(results);
  std::vector<std::string> models = evaluated.models;
  for (const Emulated& one : emulated) add_once(models, one.model);

  results.summary.clear();
  std::vector<Mean> means;  // in the order of the emulation
  for (const std::string& model : models) {
    for (const Emulated& one : emulated) {
      if (one.model != model) continue;
      const SummaryRow& row = results.summary.emplace_back(emulated_row(one, evaluated, emulated));
      Mean& mean = mean_of(means, one);
      mean.all_models.totals += one.totals;
      mean.m_bc.add(row.m_bc);
      mean.l_bc.add(row.l_bc);
    }
    for (const std::string& assignment : evaluated.assignments) {
      const bool has_row = std::any_of(emulated.begin(), emulated.end(), [&](const Emulated& one) {
        return one.model == model && one.assignment == assignment;
      });
      if (assignment == "float" || has_row || !evaluated.find(model, assignment)) continue;
      set_accuracy(results.summary.emplace_back(start_row({model, "", assignment, "", {}})), evaluated);
    }
  }
  for (const Mean& mean : means) {
    SummaryRow& row = results.summary.emplace_back(start_row(mean.all_models));
    set_shares(row, mean.all_models.totals);
    row.m_bc = mean.m_bc.value();
    row.l_bc = mean.l_bc.value();
  }
}

}  // namespace bitcluster
