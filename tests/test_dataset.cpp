#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <vector>

#include "tests/dataset_files.hpp"
#include "tests/expect_message.hpp"
#include "tests/shared_data.hpp"

namespace bitcluster {
namespace {

/// Byte of a made CIFAR-10 image: different for every image, channel and position.
std::uint8_t cifar_byte(int image, int channel, int position) {
  return std::uint8_t(image * 31 + channel * 101 + position);
}

Bytes cifar_records(int first, int count) {
  Bytes bytes;
  for (int i = first; i < first + count; ++i) {
    bytes.push_back(std::uint8_t(i % 10));
    for (int c = 0; c < 3; ++c) {
      for (int p = 0; p < 1024; ++p) bytes.push_back(cifar_byte(i, c, p));
    }
  }
  return bytes;
}

void expect_cifar(const Images& images, int first, bool reversed) {
  for (int i = 0; i < images.count; ++i) {
    ASSERT_EQ(images.labels[i], (first + i) % 10);
    for (int p = 0; p < 1024; ++p) {
      for (int c = 0; c < 3; ++c) {
        ASSERT_EQ(images.image(i)[p * 3 + c], cifar_byte(first + i, reversed ? 2 - c : c, p));
      }
    }
  }
}

TEST_F(DatasetFiles, ReadsCifarAcrossFiles) {
  write("a.bin", cifar_records(0, 5));
  write("b.bin", cifar_records(5, 7));
  const std::string split = "[splits.test]\nfiles = ['a.bin', 'b.bin']\nfirst = 3\ncount = 6\n";
  const Images images = load("format = 'cifar10'\n" + std::string(rgb) + split).read("test");
  EXPECT_EQ(images.split, "test");
  EXPECT_EQ(images.shape, (Shape{3, 32, 32}));
  ASSERT_EQ(images.count, 6);
  ASSERT_EQ(images.labels.size(), 6u);
  ASSERT_EQ(images.pixels(0, 6).size(), 6u * 3072);
  expect_cifar(images, 3, false);
  expect_cifar(load("format = 'cifar10'\n" + std::string(bgr) + split).read("test"), 3, true);
}

TEST_F(DatasetFiles, ReadsTheRestAndObeysTheLimit) {
  write("a.bin", cifar_records(0, 5));
  write("b.bin", cifar_records(5, 7));
  const Dataset data =
      load("format = 'cifar10'\n" + std::string(rgb) + "[splits.test]\nfiles = ['a.bin', 'b.bin']\nfirst = 7\n");
  EXPECT_EQ(data.splits(), std::vector<std::string>{"test"});
  EXPECT_EQ(data.read("test").count, 5);
  expect_cifar(data.read("test"), 7, false);
  EXPECT_EQ(data.read("test", 2).count, 2);
  EXPECT_EQ(data.read("test", 2).labels.size(), 2u);
  EXPECT_EQ(data.read("test", 100).count, 5);
}

TEST_F(DatasetFiles, SaysWhatASplitHoldsWithoutItsPixels) {
  write("a.bin", cifar_records(0, 5));
  write("b.bin", cifar_records(5, 7));
  const Dataset data = load("format = 'cifar10'\n" + std::string(rgb) +
                            "[splits.test]\nfiles = ['a.bin', 'b.bin']\nfirst = 3\ncount = 6\n");
  const SplitContents contents = data.contents("test");
  EXPECT_EQ(contents.shape, (Shape{3, 32, 32}));
  EXPECT_EQ(contents.labels, data.read("test").labels);
  EXPECT_EQ(contents.classes, 10);
  EXPECT_MESSAGE(data.contents("train"), "no such split");
}

TEST_F(DatasetFiles, RejectsBadCifarFiles) {
  write("a.bin", cifar_records(0, 5));
  Bytes cut = cifar_records(0, 2);
  cut.pop_back();
  write("cut.bin", cut);
  const auto with = [&](const std::string& split) {
    return load("format = 'cifar10'\n" + std::string(rgb) + "[splits.test]\n" + split);
  };
  EXPECT_MESSAGE(with("files = ['none.bin']").read("test"), "none.bin': there is no such file");
  EXPECT_MESSAGE(with("files = ['cut.bin']").read("test"), "truncated");
  EXPECT_MESSAGE(with("files = ['a.bin']\nfirst = 3\ncount = 3").read("test"), "only 5 images");
  EXPECT_MESSAGE(with("files = ['a.bin']\nfirst = 5").read("test"), "only 5 images");
  EXPECT_MESSAGE(with("files = ['a.bin']").read("train"), "use one of: test");
  EXPECT_MESSAGE(with("files = ['a.bin']").read("test", -1), "negative");
  EXPECT_MESSAGE(with("files = []"), "at least one file");
  EXPECT_MESSAGE(with("files = ['a.bin']\ncuont = 3"), "did you mean 'count'");
  EXPECT_EQ(message_of([&] { with("files = ['a.bin']\nfirst = 2\ncount = 3").read("test"); }), "");
}

TEST_F(DatasetFiles, ReadsPlainAndCompressedIdx) {
  write("images", idx_images(9, 2, 3));
  write("labels", idx_labels(9));
  write_compressed("images.gz", idx_images(9, 2, 3));
  write_compressed("labels.gz", idx_labels(9));
  const Dataset data = load("format = 'idx'\n" + std::string(gray) +
                            "[splits.plain]\nfiles = ['images', 'labels']\nfirst = 4\ncount = 3\n"
                            "[splits.compressed]\nfiles = ['images.gz', 'labels.gz']\nfirst = 4\ncount = 3\n");
  for (const std::string split : {"plain", "compressed"}) {
    const Images images = data.read(split);
    EXPECT_EQ(images.shape, (Shape{1, 2, 3}));
    ASSERT_EQ(images.count, 3);
    EXPECT_EQ(images.labels, (std::vector<std::int32_t>{5, 4, 3}));
    for (int i = 0; i < 18; ++i) EXPECT_EQ(images.image(0)[i], std::uint8_t((4 * 6 + i) * 7));
  }
}

TEST_F(DatasetFiles, RejectsBadIdxFiles) {
  write("images", idx_images(9, 2, 3));
  write("labels", idx_labels(9));
  write("few", idx_labels(8));
  Bytes cut = idx_images(9, 2, 3);
  cut.resize(cut.size() - 1);
  write("cut", cut);
  write_compressed("whole.gz", idx_images(9, 200, 200));
  std::filesystem::resize_file(path("whole.gz"), std::filesystem::file_size(path("whole.gz")) / 2);
  write("empty", {});
  const auto read = [&](const std::string& files) {
    return load("format = 'idx'\n" + std::string(gray) + "[splits.test]\nfiles = " + files).read("test");
  };
  EXPECT_MESSAGE(read("['labels', 'images']"), "images, then labels");
  EXPECT_MESSAGE(read("['images']"), "give pairs");
  EXPECT_MESSAGE(read("['images', 'few']"), "8 labels for the 9 images");
  EXPECT_MESSAGE(read("['cut', 'labels']"), "truncated");
  EXPECT_MESSAGE(read("['whole.gz', 'labels']"), "truncated");
  EXPECT_MESSAGE(read("['empty', 'labels']"), "truncated");
  EXPECT_MESSAGE(read("['none', 'labels']"), "no such file");
}

Bytes bytes_of(const Images& images) {
  const std::span<const std::uint8_t> pixels = images.pixels(0, images.count);
  return {pixels.begin(), pixels.end()};
}

TEST_F(DatasetFiles, ReadsPackedImages) {
  Bytes pixels(4 * 2 * 5 * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = std::uint8_t(i);
  write_packed(path("p.h5"), pixels, {4, 2, 5, 3}, {900, 1, 700, 3});
  const std::string split = "[splits.test]\nfiles = ['p.h5']\nfirst = 1\ncount = 2\n";
  {
    const Images images = load("format = 'packed'\n" + std::string(rgb) + split).read("test");
    EXPECT_EQ(images.shape, (Shape{3, 2, 5}));
    EXPECT_EQ(images.labels, (std::vector<std::int32_t>{1, 700}));
    EXPECT_EQ(bytes_of(images), Bytes(pixels.begin() + 30, pixels.begin() + 90));
    const Images reversed = load("format = 'packed'\n" + std::string(bgr) + split).read("test");
    EXPECT_EQ(Bytes(reversed.image(0), reversed.image(0) + 6), (Bytes{32, 31, 30, 35, 34, 33}));
  }
  EXPECT_MESSAGE(load("format = 'packed'\n" + std::string(gray) + split).read("test"), "3 channels");

  write_packed(path("p.h5"), pixels, {4, 2, 5, 3}, {900, 1, 700});
  EXPECT_MESSAGE(load("format = 'packed'\n" + std::string(rgb) + split).read("test"), "3 labels for 4 images");
  write_packed(path("p.h5"), pixels, {4, 10, 3, 1}, {900, 1, 700, 3});
  EXPECT_MESSAGE(load("format = 'packed'\n" + std::string(rgb) + split).read("test"), "1 channels");
  EXPECT_EQ(load("format = 'packed'\n" + std::string(gray) + split).read("test").shape, (Shape{1, 10, 3}));
  write("p.h5", {1, 2, 3});
  EXPECT_MESSAGE(load("format = 'packed'\n" + std::string(rgb) + split).read("test"), "p.h5");
}

TEST_F(DatasetFiles, ReadsPackedImagesWhenTheyAreAskedFor) {
  // images 0 to 9 of 2 x 1 in two files; every byte says its image
  for (const int file : {0, 1}) {
    Bytes pixels;
    for (int byte = 0; byte < 5 * 6; ++byte) pixels.push_back(std::uint8_t(10 * (5 * file + byte / 6) + byte % 6));
    write_packed(path("p" + std::to_string(file) + ".h5"), pixels, {5, 2, 1, 3}, {0, 1, 2, 3, 4});
  }
  const std::string split = "[splits.test]\nfiles = ['p0.h5', 'p1.h5']\nfirst = 1\ncount = 8\n";
  const Dataset data = load("format = 'packed'\n" + std::string(rgb) + split);
  EXPECT_TRUE(data.reads_anywhere());
  const Bytes all = bytes_of(data.read("test"));
  ASSERT_EQ(all.size(), 8u * 6);
  for (int image = 0; image < 8; ++image) EXPECT_EQ(all[image * 6], 10 * (1 + image));

  const Dataset bgr_data = load("format = 'packed'\n" + std::string(bgr) + split);
  for (const Dataset* source : {&data, &bgr_data}) {
    const Bytes expected = bytes_of(source->read("test"));
    // in parts, over the end of a file, and again
    const Images images = source->read("test");
    for (const auto& [first, count] : {std::pair{6, 1}, {2, 3}, {2, 3}, {0, 8}, {7, 1}, {3, 0}}) {
      const std::span<const std::uint8_t> part = images.pixels(first, count);
      EXPECT_EQ(Bytes(part.begin(), part.end()),
                Bytes(expected.begin() + first * 6, expected.begin() + (first + count) * 6));
    }
    // in another order, read before or after it was decided
    Images early = source->read("test"), late = source->read("test");
    bytes_of(early);
    early.shuffle(3);
    late.shuffle(3);
    EXPECT_EQ(bytes_of(early), bytes_of(late));
    EXPECT_NE(bytes_of(early), expected);
    Images whole("test", early.shape, source->read("test").labels, expected);
    whole.shuffle(3);
    EXPECT_EQ(bytes_of(whole), bytes_of(late));
    EXPECT_EQ(whole.labels, late.labels);
  }

  // what is damaged is found when it is read
  std::fstream file(path("p1.h5"), std::ios::in | std::ios::out | std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  const std::size_t place = bytes.find("\x50\x51\x52\x53\x54\x55");
  ASSERT_NE(place, std::string::npos);
  file.seekp(std::streamoff(place)).put('\0');
  file.close();
  const Images images = data.read("test");
  EXPECT_EQ(*images.image(6), 70);
  EXPECT_MESSAGE(images.image(7), "cannot read dataset 'images' of '" + path("p1.h5"));
  EXPECT_MESSAGE(images.image(7), "cannot read dataset 'images' of '" + path("p1.h5"));  // still not there
}

TEST_F(DatasetFiles, ReadsWhatThePackingScriptWrites) {
  if (std::system("/usr/bin/python3 -c 'import h5py, PIL' 2> /dev/null") != 0) {
    GTEST_SKIP() << "h5py or PIL is not installed";
  }
  Bytes pixels(2 * 3 * 3);  // two photographs of 3 x 2, one per class
  for (const int label : {0, 1}) {
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = std::uint8_t(i * 10 + std::size_t(label));
    const std::string folder = "images/class" + std::to_string(label);
    std::filesystem::create_directories(path(folder));
    std::ofstream(path(folder + "/a.ppm"), std::ios::binary) << "P6 3 2 255\n"
                                                             << std::string(pixels.begin(), pixels.end());
  }
  ASSERT_EQ(std::system(("/usr/bin/python3 " BITCLUSTER_SOURCE_DIR "/analysis/pack_images.py --resize 0 --crop 0 " +
                         path("images") + " " + path("p.h5") + " > /dev/null 2>&1")
                            .c_str()),
            0);
  const Images images =
      load("format = 'packed'\n" + std::string(rgb) + "[splits.test]\nfiles = ['p.h5']\n").read("test");
  EXPECT_EQ(images.shape, (Shape{3, 2, 3}));
  EXPECT_EQ(images.labels, (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(Bytes(images.image(1), images.image(1) + 18), pixels);
}

TEST_F(DatasetFiles, RejectsBadDescriptions) {
  const std::string split = "[splits.test]\nfiles = ['a.bin']\n";
  EXPECT_MESSAGE(load("format = 'jpeg'\n" + std::string(rgb) + split), "cifar10, cifar100, idx, packed");
  EXPECT_MESSAGE(load("format = 'cifar10'\n" + std::string(gray) + split), "use RGB or BGR");
  EXPECT_MESSAGE(load("format = 'idx'\n" + std::string(rgb) + split), "use gray");
  EXPECT_MESSAGE(load("format = 'cifar10'\n" + std::string(rgb)), "splits");
  EXPECT_MESSAGE(load("format = 'cifar10'\nfiles = 3\n" + std::string(rgb) + split), "files");
  const auto with = [&](const std::string& keys) {
    return load("format = 'cifar10'\n[preprocess]\nscale = 1\nchannels = 'RGB'\n" + keys + split);
  };
  EXPECT_MESSAGE(with("mean = [0, 0, 0]\nstd = [1, 0, 1]\n"), "not positive");
  EXPECT_MESSAGE(with("mean = [0, 0]\nstd = [1, 1, 1]\n"), "2 numbers for 3 channels");
  EXPECT_MESSAGE(with("mean = [0, 0, 0]\nstd = [1]\n"), "1 numbers for 3 channels");
  EXPECT_MESSAGE(with("mean = [0, nan, 0]\nstd = [1, 1, 1]\n"), "not finite");
  EXPECT_MESSAGE(with("mean = [0, 0, 0]\nstd = [1, inf, 1]\n"), "not finite");
  EXPECT_MESSAGE(with("mean = []\nstd = []\n"), "0 numbers for 3 channels");
  EXPECT_MESSAGE(with("mean = [0, 0, 0]\nstd = [1, 1, 1]\nmaen = 3\n"), "did you mean 'mean'");
}

TEST_F(DatasetFiles, RejectsPreprocessingThatLosesTheImages) {
  const auto with = [&](const std::string& scale, const std::string& mean, const std::string& std) {
    return load("format = 'idx'\n[preprocess]\nchannels = 'gray'\nscale = " + scale + "\nmean = [" + mean +
                "]\nstd = [" + std + "]\n[splits.test]\nfiles = ['images', 'labels']\n");
  };
  const std::string lost = "pixels that differ are not told apart";
  EXPECT_MESSAGE(with("0", "0.5", "0.5"), lost);
  EXPECT_MESSAGE(with("0.0", "0", "1"), "bytes 0 and 1 become 0 and 0");
  EXPECT_MESSAGE(with("1e-300", "0", "1"), lost);  // nothing in float32
  EXPECT_MESSAGE(with("1e-9", "0.5", "1"), lost);  // below the resolution of float32 at 0.5
  EXPECT_MESSAGE(with("1", "0", "1e-300"), lost);  // infinite in float32
  EXPECT_MESSAGE(with("1", "1e300", "1"), lost);   // infinite, too
  EXPECT_MESSAGE(with("nan", "0", "1"), "scale");
  EXPECT_MESSAGE(with("inf", "0", "1"), "scale");
  EXPECT_EQ(message_of([&] {
              with("0.00392156862745098", "0.5", "0.5");
              with("-0.00392156862745098", "-1", "1");  // a negative
              with("1", "123.68", "1");
            }),
            "");
}

TEST_F(DatasetFiles, KeepsTheTestSplitApart) {
  write("a.bin", cifar_records(0, 5));
  write("b.bin", cifar_records(5, 7));
  const auto with = [&](const std::string& other, const std::string& test) {
    return load("format = 'cifar10'\n" + std::string(rgb) + other + "\n[splits.test]\n" + test + "\n");
  };
  EXPECT_MESSAGE(with("[splits.search]\nfiles = ['a.bin']\ncount = 3", "files = ['./a.bin']\nfirst = 2"), "search");
  EXPECT_TRUE(with("[splits.calibration]\nfiles = ['a.bin']\nfirst = 4", "files = ['a.bin']\nfirst = 2")
                  .overlap("calibration", "test"));
  EXPECT_FALSE(with("[splits.calibration]\nfiles = ['a.bin']\ncount = 2", "files = ['a.bin']\nfirst = 2")
                   .overlap("calibration", "test"));
  EXPECT_MESSAGE(with("[splits.train]\nfiles = ['b.bin']\nfirst = 6", "files = ['a.bin', 'b.bin']\nfirst = 4"),
                 "train");
  EXPECT_EQ(message_of([&] {
              with("[splits.search]\nfiles = ['a.bin']\ncount = 2", "files = ['a.bin']\nfirst = 2");
              with("[splits.search]\nfiles = ['b.bin']\ncount = 2", "files = ['a.bin', 'b.bin']\nfirst = 7");
              with("[splits.search]\nfiles = ['b.bin']\nfirst = 2", "files = ['a.bin', 'b.bin']\ncount = 7");
              with("[splits.validation]\nfiles = ['a.bin']", "files = ['a.bin']");
              with("[splits.search]\nfiles = ['none.bin']", "files = ['a.bin']");
            }),
            "");
}

TEST_F(DatasetFiles, PreprocessesAsWorkedByHand) {
  write("a.bin", cifar_records(0, 2));
  const Dataset data = load("format = 'cifar10'\n" + std::string(rgb) + "[splits.test]\nfiles = ['a.bin']\n");
  const std::vector<float> table = data.input_table();
  ASSERT_EQ(table.size(), 3u * 256);
  EXPECT_EQ(table[0], -1.0f);           // (0 * 0.5 - 1) / 1
  EXPECT_EQ(table[255], 126.5f);        // (255 * 0.5 - 1) / 1
  EXPECT_EQ(table[256 + 10], 1.5f);     // (10 * 0.5 - 2) / 2
  EXPECT_EQ(table[512 + 100], 11.75f);  // (100 * 0.5 - 3) / 4
  const Images images = data.read("test");
  const std::vector<float> values = preprocess(images, table, 1, 1);
  ASSERT_EQ(values.size(), 3072u);
  for (int p = 0; p < 1024; ++p) {
    for (int c = 0; c < 3; ++c) EXPECT_EQ(values[p * 3 + c], table[c * 256 + cifar_byte(1, c, p)]);
  }
  EXPECT_MESSAGE(preprocess(images, table, 1, 2), "only 2 images");
  EXPECT_MESSAGE(preprocess(images, {1, 2}, 0, 1), "256 values per channel");
}

TEST(Images, PartsShareTheImagesInTheirOrder) {
  std::vector<std::int32_t> labels(10);
  std::iota(labels.begin(), labels.end(), 0);
  Bytes pixels;
  for (int image = 0; image < 10; ++image) pixels.insert(pixels.end(), {std::uint8_t(image), std::uint8_t(10 * image)});
  std::vector<int> reads;
  Images held("all", {2, 1, 1}, labels, pixels);
  Images reading("all", {2, 1, 1}, labels, [&](int first, int count, std::uint8_t* into) {
    for (int i = 0; i < count; ++i) reads.push_back(first + i);
    std::copy_n(pixels.begin() + 2 * first, 2 * count, into);
  });
  for (Images* images : {&held, &reading}) {
    images->shuffle(3);
    const Images first = images->part("first", 0, 7), last = images->part("last", 7, 3), inner = last.part("in", 1, 2);
    EXPECT_EQ(last.split, "last");
    EXPECT_EQ(last.count, 3);
    EXPECT_EQ(inner.labels, (std::vector<std::int32_t>{images->labels[8], images->labels[9]}));
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(inner.image(i)[1], 10 * inner.labels[i]);
      EXPECT_EQ(inner.image(i), images->image(8 + i));
    }
    for (int i = 0; i < 7; ++i) EXPECT_EQ(first.image(i)[0], first.labels[i]);
  }
  EXPECT_EQ(std::set<int>(reads.begin(), reads.end()).size(), 9U);  // but for image 7, which nobody asked for
}

TEST(Shuffle, KeepsImagesAndLabelsTogether) {
  const auto made = [](std::uint64_t seed) {
    Bytes pixels;
    std::vector<std::int32_t> labels;
    for (int image = 0; image < 100; ++image) {
      for (int byte = 0; byte < 6; ++byte) pixels.push_back(std::uint8_t(image + byte));
      labels.push_back(image);
    }
    Images images("test", {2, 1, 3}, labels, pixels);
    images.shuffle(seed);
    return images;
  };
  const Images shuffled = made(1);
  std::vector<bool> seen(100);
  int at_home = 0, first_half = 0;
  for (int place = 0; place < 100; ++place) {
    const int image = shuffled.labels[place];
    EXPECT_FALSE(seen[image]);
    seen[image] = true;
    at_home += image == place;
    first_half += place < 50 && image < 50;
    for (int byte = 0; byte < 6; ++byte) EXPECT_EQ(shuffled.image(place)[byte], image + byte);
  }
  EXPECT_LT(at_home, 10);
  EXPECT_NEAR(first_half, 25, 12);
  EXPECT_EQ(made(1).labels, shuffled.labels);
  EXPECT_NE(made(2).labels, shuffled.labels);
}

TEST(CheckFits, NamesTheImageAndTheLabel) {
  Network network;
  network.name = "small";
  network.layers = {{"input", Input{}, {}, {3, 32, 32}}, {"fc", Function{}, {0}, {9, 1, 1}}};
  const auto check = [&](const Shape& shape, const std::vector<std::int32_t>& labels) {
    check_fits("test", shape, labels, network);
  };
  EXPECT_EQ(message_of([&] { check({3, 32, 32}, {0, 8, 3}); }), "");
  EXPECT_MESSAGE(check({3, 32, 32}, {0, 9, 3}), "image 1 has label 9, the network has 9 classes");
  EXPECT_MESSAGE(check({3, 32, 32}, {0, -1, 3}), "label -1");
  EXPECT_MESSAGE(check({1, 32, 32}, {0, 8, 3}), "1 x 32 x 32");
}

TEST(FashionMnist, SplitsAreAsTheConfigurationSays) {
  if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist")) {
    GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  }
  const Dataset data = Dataset::load(BITCLUSTER_SOURCE_DIR "/configs/data/fashion_mnist.toml");
  const Images test = data.read("test"), search = data.read("search"), calibration = data.read("calibration");
  EXPECT_EQ(test.count, 10000);
  EXPECT_EQ(search.count, 5000);
  EXPECT_EQ(calibration.count, 512);
  EXPECT_EQ(data.read("train", 1).image(0)[100], calibration.image(0)[100]);
  EXPECT_EQ(test.shape, (Shape{1, 28, 28}));
  std::vector<int> per_class(10);
  for (const int label : test.labels) ++per_class[std::size_t(label)];
  EXPECT_EQ(per_class, std::vector<int>(10, 1000));  // Xiao et al. 2017: 1,000 test images per class
  // mean and standard deviation of preprocessed training images are 0 and 1 by definition
  const Images train = data.read("train");
  const std::vector<float> values = preprocess(train, data.input_table(), 0, train.count);
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += value;
    squares += double(value) * value;
  }
  EXPECT_NEAR(sum / double(values.size()), 0, 0.01);
  EXPECT_NEAR(squares / double(values.size()), 1, 0.01);
}

TEST(Cifar10, RealTestSetHasAThousandImagesPerClass) {
  if (shared_folder().empty()) GTEST_SKIP() << "no shared folder with real data";
  const std::string path = testing::TempDir() + "/real_cifar10.toml";
  std::ofstream(path) << "format = 'cifar10'\n"
                      << rgb << "[splits.test]\nfiles = ['"
                      << (std::filesystem::absolute(shared_folder()) / "data/cifar10/test_batch.bin").string()
                      << "']\n";
  const Images images = Dataset::load(path).read("test");
  std::vector<int> per_class(10);
  for (const int label : images.labels) ++per_class[std::size_t(label)];
  EXPECT_EQ(per_class, std::vector<int>(10, 1000));
}

}  // namespace
}  // namespace bitcluster
