#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "host/emulation/layer.hpp"
#include "host/files/hdf5.hpp"

namespace bitcluster {

/// What is known of one layer of a trace file without its values.
struct TraceLayer {
  LayerGeometry geometry;
  WeightFormat weight_format;       //!< as observed_format() finds it in the binary encoding
  int images = 0;                   //!< 0 if the file has no activations for this layer
  int activation_bits = 8;          //!< 8, or more if a value of any image needs it; the sign is one of them
  bool activations_signed = false;  //!< whether any value of any image is negative
};

/// The narrowest format that holds integer weights: bits from the largest magnitude (sign included, at least 4) and
/// terms from the largest number of terms of a weight (at least 1).
WeightFormat observed_format(std::span<const std::int16_t> weights, Encoding encoding);

/// Integer tensors from elsewhere: in every group of /layers the dataset `weights` (any integer
/// type, values within int16), optionally `activations` (one image per entry of the first axis), and the attributes
///   kind      "conv" or "fc", required
///   stride    1 or 2 integers (one for both, or h, w), default 1
///   padding   1, 2 or 4 integers (one for all; h, w; top, left, bottom, right), default 0
///   dilation  1 or 2 integers, default 1
///   groups    1 integer, default 1
///   input     2 integers (h, w), for a conv layer without activations, whose map size is else unknown.
/// Texts have a fixed length (numpy.bytes_("conv") in h5py). A layer has at most 2^20 images, a tensor and an output at
/// most 2^33 values, an input with its padding at most 2^28 or four times those without.
/// At most the weights of one layer and the activations of one image are in memory. HDF5 need not be thread safe: only
/// one thread of a process may use this.
class Trace {
 public:
  /// Checks the whole file, every value included. Error for anything else than the above, naming file and layer.
  explicit Trace(const std::string& path);

  const std::vector<TraceLayer>& layers() const { return layers_; }  //!< in the order of their names

  /// Reads the tensors of one image (without activations there is only image 0), weights only if the last call asked
  /// for another layer. They hold until the next call. Error if they cannot be read, naming file, layer and dataset.
  LayerTensors tensors(int layer, int image = 0);

 private:
  std::string path_;
  Hdf5Id file_;
  std::vector<TraceLayer> layers_;
  int latest_layer_ = -1, latest_image_ = -1;
  std::vector<std::int16_t> weights_;      // of latest_layer_
  std::vector<std::int16_t> activations_;  // of latest_image_, (channels, h, w), unpadded
};

}  // namespace bitcluster
