#pragma once

#include "host/results/table.hpp"

namespace bitcluster {

// Columns that several tables of rows.hpp have.

template <class Row>
auto model_column() {
  return Column{&Row::model, "model", "none", "name of the network"};
}
template <class Row>
auto layer_column() {
  return Column{&Row::layer, "layer", "none", "name of the layer with weights, as the model file gives it"};
}
template <class Row>
auto assignment_column() {
  return Column{
      &Row::assignment, "assignment", "none",
      "which weights: float (unquantized), integer (8 bit, all bits), M-BC (BitCluster, one number of terms for "
      "the model), L-BC (BitCluster, terms chosen layer by layer), or another preparation by its name"};
}
template <class Row>
auto basis_column() {
  return Column{&Row::basis, "basis", "none",
                "what is equal between the designs: throughput (arrays as described, whose dense_products_per_cycle of "
                "/accelerators should be equal) or area "
                "(every array resized to the area of BitCluster's)"};
}
template <class Row>
auto accelerator_column() {
  return Column{&Row::accelerator, "accelerator", "none", "name of the accelerator in its description"};
}
template <class Row>
auto bits_column() {
  return Column{&Row::bits, "bits", "bit", "width of the layer's weights, sign included"};
}
template <class Row>
auto encoding_column() {
  return Column{&Row::encoding, "encoding", "none",
                "how a magnitude is written in powers of two: binary or signed_digit"};
}
template <class Row>
auto rounding_column() {
  return Column{&Row::rounding, "rounding", "none",
                "how weights came to allowed magnitudes: nearest, or compensated for what rounding changes"};
}
template <class Row>
auto terms_column() {
  return Column{&Row::terms, "terms", "1", "terms per weight, N of BitCluster(N); 0: all bits are kept"};
}
template <class Row>
auto terms_mean_column() {
  return Column{&Row::terms_mean, "terms_mean", "1",
                "mean terms per weight that hardware spends: N of BitCluster, else the mean of the effectual bits"};
}
template <class Row>
auto terms_per_product_column() {
  return Column{
      &Row::terms_per_product, "terms_per_product", "1",
      "mean terms that hardware spends per product of an image: terms of weights, each as often as it is used"};
}
template <class Row>
auto budget_column() {
  return Column{&Row::budget, "budget", "1",
                "loss of top-1 accuracy that the assignment's search allows; NaN: not searched for"};
}
template <class Row>
auto split_column() {
  return Column{&Row::split, "split", "none", "name of the split of the data"};
}
template <class Row>
auto images_column() {
  return Column{&Row::images, "images", "1", "number of images evaluated"};
}
template <class Row>
auto top1_column() {
  return Column{&Row::top1, "top1", "1", "fraction of images whose label has the highest logit"};
}
template <class Row>
auto cross_entropy_column() {
  return Column{&Row::cross_entropy, "cross_entropy", "nat", "mean cross entropy over the images"};
}
template <class Row>
auto loss_column() {
  return Column{&Row::loss, "loss", "1",
                "loss of top-1 accuracy against the float network on the same images, positive: worse"};
}
template <class Row>
auto loss_low_column() {
  return Column{&Row::loss_low, "loss_low", "1", "lower end of the paired 95 % interval of loss"};
}
template <class Row>
auto loss_high_column() {
  return Column{&Row::loss_high, "loss_high", "1", "upper end of the paired 95 % interval of loss"};
}

}  // namespace bitcluster
