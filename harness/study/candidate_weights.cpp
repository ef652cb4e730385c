#include "harness/study/candidate_weights.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "host/base/error.hpp"

namespace bitcluster {

CandidateWeights::CandidateWeights(const PreparedModel& model, const Config& config)
    : model_(&model), reference_(config.reference) {
  for (const Config::Candidates& candidates : config.search.candidates) {
    formats_.insert(formats_.end(), candidates.formats.begin(), candidates.formats.end());
  }
  listed_ = int(formats_.size());
}

NamedAssignment CandidateWeights::given(std::string name, std::span<const WeightFormat> formats,
                                        const std::string& source) {
  NamedAssignment assignment{.name = std::move(name), .choices = {}, .preparation = nullptr};
  for (const WeightFormat& format : formats) {
    if (format == reference_) {
      assignment.choices.push_back(reference_choice);
      continue;
    }
    auto place = std::ranges::find(formats_, format);
    if (place == formats_.end()) place = formats_.insert(place, format);
    assignment.choices.push_back(int(place - formats_.begin()));
    assignment.preparation = format.preparation;
  }
  if (assignment.preparation) return assignment;
  throw Error(fmt::format("cannot use assignment '{}'", source), "all its layers keep the plain integer weights",
              "give one layer at least another preparation");
}

const WeightFormat& CandidateWeights::format(int choice) const {
  return choice == reference_choice ? reference_ : formats_[choice];
}

std::string CandidateWeights::name_of(int candidate) const {
  const WeightFormat& own = formats_[candidate];
  const auto differs = [&](auto member) {
    return std::any_of(formats_.begin(), formats_.begin() + listed_, [&](const WeightFormat& other) {
      return other.preparation == own.preparation && other.*member != own.*member;
    });
  };
  std::string name = fmt::format("N={}", own.terms);
  if (differs(&WeightFormat::encoding)) name += fmt::format(" {}", to_string(own.encoding));
  if (differs(&WeightFormat::bits)) name += fmt::format(" {} bit", own.bits);
  return name;
}

void CandidateWeights::prepare(std::span<const int> candidates, const std::function<void()>& layer_done) {
  int weighted = 0;
  const auto prepare_layer = [&](const Quantizer& compensated) {
    for (const int candidate : candidates) {
      const WeightFormat& format = formats_[candidate];
      weights_[{weighted, candidate}] = std::make_shared<const QuantizedWeights>(
          quantize_layer(*model_->integer(), model_->layers()[weighted], format,
                         format.rounding == Rounding::nearest ? model_->quantizer() : compensated));
    }
    ++weighted;
    layer_done();
  };
  if (std::ranges::any_of(candidates, [&](int one) { return formats_[one].rounding == Rounding::compensated; })) {
    model_->compensate_layers(prepare_layer);
  } else {
    for (std::size_t layer = 0; layer < model_->layers().size(); ++layer) prepare_layer({});
  }
}

const std::shared_ptr<const QuantizedWeights>& CandidateWeights::shared(int weighted, int candidate) const {
  const auto found = weights_.find({weighted, candidate});
  if (found != weights_.end()) return found->second;
  throw Error("the weights of layer '" + model_->layer_name(weighted) + "' cannot be used",
              "they were not prepared in the format that is asked for", "report this as an error of the program");
}

const QuantizedWeights& CandidateWeights::of(int weighted, int choice) const {
  return choice == reference_choice ? model_->integer()->weights[model_->layers()[weighted]]
                                    : *shared(weighted, choice);
}

Variant CandidateWeights::variant(const Assignment& choices) const {
  Variant variant;
  for (int i = 0; i < int(choices.size()); ++i) {
    if (choices[i] != reference_choice) variant.push_back({model_->layers()[i], shared(i, choices[i])});
  }
  return variant;
}

MeanTerms CandidateWeights::mean_terms(const Assignment& choices) const {
  std::vector<const QuantizedWeights*> weights;
  for (std::size_t i = 0; i < choices.size(); ++i) weights.push_back(&of(int(i), choices[i]));
  return bitcluster::mean_terms(model_->network(), weights);
}

NamedAssignment CandidateWeights::reference() const {
  return {.name = std::string(plain_weights.name),
          .choices = Assignment(model_->layers().size(), reference_choice),
          .preparation = &plain_weights};
}

std::vector<NamedAssignment> CandidateWeights::uniform() const {
  std::vector<NamedAssignment> all;
  for (int choice = 0; choice < count(); ++choice) {
    const Preparation* preparation = formats_[choice].preparation;
    all.push_back({.name = std::string(preparation->prefix) + name_of(choice),
                   .choices = Assignment(model_->layers().size(), choice),
                   .preparation = preparation});
  }
  return all;
}

std::vector<AssignmentRow> CandidateWeights::rows(const NamedAssignment& assignment) const {
  std::vector<AssignmentRow> rows;
  for (std::size_t i = 0; i < assignment.choices.size(); ++i) {
    const WeightFormat& chosen = format(assignment.choices[i]);
    rows.push_back({.model = model_->name(),
                    .assignment = assignment.name,
                    .layer = model_->layer_name(int(i)),
                    .preparation = std::string(chosen.preparation->name),
                    .bits = chosen.bits,
                    .encoding = to_string(chosen.encoding),
                    .rounding = to_string(chosen.rounding),
                    .terms = chosen.terms,
                    .exact = chosen.exact});
  }
  return rows;
}

}  // namespace bitcluster
