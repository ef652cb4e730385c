#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda/quantize.hpp"
#include "cuda/quantize_kernels.cuh"
#include "cuda/runtime.cuh"
#include "host/weights/preparation.hpp"
#include "host/weights/scale_search.hpp"

namespace bitcluster {
namespace {

using namespace quantization;

template <class... Parameters>
void allow_shared(void (*kernel)(Parameters...), std::size_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
}

/// What a search reads on the device.
class DeviceSearch {
 public:
  DeviceSearch(int filters, const WeightFormat& format, std::span<const float> minimum_scales, cudaStream_t stream)
      : filters_(filters), per_channel_(format.per_channel), stream_(stream) {
    const ScaleSearch plan = format.preparation->scale_search(format);
    search_ = {int(plan.tables.size()), {}, plan.highest, candidate_factors()};
    std::vector<std::uint32_t> tables;
    for (int i = 0; i < search_.tables; ++i) {
      search_.lasts[i] = plan.tables[i].last();
      for (const double magnitude : plan.tables[i].nearest) {
        tables.push_back(std::uint32_t(__builtin_bit_cast(std::uint64_t, magnitude) >> 32));
      }
    }
    values_at_ = tables.size();
    for (const double magnitude : plan.values.nearest) tables.push_back(std::uint32_t(magnitude));
    tables_ = DeviceArray<std::uint32_t>(tables.data(), tables.size(), stream);
    minimums_ = least_scales(filters, format, minimum_scales);
    device_minimums_ = DeviceArray<float>(minimums_.data(), minimums_.size(), stream);
  }

  /// Blocking; throws reject_not_finite()'s Error. weights, values: (filters, size) on the device.
  std::vector<float> run(const DeviceArray<float>& weights, const DeviceArray<std::int16_t>& values) const {
    return per_channel_ ? run_filters(weights, values) : run_tensor(weights, values);
  }

 private:
  int longest_table() const {
    return 1 + (search_.tables > 1 ? std::max(search_.lasts[0], search_.lasts[1]) : search_.lasts[0]);
  }
  int shared_entries() const { return longest_table() <= shared_table_entries ? longest_table() : 0; }

  /// A weight costs 4 bytes read and 2 written (again 4 from the caches for every pass where a filter has more than
  /// chunk_weights weights), and per candidate some 11 instructions, 4 of them double operations at half speed; for
  /// 160 + 16 candidates (twice that for signed digits) 1900. An H200 reads and writes 4.8 TB/s, 800 G weights/s, and
  /// issues 132 x 4 warp instructions per cycle of 1.8 GHz, 30 T/s of threads, 15 G weights/s: arithmetic binds, by a
  /// factor of 50. That is what PCIe 5 x16 (64 GB/s) brings from the host. Sorted weights with prefix sums would take
  /// far fewer operations for few terms, but not for plain integers, and lose small errors in differences.
  std::vector<float> run_filters(const DeviceArray<float>& weights, const DeviceArray<std::int16_t>& values) const {
    const std::size_t size = weights.size() / filters_;
    const Arrays arrays(size);
    const std::size_t bytes = arrays.bytes(shared_entries());
    const auto kernel = shared_entries() > 0 ? quantize_filters<true> : quantize_filters<false>;
    allow_shared(kernel, bytes);
    const DeviceArray<float> device_scales(filters_, stream_);
    launch(kernel, filters_, threads, bytes, stream_, weights.data(), size, tables_.data(), device_minimums_.data(),
           values.data(), device_scales.data(), search_, arrays);
    std::vector<float> scales(filters_);
    check(cudaMemcpyAsync(scales.data(), device_scales.data(), filters_ * sizeof(float), cudaMemcpyDeviceToHost,
                          stream_));
    check(cudaStreamSynchronize(stream_));
    for (const float scale : scales) {
      if (std::isnan(scale)) reject_not_finite();
    }
    return scales;
  }

  /// The same operations, with a block per chunk; every stage reads the weights again. The last stage repeats until
  /// the host sees its end.
  std::vector<float> run_tensor(const DeviceArray<float>& weights, const DeviceArray<std::int16_t>& values) const {
    const std::size_t size = weights.size(), chunks = blocks_of(size, chunk_weights);
    const DeviceArray<State> device_state(1, stream_);
    check(cudaMemsetAsync(device_state.data(), 0, sizeof(State), stream_));
    State state{};
    const auto read_state = [&] {
      check(cudaMemcpyAsync(&state, device_state.data(), sizeof state, cudaMemcpyDeviceToHost, stream_));
      check(cudaStreamSynchronize(stream_));
    };
    const unsigned most_blocks = 1024;  // enough for every GPU; each ends with one atomic operation per warp
    if (size > 0) {
      launch(find_largest, std::min(blocks_of(size, 256), most_blocks), 256, 0, stream_, weights.data(), size,
             device_state.data());
    }
    read_state();
    if (state.largest >= infinity_bits) reject_not_finite();
    float scale = minimums_[0] > 0 ? minimums_[0] : 1;
    if (state.largest > 0) {
      const DeviceArray<double> sums(chunks * coarse_width, stream_);
      const Arrays arrays(size);
      const std::size_t bytes = arrays.bytes(shared_entries());
      const auto kernel = shared_entries() > 0 ? sum_chunks<true> : sum_chunks<false>;
      allow_shared(kernel, bytes);
      const std::uint32_t* table = tables_.data();
      for (int i = 0; i < search_.tables; table += search_.lasts[i++] + 1) {
        const auto run_stage = [&](Stage stage) {
          launch(kernel, unsigned(chunks), threads, bytes, stream_, weights.data(), size, table, search_.lasts[i],
                 minimums_[0], stage, device_state.data(), sums.data(), search_, arrays);
          launch(choose, 1, threads, 0, stream_, sums.data(), chunks, minimums_[0], stage, device_state.data(),
                 search_);
        };
        run_stage(Stage::coarse);
        run_stage(Stage::fine);
        do {
          run_stage(Stage::fit);
          read_state();
        } while (state.at > 0);
      }
      scale = state.best.scale;
    }
    if (size > 0) {
      launch(round_weights, blocks_of(size, 256), 256, 0, stream_, weights.data(), size, scale,
             tables_.data() + values_at_, search_.lasts[search_.tables - 1], values.data());
    }
    return std::vector<float>(filters_, scale);
  }

  int filters_;
  bool per_channel_;
  cudaStream_t stream_;
  Search search_;
  DeviceArray<std::uint32_t> tables_;
  std::size_t values_at_;
  std::vector<float> minimums_;
  DeviceArray<float> device_minimums_;
};

}  // namespace

QuantizedWeights quantize_on_device(std::span<const float> weights, int filters, const WeightFormat& format,
                                    std::span<const float> minimum_scales) {
  check_quantization(weights.size(), filters, format, minimum_scales);
  const Stream stream;
  const DeviceSearch search(filters, format, minimum_scales, stream);
  const DeviceArray<float> device_weights(weights.data(), weights.size(), stream);
  const DeviceArray<std::int16_t> device_values(weights.size(), stream);
  QuantizedWeights result{format, {}, search.run(device_weights, device_values)};
  result.values.resize(weights.size());
  check(cudaMemcpyAsync(result.values.data(), device_values.data(), weights.size() * sizeof(std::int16_t),
                        cudaMemcpyDeviceToHost, stream));
  stream.wait();
  return result;
}

QuantizationTimes time_quantization(std::span<const float> weights, int filters, const WeightFormat& format) {
  check_quantization(weights.size(), filters, format, {});
  const Stream stream;
  const DeviceSearch search(filters, format, {}, stream);
  const DeviceArray<float> device_weights(weights.data(), weights.size(), stream), copy(weights.size(), stream);
  const DeviceArray<std::int16_t> device_values(weights.size(), stream);
  const auto seconds = [&](auto&& work) {
    cudaEvent_t first, last;
    check(cudaEventCreate(&first));
    check(cudaEventCreate(&last));
    check(cudaEventRecord(first, stream));
    work();
    check(cudaEventRecord(last, stream));
    check(cudaEventSynchronize(last));
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, first, last));
    cudaEventDestroy(first);
    cudaEventDestroy(last);
    return milliseconds * 1e-3;
  };
  return {seconds([&] { search.run(device_weights, device_values); }), seconds([&] {
            check(cudaMemcpyAsync(copy.data(), device_weights.data(), weights.size() * sizeof(float),
                                  cudaMemcpyDeviceToDevice, stream));
          })};
}

}  // namespace bitcluster
