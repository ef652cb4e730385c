#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "harness/journal/journal.hpp"
#include "harness/ranks/ranks.hpp"
#include "harness/study/candidate_weights.hpp"
#include "host/emulation/emulator.hpp"
#include "host/results/rows.hpp"

namespace bitcluster {

/// The accelerators of one comparison.
struct Basis {
  std::string name;
  std::vector<Accelerator> accelerators;
};

/// The first accelerator of a design, by its name; null without any.
const Accelerator* find_design(const std::vector<Accelerator>& accelerators, std::string_view design);

/// One layer on one accelerator.
struct EmulationTask {
  std::size_t row = 0;  //!< of EmulationList
  int model = 0;        //!< of those that are emulated together
  const Accelerator* accelerator = nullptr;
  int layer = 0;                  //!< weighted
  int choice = reference_choice;  //!< of its weights
  int image = -1;                 //!< whose activations it looks at; -1: none
  int images = 1;                 //!< that it stands for
};

/// What is to be emulated: rows of /emulation, without their numbers, and the tasks that add up to them.
struct EmulationList {
  std::vector<EmulationRow> rows;
  std::vector<EmulationTask> tasks;

  /// One row: a layer with some weights on an accelerator, on so many images. Without a look at activations one image
  /// stands for all. `task` says of what, all but row and images. Error if that would be more tasks than fit a node.
  void add(EmulationRow row, EmulationTask task, int images);

  /// All layers of a model (their names) on an accelerator, with weights as an assignment has them.
  void add(const std::string& model, int index, const std::vector<std::string>& layers, const Basis& basis,
           const Accelerator& accelerator, const NamedAssignment& assignment, int images);
};

/// What a study emulates of one model: every design with plain weights, if it runs them, and with the assignments found
/// whose preparations are for it.
void add_study(const std::string& model, int index, const std::vector<std::string>& layers,
               const std::vector<Basis>& bases, const NamedAssignment& plain, std::span<const NamedAssignment> found,
               int images, EmulationList& list);

/// A list as tasks of all ranks, with a journal if there is one.
class EmulationWork {
 public:
  using Emulate = std::function<LayerEmulation(const EmulationTask& task)>;
  using MakeKey = std::function<Key(const EmulationTask& task)>;

  /// order: of the list's tasks; costs: of the tasks, in products, for the scheduler. journal: on the root, null
  /// without; key names a task's result there.
  EmulationWork(const EmulationList& list, std::vector<std::size_t> order, std::span<const double> costs,
                Emulate emulate, Journal* journal = nullptr, const MakeKey& key = {});

  /// What it refers to must outlive it.
  TaskList tasks() const;

  /// The sum of every row, over the images in their order, from the results of tasks(). (rows)
  std::vector<LayerEmulation> sums(const std::vector<Payload>& payloads) const;

 private:
  const EmulationList& list_;
  std::vector<std::size_t> order_;
  std::vector<TaskTraits> traits_;  // in this order, as the keys
  Emulate emulate_;
  Journal* journal_;
  std::vector<Key> keys_;
};

}  // namespace bitcluster
