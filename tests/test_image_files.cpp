// Image files that are damaged, hostile, or of a kind that is easily taken for another.

#include <sys/stat.h>

#include <fstream>
#include <functional>

#include "tests/dataset_files.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

class ImageFiles : public DatasetFiles {
 protected:
  Dataset of(const std::string& format, const std::string& files) const {
    const std::string preprocess = format == "idx" || format == "packed" ? gray : rgb;
    return load("format = '" + format + "'\n" + preprocess + "[splits.test]\nfiles = " + files + "\n");
  }
  Images read(const std::string& format, const std::string& files) const { return of(format, files).read("test"); }
};

TEST_F(ImageFiles, SaysWhatIsThereInsteadOfAFile) {
  std::filesystem::create_directory(path("folder"));
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("nowhere", path("link"));
  std::filesystem::create_symlink("link2", path("link2"));
  for (const std::string format : {"cifar10", "cifar100", "idx", "packed"}) {
    const auto files = [&](const std::string& name) {
      return format == "idx" ? "['" + name + "', '" + name + "']" : "['" + name + "']";
    };
    EXPECT_MESSAGE(read(format, files("folder")), "folder': it is a folder");
    EXPECT_MESSAGE(read(format, files("pipe")), "pipe': it is a FIFO or a pipe, not a file");
    EXPECT_MESSAGE(read(format, files("link")), "link': there is no such file");
    EXPECT_MESSAGE(read(format, files("link2")), "link2'");  // to itself
    EXPECT_MESSAGE(read(format, files("none/none")), "there is no such file");
  }
}

// ---- CIFAR

/// label_bytes labels, then 3 x 1024 bytes that say plane and position.
Bytes record(const Bytes& labels) {
  Bytes bytes = labels;
  for (int i = 0; i < 3072; ++i) bytes.push_back(std::uint8_t(i / 1024 * 100 + i % 100));
  return bytes;
}

Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

TEST_F(ImageFiles, ReadsTheFineLabelsOfCifar100) {
  write("train.bin", record({3, 99}) + record({19, 0}) + record({0, 42}));
  const Images images = read("cifar100", "['train.bin']");
  EXPECT_EQ(images.labels, (std::vector<std::int32_t>{99, 0, 42}));
  EXPECT_EQ(images.shape, (Shape{3, 32, 32}));
  for (int p = 0; p < 1024; ++p) {
    for (int c = 0; c < 3; ++c) ASSERT_EQ(images.image(1)[p * 3 + c], record({})[std::size_t(c * 1024 + p)]);
  }
  EXPECT_EQ(of("cifar100", "['train.bin']").contents("test").classes, 100);
}

TEST_F(ImageFiles, TellsTheCifarsApart) {
  write("10.bin", record({1}) + record({2}));
  write("100.bin", record({1, 1}) + record({2, 2}));
  EXPECT_MESSAGE(read("cifar10", "['100.bin']"), "of CIFAR-100, format = \"cifar100\"");
  EXPECT_MESSAGE(read("cifar100", "['10.bin']"), "of CIFAR-10, format = \"cifar10\"");
  write("label.bin", record({1}) + record({10}));
  EXPECT_MESSAGE(read("cifar10", "['label.bin']"), "image 1 has label 10, but CIFAR-10 has 10 classes");
  EXPECT_MESSAGE(of("cifar10", "['label.bin']").contents("test"), "image 1 has label 10");
  write("label.bin", record({1, 100}));
  EXPECT_MESSAGE(read("cifar100", "['label.bin']"), "label 100");
  write("python", Bytes{0x80, 2, '}'} + Bytes(3070));
  EXPECT_MESSAGE(read("cifar10", "['python']"), "download the binary version");
  write_compressed("data.bin.gz", record({1}) + record({2}));
  EXPECT_MESSAGE(read("cifar10", "['data.bin.gz']"), "it is compressed: unpack it");
}

// ---- IDX

Bytes idx(int type, const std::vector<std::uint32_t>& extents, std::size_t bytes) {
  Bytes file{0, 0, std::uint8_t(type), std::uint8_t(extents.size())};
  for (const std::uint32_t extent : extents) {
    for (const int shift : {24, 16, 8, 0}) file.push_back(std::uint8_t(extent >> shift));
  }
  file.resize(file.size() + bytes, 1);
  return file;
}

TEST_F(ImageFiles, NamesTheTypeAndRankOfAnotherIdxFile) {
  write("images", idx_images(4, 2, 3));
  write("labels", idx_labels(4));
  const auto reject = [&](const Bytes& file, const std::string& what, const std::string& labels_what) {
    write("other", file);
    EXPECT_MESSAGE(read("idx", "['other', 'labels']"), what);
    EXPECT_MESSAGE(read("idx", "['images', 'other']"), labels_what);
  };
  reject(idx(0x0d, {4, 2, 3}, 96), "it holds 32-bit floats in 3 dimensions, but images are unsigned bytes in 3",
         "it holds 32-bit floats in 3 dimensions, but labels are unsigned bytes in 1");
  reject(idx(0x0c, {4}, 16), "32-bit integers in 1 dimension,", "32-bit integers in 1 dimension,");
  reject(idx(8, {4, 2, 3, 3}, 72), "unsigned bytes in 4 dimensions", "unsigned bytes in 4 dimensions");
  reject(idx(8, {}, 4), "in 0 dimensions", "in 0 dimensions");
  reject({1, 0, 8, 3, 0, 0, 0, 0}, "not start as an IDX file", "not start as an IDX file");
  reject({'P', 'K', 3, 4}, "not start as an IDX file", "not start as an IDX file");
}

TEST_F(ImageFiles, BoundsWhatAnIdxHeaderMayAskFor) {
  constexpr std::uint32_t huge = 0x80000000;
  write("labels", idx(8, {huge}, 8));
  for (const std::vector<std::uint32_t>& extents : std::vector<std::vector<std::uint32_t>>{
           {huge, 28, 28}, {huge, 65536, 65536}, {0xffffffff, 65536, 65536}, {9, 65536, 65536}, {9, 28, 28}}) {
    write("images", idx(8, extents, 100));
    write_compressed("images.gz", idx(8, extents, 3));
    EXPECT_MESSAGE(read("idx", "['images', 'labels']"), "truncated or damaged: its header gives");
    EXPECT_MESSAGE(read("idx", "['images.gz', 'labels']"), "truncated or damaged: its header gives");
  }
  write("images", idx(8, {1, 0, 28}, 0));
  EXPECT_MESSAGE(read("idx", "['images', 'labels']"), "images of 0 x 28");
  write("images", idx(8, {1, 28, 65537}, 100));
  EXPECT_MESSAGE(read("idx", "['images', 'labels']"), "images of 28 x 65537");
  write("images", idx_images(9, 2, 3));
  EXPECT_MESSAGE(read("idx", "['images', 'labels']"), "labels': it is truncated or damaged");
  write("labels", idx(8, {9}, 10));  // one too many
  EXPECT_MESSAGE(read("idx", "['images', 'labels']"), "its header gives 9 times 1 bytes, but there are 10");
}

TEST_F(ImageFiles, BelievesAHeaderThatDeflateCanKeep) {
  // zeros: 16 MB in 16 kB
  write_compressed("images.gz", idx(8, {16, 1024, 1024}, 0) + Bytes(16 << 20));
  write("labels", idx(8, {16}, 16));
  EXPECT_EQ(read("idx", "['images.gz', 'labels']").count, 16);
}

// ---- packed

/// A dataset of any type; without values where they are null.
void put(hid_t file, const char* name, hid_t type, const std::vector<hsize_t>& extents, const void* values,
         bool compressed = false) {
  const Hdf5Id space(H5Screate_simple(int(extents.size()), extents.data(), nullptr), H5Sclose, "");
  const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
  if (compressed) {
    const std::vector<hsize_t> chunk(extents.size(), 1);
    hdf5_check(H5Pset_chunk(creation, int(chunk.size()), chunk.data()), "");
    hdf5_check(H5Pset_deflate(creation, 1), "");
  }
  const Hdf5Id dataset(H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose, "");
  if (values) hdf5_check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "");
}

class PackedFiles : public ImageFiles {
 protected:
  Hdf5Id create() const {
    silence_hdf5();
    return Hdf5Id(H5Fcreate(path("p.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, "");
  }
  std::string message() const {
    return message_of([&] { read("packed", "['p.h5']"); });
  }
};

#define EXPECT_REJECTED(part) EXPECT_NE(message().find(part), std::string::npos) << message()

TEST_F(PackedFiles, TakesNothingButUnsignedBytesForPixels) {
  const std::vector<double> zeros(4);
  const std::int32_t labels[] = {0, 1};
  for (const auto& [type, what] : {std::pair<hid_t, std::string>{H5T_STD_I64LE, "holds 64-bit integers"},
                                   {H5T_STD_U16LE, "holds unsigned 16-bit integers"},
                                   {H5T_STD_I8LE, "holds 8-bit integers"},
                                   {H5T_STD_U16BE, "holds unsigned 16-bit integers"},
                                   {H5T_IEEE_F32LE, "does not hold whole numbers in 4 dimensions"}}) {
    {
      const Hdf5Id file = create();
      put(file, "images", type, {2, 1, 2, 1}, zeros.data());
      put(file, "labels", H5T_STD_I32LE, {2}, labels);
    }
    EXPECT_REJECTED("dataset 'images' " + what);
  }
}

TEST_F(PackedFiles, TakesLabelsOfAnyWidthButNoOthers) {
  const std::uint8_t pixels[4] = {};
  const auto with = [&](hid_t type, const std::vector<hsize_t>& extents, const void* labels) {
    const Hdf5Id file = create();
    put(file, "images", H5T_STD_U8LE, {2, 1, 2, 1}, pixels);
    put(file, "labels", type, extents, labels);
  };
  const std::uint8_t narrow[] = {200, 7};
  with(H5T_STD_U8LE, {2}, narrow);
  EXPECT_EQ(read("packed", "['p.h5']").labels, (std::vector<std::int32_t>{200, 7}));
  std::int64_t wide[] = {5, 70000};
  with(H5T_STD_I64LE, {2}, wide);
  EXPECT_EQ(read("packed", "['p.h5']").labels, (std::vector<std::int32_t>{5, 70000}));
  wide[1] = (std::int64_t(1) << 32) + 3;  // must not become 3
  with(H5T_STD_I64LE, {2}, wide);
  EXPECT_REJECTED("image 1 has label 4294967299");
  wide[1] = -1;
  with(H5T_STD_I64LE, {2}, wide);
  EXPECT_REJECTED("image 1 has label -1");
  with(H5T_STD_U64LE, {2}, wide);
  EXPECT_REJECTED("image 1 has label");
  with(H5T_STD_I64LE, {2, 1}, wide);
  EXPECT_REJECTED("dataset 'labels' does not hold whole numbers in 1 dimension");
  const double floats[] = {0, std::numeric_limits<double>::quiet_NaN()};
  with(H5T_IEEE_F64LE, {2}, floats);
  EXPECT_REJECTED("dataset 'labels' does not hold whole numbers");
}

TEST_F(PackedFiles, ReadsManyLabels) {
  constexpr int count = 150000;
  const Bytes pixels(count);
  std::vector<std::int32_t> labels(count);
  for (int i = 0; i < count; ++i) labels[i] = i;
  {
    const Hdf5Id file = create();
    put(file, "images", H5T_STD_U8LE, {count, 1, 1, 1}, pixels.data());
    put(file, "labels", H5T_STD_I32LE, {count}, labels.data());
  }
  EXPECT_EQ(read("packed", "['p.h5']").labels, labels);
  labels[140000] = -5;
  {
    const Hdf5Id file = create();
    put(file, "images", H5T_STD_U8LE, {count, 1, 1, 1}, pixels.data());
    put(file, "labels", H5T_STD_I32LE, {count}, labels.data());
  }
  EXPECT_REJECTED("image 140000 has label -5");
}

TEST_F(PackedFiles, BoundsWhatItsHeaderMayAskFor) {
  constexpr hsize_t huge = hsize_t(1) << 31;
  for (const bool compressed : {false, true}) {
    {
      const Hdf5Id file = create();  // never written: HDF5 would read zeros
      put(file, "images", H5T_STD_U8LE, {huge, 28, 28, 1}, nullptr, compressed);
      put(file, "labels", H5T_STD_I32LE, {huge}, nullptr, compressed);
    }
    EXPECT_REJECTED("it claims 2147483648 x 28 x 28 x 1 values of 1 bytes, the file has 0 bytes of them");
  }
  const Bytes pixels(2 * 28 * 28);
  {
    const Hdf5Id file = create();
    put(file, "images", H5T_STD_U8LE, {2, 28, 28, 1}, pixels.data());
    put(file, "labels", H5T_STD_I32LE, {hsize_t(1) << 40}, nullptr);
  }
  EXPECT_REJECTED("it claims 1099511627776 values of 4 bytes, the file has 0 bytes of them");
  {
    const Hdf5Id file = create();
    put(file, "images", H5T_STD_U8LE, {hsize_t(1) << 40, hsize_t(1) << 40, 28, 1}, nullptr, true);
    put(file, "labels", H5T_STD_I32LE, {2}, nullptr);
  }
  EXPECT_REJECTED("it claims 1099511627776 x 1099511627776 x 28 x 1 values");
  {
    const Hdf5Id file = create();
    put(file, "images", H5T_STD_U8LE, {2, 0, 28, 1}, nullptr);
    put(file, "labels", H5T_STD_I32LE, {2}, pixels.data());
  }
  EXPECT_REJECTED("its images are 0 x 28");
  {
    const Hdf5Id file = create();
    put(file, "images", H5T_STD_U8LE, {2, 1, 28, 28}, pixels.data());  // (n, c, h, w)
    put(file, "labels", H5T_STD_I32LE, {2}, pixels.data());
  }
  EXPECT_REJECTED("28 channels instead of 1 or 3: (images, rows, columns, channels)");
}

/// Two images of 8 x 8 in chunks of one image; stored: what is written of every chunk, as it is in the file.
void put_chunks(hid_t file, const std::vector<Bytes>& stored, const std::function<void(hid_t)>& filters) {
  const hsize_t extents[] = {2, 8, 8, 1}, chunk[] = {1, 8, 8, 1};
  const Hdf5Id space(H5Screate_simple(4, extents, nullptr), H5Sclose, "");
  const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
  hdf5_check(H5Pset_chunk(creation, 4, chunk), "");
  filters(creation);
  const Hdf5Id dataset(H5Dcreate2(file, "images", H5T_STD_U8LE, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose,
                       "");
  for (hsize_t image = 0; image < stored.size(); ++image) {
    const hsize_t place[] = {image, 0, 0, 0};
    hdf5_check(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, place, stored[image].size(), stored[image].data()), "");
  }
}

Bytes deflated(const Bytes& bytes) {
  uLongf size = compressBound(bytes.size());
  Bytes result(size);
  compress(result.data(), &size, bytes.data(), bytes.size());
  result.resize(size);
  return result;
}

TEST_F(PackedFiles, ReadsChunksOnlyAsTheyWereWritten) {
  Bytes pixels;
  for (int i = 0; i < 64; ++i) pixels.push_back(std::uint8_t(3 * i));
  const Bytes labels(2), small(10, 1), padding(600);
  const auto with = [&](const std::vector<Bytes>& stored, const std::function<void(hid_t)>& filters) {
    {
      const Hdf5Id file = create();
      put_chunks(file, stored, filters);
      put(file, "labels", H5T_STD_U8LE, {2}, labels.data());
      put(file, "padding", H5T_STD_U8LE, {600}, padding.data());
    }
    const Images images = read("packed", "['p.h5']");
    EXPECT_EQ(message_of([&] { images.image(0); }), "");
    EXPECT_EQ(Bytes(images.image(0), images.image(0) + 64), pixels);
    return message_of([&] { EXPECT_EQ(Bytes(images.image(1), images.image(1) + 64), pixels); });
  };
  const auto plain = [](hid_t) {};
  const auto gzip = [](hid_t creation) { H5Pset_deflate(creation, 6); };
  EXPECT_EQ(with({pixels, pixels}, plain), "");
  EXPECT_EQ(with({deflated(pixels), deflated(pixels)}, gzip), "");
  for (const std::string& message : {with({pixels}, plain), with({deflated(pixels)}, gzip)}) {
    EXPECT_NE(message.find("its chunk at (1, 0, 0, 0) is not there"), std::string::npos) << message;
  }
  EXPECT_NE(with({deflated(pixels), deflated(small)}, gzip).find("it has 10 bytes instead of 64"), std::string::npos);
  EXPECT_NE(with({deflated(pixels), deflated(Bytes(100))}, gzip).find("it has 100 bytes instead of 64"),
            std::string::npos);
  EXPECT_NE(with({deflated(pixels), pixels}, gzip).find("is damaged"), std::string::npos);
  EXPECT_NE(with({deflated(pixels), deflated(Bytes(1 << 20))}, gzip).find("is damaged"), std::string::npos);
  {
    const Hdf5Id file = create();
    put_chunks(file, {pixels, pixels}, [](hid_t creation) { H5Pset_scaleoffset(creation, H5Z_SO_INT, 8); });
    put(file, "labels", H5T_STD_U8LE, {2}, labels.data());
  }
  EXPECT_MESSAGE(read("packed", "['p.h5']").image(0), "it is compressed by filter 6 of HDF5");
}

TEST_F(PackedFiles, ReadsNothingThatIsElsewhere) {
  const Bytes pixels(4);
  write("raw", pixels);
  {
    const Hdf5Id file = create();
    const hsize_t extents[] = {2, 1, 2, 1};
    const Hdf5Id space(H5Screate_simple(4, extents, nullptr), H5Sclose, "");
    const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
    hdf5_check(H5Pset_external(creation, path("raw").c_str(), 0, 4), "");
    const Hdf5Id dataset(H5Dcreate2(file, "images", H5T_STD_U8LE, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose,
                         "");
    put(file, "labels", H5T_STD_U8LE, {2}, pixels.data());
  }
  EXPECT_REJECTED("its values are in another file; store them in this one");
}

TEST_F(PackedFiles, CountsItsClasses) {
  const Bytes bytes(4);
  const auto with = [&](const std::function<void(hid_t)>& more) {
    {
      const Hdf5Id file = create();
      put(file, "images", H5T_STD_U8LE, {2, 1, 2, 1}, bytes.data());
      put(file, "labels", H5T_STD_U8LE, {2}, bytes.data());
      more(file);
    }
    return of("packed", "['p.h5']").contents("test").classes;
  };
  EXPECT_EQ(with([](hid_t) {}), 0);
  EXPECT_EQ(with([&](hid_t file) { put(file, "classes", H5T_STD_U8LE, {3}, bytes.data()); }), 3);
  EXPECT_EQ(with([&](hid_t file) { put(file, "classes", H5T_STD_U8LE, {3, 1}, bytes.data()); }), 0);
}

}  // namespace
}  // namespace bitcluster
