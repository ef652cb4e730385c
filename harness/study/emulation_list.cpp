#include "harness/study/emulation_list.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "host/base/error.hpp"
#include "host/emulation/design.hpp"

namespace bitcluster {

const Accelerator* find_design(const std::vector<Accelerator>& accelerators, std::string_view design) {
  const auto found = std::find_if(accelerators.begin(), accelerators.end(),
                                  [&](const Accelerator& accelerator) { return accelerator.design->name == design; });
  return found == accelerators.end() ? nullptr : &*found;
}

void EmulationList::add(EmulationRow row, EmulationTask task, int images) {
  constexpr std::size_t most_tasks = std::size_t(1) << 25;  // a task and its result take 300 bytes, all of them 10 GB
  const bool by_image = task.accelerator->design->looks_at_activations();
  if (tasks.size() + std::size_t(by_image ? images : 1) > most_tasks) {
    throw Error(fmt::format("'{}' cannot be emulated on {} images", row.model, images),
                fmt::format("layers, accelerators and images together are more than {} tasks", most_tasks),
                "take fewer images (`images` in [emulation]), or fewer accelerators at once");
  }
  row.images = images;
  task.row = rows.size();
  rows.push_back(std::move(row));
  if (by_image) {
    for (task.image = 0; task.image < images; ++task.image) tasks.push_back(task);
  } else {
    task.images = images;
    tasks.push_back(task);
  }
}

void EmulationList::add(const std::string& model, int index, const std::vector<std::string>& layers, const Basis& basis,
                        const Accelerator& accelerator, const NamedAssignment& assignment, int images) {
  for (int layer = 0; layer < int(layers.size()); ++layer) {
    add({.model = model,
         .assignment = assignment.name,
         .basis = basis.name,
         .accelerator = accelerator.name,
         .layer = layers[layer]},
        {.model = index, .accelerator = &accelerator, .layer = layer, .choice = assignment.choices[layer]}, images);
  }
}

void add_study(const std::string& model, int index, const std::vector<std::string>& layers,
               const std::vector<Basis>& bases, const NamedAssignment& plain, std::span<const NamedAssignment> found,
               int images, EmulationList& list) {
  for (const Basis& basis : bases) {
    for (const Accelerator& accelerator : basis.accelerators) {
      const std::string_view design = accelerator.design->name;
      const bool runs_plain = std::ranges::none_of(preparations(), [&](const Preparation* preparation) {
        return preparation->exclusive && preparation->design == design;
      });
      if (runs_plain) list.add(model, index, layers, basis, accelerator, plain, images);
      for (const NamedAssignment& assignment : found) {
        if (assignment.preparation->design == design) {
          list.add(model, index, layers, basis, accelerator, assignment, images);
        }
      }
    }
  }
}

EmulationWork::EmulationWork(const EmulationList& list, std::vector<std::size_t> order, std::span<const double> costs,
                             Emulate emulate, Journal* journal, const MakeKey& key)
    : list_(list), order_(std::move(order)), emulate_(std::move(emulate)), journal_(journal) {
  for (const std::size_t i : order_) {
    traits_.push_back({costs[i]});
    if (journal_) keys_.push_back(key(list.tasks[i]));
  }
}

TaskList EmulationWork::tasks() const {
  TaskList list;
  list.tasks = long(order_.size());
  list.traits = traits_;
  list.work = [this](long index) {
    const LayerEmulation emulation = emulate_(list_.tasks[order_[index]]);
    Payload payload(sizeof emulation);
    std::memcpy(payload.data(), &emulation, sizeof emulation);
    return payload;
  };
  if (!journal_) return list;
  list.find = [this](long index) -> std::optional<Payload> {
    const auto found = journal_->find(keys_[index], sizeof(LayerEmulation));
    if (!found) return std::nullopt;
    return Payload(found->begin(), found->end());
  };
  list.keep = [this](long index, const Payload& payload) { journal_->append(keys_[index], payload); };
  return list;
}

std::vector<LayerEmulation> EmulationWork::sums(const std::vector<Payload>& payloads) const {
  std::vector<LayerEmulation> emulations(order_.size());
  for (std::size_t i = 0; i < order_.size(); ++i) {
    if (payloads[i].size() != sizeof(LayerEmulation)) {
      throw Error("the result of an emulation cannot be read",
                  fmt::format("it has {} bytes instead of {}", payloads[i].size(), sizeof(LayerEmulation)),
                  "delete the journal beside the output, which another program may have written, and begin anew");
    }
    std::memcpy(&emulations[order_[i]], payloads[i].data(), sizeof(LayerEmulation));
  }
  std::vector<LayerEmulation> sums(list_.rows.size());
  for (std::size_t i = 0; i < list_.tasks.size(); ++i) {  // the images of a row are in their order
    for (int image = 0; image < list_.tasks[i].images; ++image) sums[list_.tasks[i].row] += emulations[i];
  }
  return sums;
}

}  // namespace bitcluster
