#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace bitcluster {

/// How one image was classified.
struct ImageScore {
  std::uint8_t top1 = 0;     //!< 1 if the label has the highest logit (ties: lowest class index wins)
  std::uint8_t top5 = 0;     //!< 1 if the label is among the five highest
  std::uint16_t output = 0;  //!< which logit is the highest, at most 65535; between the others it costs no memory
  float cross_entropy = 0;   //!< [nat]
};

/// logits: (labels.size(), classes); scores: (labels.size()).
void score(std::span<const float> logits, std::span<const std::int32_t> labels, int classes,
           std::span<ImageScore> scores);

/// Means over images, summed in image order.
struct Accuracy {
  int images = 0;
  double top1 = 0, top5 = 0;  //!< fractions
  double cross_entropy = 0;   //!< [nat]
};
Accuracy summarize(std::span<const ImageScore> scores);

/// 97.5 % quantile of the normal distribution.
inline constexpr double normal_quantile = 1.959963984540054;

/// Paired loss of top-1 accuracy on the same images, before minus after, with a 95 % interval.
struct PairedLoss {
  double loss = 0;           //!< fraction, positive when `after` is worse
  double low = 0, high = 0;  //!< 95 % interval of Agresti and Min (2005), adjusted Wald for matched pairs
};
PairedLoss paired_loss(std::span<const ImageScore> before, std::span<const ImageScore> after);

/// The loss that can be told from none on the images of an interval: half its width.
inline double resolvable_loss(const PairedLoss& loss) { return (loss.high - loss.low) / 2; }

/// How many images of the kind would resolve a loss of `wanted`, where `images` resolve `resolvable`.
double images_to_resolve(double wanted, double resolvable, int images);

/// Whether a paired loss is at most `budget`: its upper end if `confident`, else the loss itself.
inline bool is_within(const PairedLoss& loss, double budget, bool confident) {
  return (confident ? loss.high : loss.loss) <= budget;
}

/// Whether the paired loss on all of `before` will not be within the budget, judged by the first images of `after`, a
/// random sample. Surely so if it would not be even if every image to come were won. Else by the lower end of a
/// one-sided 99.9 % interval for the loss (adjusted Wald for matched pairs as above, with the correction for a finite
/// population): of assignments that would be within the budget, at most one in 1000 is given up by one look.
bool will_exceed(std::span<const ImageScore> before, std::span<const ImageScore> first_after, double budget,
                 bool confident);

}  // namespace bitcluster
