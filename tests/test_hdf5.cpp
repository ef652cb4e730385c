#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>

#include "host/files/hdf5.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

namespace fs = std::filesystem;

Hdf5Id space_of(const std::vector<hsize_t>& extents) {
  return Hdf5Id(
      extents.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(int(extents.size()), extents.data(), nullptr),
      H5Sclose, "");
}

Hdf5Id text_type(std::size_t length) {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "");
  H5Tset_size(type, length);
  return type;
}

void put_attribute(hid_t object, const char* name, hid_t type, const std::vector<hsize_t>& extents,
                   const void* values) {
  const Hdf5Id attribute(H5Acreate2(object, name, type, space_of(extents), H5P_DEFAULT, H5P_DEFAULT), H5Aclose, "");
  hdf5_check(H5Awrite(attribute, type, values), "");
}

/// Without values nothing is written. creation: how, a property list.
void put_dataset(hid_t group, const char* name, hid_t type, const std::vector<hsize_t>& extents, const void* values,
                 hid_t creation = H5P_DEFAULT) {
  const Hdf5Id dataset(H5Dcreate2(group, name, type, space_of(extents), H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose,
                       "");
  if (values) hdf5_check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "");
}

Hdf5Id in_chunks(const std::vector<hsize_t>& chunk) {
  Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
  H5Pset_chunk(creation, int(chunk.size()), chunk.data());
  return creation;
}

/// Makes a file and reads it.
class Hdf5Files : public testing::Test {
 protected:
  Hdf5Files()
      : path_(testing::TempDir() + "/hdf5_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".h5") {}
  ~Hdf5Files() override { fs::remove(path_); }

  void make(const std::function<void(hid_t)>& fill) {
    file_.reset();
    const Hdf5Id file(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, "");
    fill(file);
  }
  Hdf5Attribute attribute() {
    file_.emplace(open_hdf5(path_));
    return *Hdf5Attribute::find(*file_, "x", "cannot read x");
  }
  Hdf5Dataset dataset() {
    file_.emplace(open_hdf5(path_));
    return Hdf5Dataset(*file_, "x", "cannot read x");
  }

  std::string path_;
  std::optional<Hdf5Id> file_;
};

TEST_F(Hdf5Files, AttributesAreReadAsWhatTheyAre) {
  make([](hid_t file) { write_attribute(file, "x", std::string("text")); });
  EXPECT_EQ(attribute().text(), "text");
  EXPECT_MESSAGE(attribute().integer(), "cannot read x: it is not a whole number");
  make([](hid_t file) { write_attribute(file, "x", std::string()); });
  EXPECT_EQ(attribute().text(), "");
  make([](hid_t file) { put_attribute(file, "x", text_type(6), {}, "pad   "); });
  EXPECT_EQ(attribute().text(), "pad");
  make([](hid_t file) { put_attribute(file, "x", text_type(4), {1}, "full"); });
  EXPECT_EQ(attribute().text(), "full");
  make([](hid_t file) { write_attribute(file, "x", std::int64_t(-7)); });
  EXPECT_EQ(attribute().integer(), -7);
  EXPECT_MESSAGE(attribute().text(), "it is not one text");
  const std::uint16_t two[] = {3, 65535};
  make([&](hid_t file) { put_attribute(file, "x", H5T_STD_U16LE, {2}, two); });
  EXPECT_EQ(attribute().integers(), (std::vector<std::int64_t>{3, 65535}));
}

TEST_F(Hdf5Files, AttributesOfAnotherShapeAreRefused) {
  const std::vector<std::int64_t> many(4000, 5);
  make([&](hid_t file) { put_attribute(file, "x", H5T_STD_I64LE, {4000}, many.data()); });
  EXPECT_MESSAGE(attribute().integer(), "it has 4000 values instead of one");
  make([&](hid_t file) { put_attribute(file, "x", text_type(8), {4000}, many.data()); });
  EXPECT_MESSAGE(attribute().text(), "it is not one text");
  make([](hid_t file) {
    const Hdf5Id none(H5Screate(H5S_NULL), H5Sclose, "");
    const Hdf5Id made(H5Acreate2(file, "x", H5T_STD_I64LE, none, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, "");
  });
  EXPECT_MESSAGE(attribute().integer(), "it has 0 values instead of one");
  EXPECT_TRUE(attribute().integers().empty());
  const double number = 5;
  make([&](hid_t file) { put_attribute(file, "x", H5T_IEEE_F64LE, {}, &number); });
  EXPECT_MESSAGE(attribute().integer(), "it is not a whole number");
}

// Their characters lie in a heap, damage to which crashes HDF5 1.10 when it reads them.
TEST_F(Hdf5Files, TextsOfVariableLengthAreRefusedUnread) {
  const char* text = "text";
  make([&](hid_t file) {
    const Hdf5Id type = text_type(H5T_VARIABLE);
    put_attribute(file, "x", type, {}, &text);
    put_dataset(file, "x", type, {1}, &text);
  });
  EXPECT_MESSAGE(attribute().text(), "cannot read x: it is a text of variable length; store texts with a fixed length");
  EXPECT_MESSAGE(attribute().text(), "numpy.bytes_");
  EXPECT_MESSAGE(dataset(), "cannot read x: its values are of variable length");
  make([](hid_t file) { put_attribute(file, "x", text_type(6), {}, "a\0b\0\0\0"); });
  EXPECT_MESSAGE(attribute().text(), "goes on behind its end");
}

TEST_F(Hdf5Files, OnlyHardLinksAreFollowed) {
  const std::int64_t value = 5;
  make([&](hid_t file) {
    put_dataset(file, "there", H5T_STD_I64LE, {1}, &value);
    H5Lcreate_soft("/there", file, "x", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/loop", file, "loop", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("/etc/passwd", "/", file, "outside", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(file, "there", file, "hard", H5P_DEFAULT, H5P_DEFAULT);
  });
  EXPECT_MESSAGE(dataset(), "soft or external link");
  EXPECT_MESSAGE(open_group(*file_, "outside", "what"), "what: it is a soft or external link");
  EXPECT_MESSAGE(open_group(*file_, "loop", "what"), "soft or external link");
  EXPECT_MESSAGE(open_group(*file_, "there", "what"), "it is not a group");
  EXPECT_MESSAGE(open_group(*file_, "none", "what"), "what: ");
  EXPECT_TRUE(has_member(*file_, "loop"));
  EXPECT_FALSE(has_member(*file_, "none"));
  EXPECT_EQ(Hdf5Dataset(*file_, "hard", "").column<std::int64_t>(1), std::vector<std::int64_t>{5});
}

TEST_F(Hdf5Files, ValuesInOtherFilesAreRefused) {
  make([](hid_t file) {
    const Hdf5Id outside(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
    H5Pset_external(outside, "/etc/passwd", 0, 8);
    put_dataset(file, "x", H5T_STD_I64LE, {1}, nullptr, outside);
  });
  EXPECT_MESSAGE(dataset(), "its values are in another file");
  make([](hid_t file) {
    const Hdf5Id composed(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
    H5Pset_virtual(composed, space_of({1}), "/etc/passwd", "x", space_of({1}));
    put_dataset(file, "x", H5T_STD_I64LE, {1}, nullptr, composed);
  });
  EXPECT_MESSAGE(dataset(), "its values are in another file");
}

TEST_F(Hdf5Files, MoreThanTheFileHoldsIsRefusedBeforeMemoryIsAsked) {
  const hsize_t most = hsize_t(1) << 62;
  make([&](hid_t file) {
    put_dataset(file, "x", text_type(4), {most + 5}, nullptr, in_chunks({16}));
  });  // 20 modulo 2^64
  EXPECT_MESSAGE(dataset(), "it claims 4611686018427387909 values of 4 bytes, the file has 0 bytes of them");
  make(
      [&](hid_t file) { put_dataset(file, "x", text_type(65536), {(hsize_t(1) << 48) + 1}, nullptr, in_chunks({1})); });
  EXPECT_MESSAGE(dataset(), "the file has 0 bytes of them");
  make([&](hid_t file) { put_dataset(file, "x", H5T_STD_I8LE, {1000000000}, nullptr); });
  EXPECT_MESSAGE(dataset(), "it claims 1000000000 values of 1 bytes");
  make([&](hid_t file) { put_dataset(file, "x", H5T_STD_I8LE, {8589934592, 1073741824}, nullptr, in_chunks({1, 1})); });
  EXPECT_MESSAGE(dataset(), "8589934592 x 1073741824");
  // one piece of a million is there
  const std::vector<std::int64_t> values(16, 1);
  make([&](hid_t file) {
    put_dataset(file, "x", H5T_STD_I64LE, {16000000}, nullptr, in_chunks({16}));
    const Hdf5Id written(H5Dopen2(file, "x", H5P_DEFAULT), H5Dclose, "");
    const Hdf5Id part(H5Dget_space(written), H5Sclose, "");
    const hsize_t start = 0, count = 16;
    H5Sselect_hyperslab(part, H5S_SELECT_SET, &start, nullptr, &count, nullptr);
    H5Dwrite(written, H5T_STD_I64LE, space_of({16}), part, H5P_DEFAULT, values.data());
  });
  EXPECT_MESSAGE(dataset(), "it claims 16000000 values of 8 bytes, the file has 128 bytes of them");
  make([&](hid_t file) { put_dataset(file, "x", H5T_STD_I64LE, {0}, nullptr); });
  EXPECT_TRUE(dataset().column<std::int64_t>(0).empty());
}

TEST_F(Hdf5Files, WhatCompressesWellIsRead) {
  const std::vector<std::int64_t> values(1 << 20, 7);  // 8 MiB in 8 KiB
  make([&](hid_t file) { write_column(file, "x", values, "1", "sevens"); });
  EXPECT_LT(fs::file_size(path_), 100000u);
  EXPECT_EQ(dataset().column<std::int64_t>(values.size()), values);
  EXPECT_MESSAGE(dataset().column<std::int64_t>(values.size() - 1), "it has 1048576 rows, at most 1048575 are read");
}

TEST_F(Hdf5Files, NumbersOfNoStandardTypeAreRefused) {
  const std::int64_t value = 5;
  make([&](hid_t file) {
    const Hdf5Id odd(H5Tcopy(H5T_STD_I64LE), H5Tclose, "");
    H5Tset_precision(odd, 40);
    put_dataset(file, "x", odd, {1}, &value);
  });
  EXPECT_MESSAGE(dataset(), "no standard type");
  make([&](hid_t file) {
    const Hdf5Id odd(H5Tcopy(H5T_IEEE_F64LE), H5Tclose, "");
    H5Tset_ebias(odd, 1000);  // as of a flipped bit: every number would be another one
    put_dataset(file, "x", odd, {1}, &value);
  });
  EXPECT_MESSAGE(dataset(), "no standard type");
}

TEST_F(Hdf5Files, ColumnsHaveTheTypeThatWasWritten) {
  const std::int64_t value = 5;
  for (const hid_t type : {H5T_STD_I64BE, H5T_STD_U64LE, H5T_STD_I32LE, H5T_IEEE_F64LE}) {
    make([&](hid_t file) { put_dataset(file, "x", type, {1}, &value); });
    EXPECT_MESSAGE(dataset().column<std::int64_t>(1), "another type or shape");
  }
  make([&](hid_t file) { put_dataset(file, "x", H5T_STD_I64LE, {1, 1}, &value); });
  EXPECT_MESSAGE(dataset().column<std::int64_t>(1), "another type or shape");
  EXPECT_MESSAGE(dataset().column<std::string>(1), "another type or shape");
  make([&](hid_t file) { put_dataset(file, "x", H5T_STD_I64LE, {}, &value); });
  EXPECT_MESSAGE(dataset().column<std::int64_t>(1), "another type or shape");
  make([](hid_t file) { put_dataset(file, "x", text_type(4), {2}, "ab\0\0a\0b\0"); });
  EXPECT_MESSAGE(dataset().column<std::string>(2), "the text of row 1 goes on behind its end");
  make([](hid_t file) {
    write_column(file, "x", std::vector{std::string("a\0b", 3), std::string()}, "none", "zeros");
  });
  EXPECT_EQ(dataset().column<std::string>(2), (std::vector<std::string>{"a\\x00b", ""}));
}

TEST_F(Hdf5Files, ChunksThatWereNeverWrittenAreNoZeros) {
  const std::int64_t value = 5;
  make([&](hid_t file) {
    put_dataset(file, "x", H5T_STD_I64LE, {2}, nullptr, in_chunks({1}));
    const Hdf5Id made(H5Dopen2(file, "x", H5P_DEFAULT), H5Dclose, "");
    const hsize_t first = 0, count = 1;
    const Hdf5Id memory = space_of({1}), part = space_of({2});
    H5Sselect_hyperslab(part, H5S_SELECT_SET, &first, nullptr, &count, nullptr);
    hdf5_check(H5Dwrite(made, H5T_NATIVE_INT64, memory, part, H5P_DEFAULT, &value), "");
  });
  std::int64_t read = 0;
  dataset().read(H5T_NATIVE_INT64, 0, 1, &read);
  EXPECT_EQ(read, 5);
  EXPECT_MESSAGE(dataset().column<std::int64_t>(2), "its chunk at (1) is not there, as if it had never been written");
}

}  // namespace
}  // namespace bitcluster
