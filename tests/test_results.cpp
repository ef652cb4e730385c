#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <type_traits>

#include "host/files/hdf5.hpp"
#include "host/files/posix_file.hpp"
#include "host/results/build_rows.hpp"
#include "host/results/file.hpp"
#include "host/results/merge.hpp"
#include "tests/expect_message.hpp"
#include "tests/made_results.hpp"

namespace bitcluster {
namespace {

namespace fs = std::filesystem;

class ResultsFiles : public testing::Test {
 protected:
  ResultsFiles()
      : folder_(fs::path(testing::TempDir()) /
                (std::string("results_") + testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~ResultsFiles() override { fs::remove_all(folder_); }

  std::string path(const std::string& name = "results.h5") const { return (folder_ / name).string(); }
  int files() const { return int(std::distance(fs::directory_iterator(folder_), fs::directory_iterator())); }

  std::string bytes(const std::string& name = "results.h5") const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  fs::path folder_;
};

void expect_equal(const Results& a, const Results& b) {
  EXPECT_EQ(a.provenance.program_version, b.provenance.program_version);
  EXPECT_EQ(a.provenance.git_commit, b.provenance.git_commit);
  EXPECT_EQ(a.provenance.config, b.provenance.config);
  EXPECT_EQ(a.provenance.date, b.provenance.date);
  EXPECT_EQ(a.provenance.seed, b.provenance.seed);
  EXPECT_EQ(a.provenance.ranks, b.provenance.ranks);
  EXPECT_EQ(a.provenance.devices, b.provenance.devices);
  for_each_table([&]<class Row>(std::vector<Row> Results::*table) { EXPECT_TRUE(a.*table == b.*table) << Row::table; });
}

TEST_F(ResultsFiles, ReadsBackWhatWasWritten) {
  const Results results = made_results();
  write_results(path(), results);
  expect_equal(read_results(path()), results);
  EXPECT_EQ(files(), 1);  // no temporary file is left
}

TEST_F(ResultsFiles, KeepsEmptyTablesEmptyTextAndWhatIsNotAvailable) {
  Results results;
  write_results(path(), results);
  expect_equal(read_results(path()), results);
  results.skipped.push_back({"", Stage::evaluation, std::string(70000, 'r'), "\xE2\x88\x92"});
  auto row = made_row<SummaryRow>(1);
  row.cycles = not_available;
  results.summary.push_back(row);
  results.provenance.config = std::string(200000, 'c');  // beyond the 64 KiB of a fixed-length attribute
  write_results(path(), results);
  const Results read = read_results(path());
  EXPECT_TRUE(read.skipped == results.skipped);
  EXPECT_EQ(read.provenance.config, results.provenance.config);
  EXPECT_TRUE(std::isnan(read.summary[0].cycles));
}

TEST_F(ResultsFiles, WritesManyRowsInChunks) {
  Results results;
  for (int row = 0; row < 40000; ++row) results.emulation.push_back(made_row<EmulationRow>(row));
  write_results(path(), results);
  EXPECT_TRUE(read_results(path()).emulation == results.emulation);
}

TEST_F(ResultsFiles, GivesTheSameBytesForTheSameResults) {
  write_results(path("a.h5"), made_results());
  write_results(path("b.h5"), made_results());
  EXPECT_EQ(bytes("a.h5"), bytes("b.h5"));
}

TEST_F(ResultsFiles, HasTheDocumentedLayout) {
  if (std::system("command -v h5dump > /dev/null") != 0) GTEST_SKIP() << "h5dump is not installed";
  write_results(path(), made_results());
  const auto dump = [&](const std::string& options) {
    EXPECT_EQ(std::system(("h5dump " + options + " " + path() + " > " + path("dump")).c_str()), 0);
    return bytes("dump");
  };
  const std::string column = dump("-p -d /emulation/cycles");
  for (const char* part : {"H5T_STD_I64LE", "CHUNKED", "DEFLATE", "FLETCHER32", "\"unit\"", "\"cycle\"",
                           "\"description\"", "( 7 ) / ( H5S_UNLIMITED )"}) {
    EXPECT_NE(column.find(part), std::string::npos) << part << column;
  }
  const std::string text = dump("-d /skipped/reason");
  EXPECT_NE(text.find("\"x103\""), std::string::npos) << text;
  const std::string provenance = dump("-g /provenance");
  for (const char* part : {"schema_version", "program_version", "git_commit", "config", "date", "seed", "ranks",
                           "devices", "bb: cuda", "checksum"}) {
    EXPECT_NE(provenance.find(part), std::string::npos) << part;
  }
  const std::string empty = dump("-d /provenance/inputs/bytes");
  EXPECT_NE(empty.find("( 0 ) / ( H5S_UNLIMITED )"), std::string::npos) << empty;
}

TEST_F(ResultsFiles, EveryColumnHasUnitAndDescription) {
  for_each_table([]<class Row>(std::vector<Row> Results::*) {
    std::set<std::string> names;
    Row::for_each_column([&](const auto& column) {
      EXPECT_FALSE(column.unit.empty()) << Row::table << "/" << column.name;
      EXPECT_FALSE(column.description.empty()) << Row::table << "/" << column.name;
      EXPECT_TRUE(names.emplace(column.name).second) << Row::table << "/" << column.name << " is there twice";
    });
  });
}

TEST(Rows, OfLayersAreNumberedAsTheirColumnSays) {
  Network network;
  network.layers.push_back({"input", Input{}, {}, {1, 4, 4}, -INFINITY, INFINITY});
  const auto add = [&](const std::string& name, Operation operation, const Shape& output) {
    network.layers.push_back(
        {name, std::move(operation), {int(network.layers.size()) - 1}, output, -INFINITY, INFINITY});
  };
  const Window window{.kernel_h = 1, .kernel_w = 1};
  add("first", Convolution{window, 2, 1, false, {0.5f, -1.0f}, {0, 0}}, {2, 4, 4});
  add("between", Function{}, {2, 4, 4});
  add("second", Convolution{window, 1, 1, false, {1.0f, 0.25f}, {0}}, {1, 4, 4});
  const std::vector<LayerRow> rows = layer_rows("model", network);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].layer, "first");
  EXPECT_EQ(rows[1].layer, "second");
  EXPECT_EQ(rows[0].index, 0);  // not its place in the network
  EXPECT_EQ(rows[1].index, 1);
  EXPECT_EQ(rows[1].channels, 2);
  EXPECT_EQ(rows[1].macs, 32);
}

TEST(Rows, KnowTheStagesThatTheDescriptionLists) {
  std::string description;
  SkippedRow::for_each_column([&](const auto& column) {
    if (column.name == "stage") description = column.description;
  });
  std::string expected = "what was being done: ";
  for (const char* name : stage_names) expected.append(name).append(", ");
  EXPECT_EQ(description + ", ", expected);
  EXPECT_EQ(to_string(Stage::emulation), "emulation");
  EXPECT_EQ(to_string(Stage::import), "import");
  Stage stage = Stage::import;
  EXPECT_TRUE(from_string("evaluation", stage));
  EXPECT_EQ(stage, Stage::evaluation);
  EXPECT_FALSE(from_string("emulate", stage));
}

/// Results of one model: three rows per table, and the accelerators that all models share.
Results results_of(const std::string& model, int seed) {
  Results results;
  results.provenance = {"0.1.0", "abc123", "seed = 3\n",     "2022-02-0" + std::to_string(seed) + "T02:02:02Z",
                        3,       1,        {model + ": cpu"}};
  for_each_table([&]<class Row>(std::vector<Row> Results::*table) {
    for (int row = 0; row < 3; ++row) {
      if constexpr (std::is_same_v<Row, AcceleratorRow>) {
        results.accelerators.push_back(made_row<Row>(row));
      } else {
        (results.*table).push_back(made_row<Row>(10 * seed + row));
        if constexpr (requires(Row row) { row.model; }) (results.*table).back().model = model;
      }
    }
  });
  return results;
}

TEST_F(ResultsFiles, OfOtherModelsAreMergedInTheirOrder) {
  const Results one = results_of("one", 1), two = results_of("two", 3);
  Results three = results_of("three", 2);
  three.accelerators[1] = made_row<AcceleratorRow>(7);  // one that the others did not run
  write_results(path("1.h5"), one);
  write_results(path("2.h5"), two);
  write_results(path("3.h5"), three);
  const Results merged = merge_results({path("2.h5"), path("1.h5"), path("3.h5")});
  EXPECT_EQ(models_of(merged), (std::vector<std::string>{"two", "one", "three"}));
  for_each_table([&]<class Row>(std::vector<Row> Results::*table) {
    std::vector<Row> expected;
    for (const Results* part : std::vector<const Results*>{&two, &one, &three}) {
      expected.insert(expected.end(), (part->*table).begin(), (part->*table).end());
    }
    if constexpr (std::is_same_v<Row, AcceleratorRow>) {
      expected = two.accelerators;
      expected.push_back(three.accelerators[1]);
    }
    if constexpr (std::is_same_v<Row, SummaryRow>) expected.clear();  // means over all models are to be worked out anew
    EXPECT_TRUE(merged.*table == expected) << Row::table;
  });
  const Provenance& provenance = merged.provenance;
  EXPECT_EQ(provenance.ranks, 3);
  EXPECT_EQ(provenance.devices, (std::vector<std::string>{"two: cpu", "one: cpu", "three: cpu"}));
  EXPECT_EQ(provenance.date, "2022-02-03T02:02:02Z");
  EXPECT_EQ(provenance.config, "seed = 3\n");
  EXPECT_EQ(provenance.seed, 3);
}

TEST_F(ResultsFiles, ThatDoNotBelongTogetherAreNotMerged) {
  write_results(path("1.h5"), results_of("one", 1));
  const auto expect = [&](const std::function<void(Results&)>& change, const std::string& part) {
    Results other = results_of("two", 2);
    change(other);
    write_results(path("2.h5"), other);
    const std::string message = message_of([&] { merge_results({path("1.h5"), path("2.h5")}); });
    EXPECT_NE(message.find(part), std::string::npos) << part << "\n" << message;
    EXPECT_NE(message.find("'" + path("2.h5") + "'"), std::string::npos) << message;
  };
  expect([](Results& other) { other.provenance.program_version = "0.2.0"; }, "0.2.0 (abc123) and 0.1.0 (abc123)");
  expect([](Results& other) { other.provenance.git_commit = "def456"; }, "0.1.0 (def456) and 0.1.0 (abc123)");
  expect([](Results& other) { other.provenance.config += " "; }, "configs differ");
  expect([](Results& other) { other.accelerators[2].buffer_mm2 = 1.5; }, "is not the same in both");
  expect(
      [](Results& other) {
        other.inputs[1].path = results_of("one", 1).inputs[2].path;
        other.inputs[1].checksum = "another";
      },
      "changed between them");
  expect([](Results& other) { other.assignments[1].model = "one"; }, "both have the model 'one'");
  expect([](Results& other) { other.emulation[2].model = "one"; }, "both have the model 'one'");
  EXPECT_MESSAGE(merge_results({path("1.h5"), path("none.h5")}), "no such file");
}

TEST_F(ResultsFiles, ChecksTheTargetBeforeLongWork) {
  std::ofstream(path("file")) << "x";
  EXPECT_EQ(message_of([&] { check_writable(path()); }), "");
  EXPECT_EQ(message_of([&] { check_writable(path("file")); }), "");
  EXPECT_EQ(message_of([&] { check_writable("results.h5"); }), "");
  EXPECT_MESSAGE(check_writable(folder_.string()), "it is a folder");
  EXPECT_MESSAGE(check_writable(path("none/results.h5")), "No such file");
  EXPECT_MESSAGE(check_writable(path("file/results.h5")), "not a folder");
  EXPECT_MESSAGE(check_writable("/proc/results.h5"), "cannot write '/proc/results.h5'");
  EXPECT_MESSAGE(check_writable(""), "empty");
  EXPECT_MESSAGE(write_results(path("none/results.h5"), Results()), "No such file");
}

TEST_F(ResultsFiles, AFullDiskLeavesTheTargetAsItWas) {
  std::ofstream(path()) << "as it was";
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);  // then writing fails as it does on a full disk
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = message_of([&] { write_results(path(), made_results()); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("cannot write"), std::string::npos) << message;
  EXPECT_NE(message.find("File too large"), std::string::npos) << message;
  EXPECT_EQ(bytes(), "as it was");
  EXPECT_EQ(files(), 1);
}

TEST_F(ResultsFiles, RejectsWhatIsNotAResultsFile) {
  EXPECT_MESSAGE(read_results(path("none.h5")), "no such file");
  std::ofstream(path()) << "this is not HDF5";
  EXPECT_MESSAGE(read_results(path()), "file signature not found");
  { const Hdf5Id file(H5Fcreate(path().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, ""); }
  EXPECT_MESSAGE(read_results(path()), "no group /provenance");
}

/// Changes a good file and expects that reading it fails with `part` in the message.
class DamagedResults : public ResultsFiles {
 protected:
  void expect(const std::function<void(hid_t)>& damage, const std::string& part) {
    SCOPED_TRACE(part);
    write_results(path(), made_results());
    {
      const Hdf5Id file(H5Fopen(path().c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose, "");
      damage(file);
    }
    EXPECT_MESSAGE(read_results(path()), part);
  }

  /// Another text of fixed length instead of a column.
  static void put_texts(hid_t file, const char* name, const std::string& text, hsize_t rows) {
    H5Ldelete(file, name, H5P_DEFAULT);
    const Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "");
    hdf5_check(H5Tset_size(type, text.size()), "");
    const Hdf5Id space(H5Screate_simple(1, &rows, nullptr), H5Sclose, "");
    const Hdf5Id dataset(H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose, "");
    std::string all;
    for (hsize_t row = 0; row < rows; ++row) all += text;
    hdf5_check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all.data()), "");
  }

  /// Zeros, which are in the file.
  static void put(hid_t file, const char* name, hid_t type, hsize_t rows) {
    const Hdf5Id space(H5Screate_simple(1, &rows, nullptr), H5Sclose, "");
    const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    const Hdf5Id dataset(H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose, "");
  }

  static void replace_attribute(hid_t file, const char* name, hid_t type, hsize_t count, const void* values) {
    const Hdf5Id group(H5Gopen2(file, "provenance", H5P_DEFAULT), H5Gclose, "");
    H5Adelete(group, name);
    const Hdf5Id space(H5Screate_simple(1, &count, nullptr), H5Sclose, "");
    const Hdf5Id attribute(H5Acreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, "");
    hdf5_check(H5Awrite(attribute, type, values), "");
  }
};

TEST_F(DamagedResults, AreRejectedWithTheReason) {
  expect([](hid_t file) { H5Ldelete(file, "emulation", H5P_DEFAULT); }, "no group /emulation");
  expect([](hid_t file) { H5Ldelete(file, "emulation/cycles", H5P_DEFAULT); },
         "column 'cycles' of /emulation is missing");
  expect(
      [](hid_t file) {
        H5Ldelete(file, "emulation/cycles", H5P_DEFAULT);
        put(file, "emulation/cycles", H5T_NATIVE_INT64, 8);
      },
      "have 7 and 8 rows");
  expect(
      [](hid_t file) {
        H5Ldelete(file, "emulation/cycles", H5P_DEFAULT);
        put(file, "emulation/cycles", H5T_NATIVE_DOUBLE, 5);
      },
      "another type");
  expect([](hid_t file) { put_texts(file, "skipped/stage", "emulate", 9); },
         "column 'stage' of /skipped holds 'emulate'");
  for (const std::int64_t version : {schema_version - 1, schema_version + 1}) {
    expect(
        [&](hid_t file) {
          const Hdf5Id group(H5Gopen2(file, "provenance", H5P_DEFAULT), H5Gclose, "");
          const Hdf5Id attribute(H5Aopen(group, "schema_version", H5P_DEFAULT), H5Aclose, "");
          hdf5_check(H5Awrite(attribute, H5T_NATIVE_INT64, &version), "");
        },
        "its schema is version " + std::to_string(version) + ", this program reads version " +
            std::to_string(schema_version));
  }
}

TEST_F(DamagedResults, ProvenanceIsOfTheRightShape) {
  const std::vector<std::int64_t> versions(4000, schema_version);
  expect([&](hid_t file) { replace_attribute(file, "schema_version", H5T_NATIVE_INT64, 4000, versions.data()); },
         "cannot read attribute 'schema_version' of '" + path() + "': it has 4000 values instead of one");
  const char* text = "0.1.0";
  expect(
      [&](hid_t file) {
        const Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "");
        H5Tset_size(type, H5T_VARIABLE);
        replace_attribute(file, "program_version", type, 1, &text);
      },
      "it is a text of variable length");
  expect([](hid_t file) { put_texts(file, "provenance/config", "x = 1", 2); }, "has 2 texts instead of one");
  expect([](hid_t file) { H5Ldelete(file, "provenance/config", H5P_DEFAULT); },
         "column 'config' of /provenance is missing");
  expect([](hid_t file) { put_texts(file, "skipped", "no group", 1); }, "it is not a group");
}

TEST_F(DamagedResults, AskForNoMoreThanTheFileHolds) {
  const auto put_unwritten = [](hid_t file, const char* name, hsize_t rows) {
    H5Ldelete(file, name, H5P_DEFAULT);
    const Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "");
    const Hdf5Id space(H5Screate_simple(1, &rows, nullptr), H5Sclose, "");
    const Hdf5Id dataset(H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose, "");
  };
  expect([&](hid_t file) { put_unwritten(file, "provenance/devices", 1000000000); }, "it claims 1000000000 values");
  expect([&](hid_t file) { put_unwritten(file, "skipped/reason", 30000000); }, "it claims 30000000 values");
}

TEST_F(ResultsFiles, OnlyWhatMayBeNotAvailableIsNoNumber) {
  const auto message = [&](double SummaryRow::*summary, double EmulationRow::*emulation, double value) {
    Results results;
    results.summary.push_back(made_row<SummaryRow>(1));
    results.emulation.push_back(made_row<EmulationRow>(1));
    if (summary) results.summary[0].*summary = value;
    if (emulation) results.emulation[0].*emulation = value;
    write_results(path(), results);
    return message_of([&] { read_results(path()); });
  };
  EXPECT_EQ(message(&SummaryRow::loss, nullptr, NAN), "");
  EXPECT_NE(message(&SummaryRow::loss, nullptr, INFINITY).find("column 'loss' of /summary holds an infinite number"),
            std::string::npos);
  EXPECT_NE(message(nullptr, &EmulationRow::energy_pj, -INFINITY).find("holds an infinite number"), std::string::npos);
  EXPECT_NE(
      message(nullptr, &EmulationRow::utilisation, NAN).find("'utilisation' of /emulation holds what is not a number"),
      std::string::npos);
}

TEST_F(ResultsFiles, AFlippedBitAnywhereNeverGivesOtherResults) {
  write_results(path(), made_results());
  const Results expected = read_results(path());
  const std::string whole = bytes();
  constexpr std::size_t tries = 200;
  std::size_t refused = 0;
  for (std::size_t i = 0; i < tries; ++i) {
    std::string damaged = whole;
    char& byte = damaged[i * (whole.size() - 1) / (tries - 1)];
    byte = char(byte ^ 1 << i % 8);
    std::ofstream(path(), std::ios::binary) << damaged;
    try {
      expect_equal(read_results(path()), expected);  // in what nothing is read from
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, tries / 2);
}

TEST_F(ResultsFiles, AFlippedBitIsNoticed) {
  Results results;
  for (int row = 0; row < 2000; ++row) results.emulation.push_back(made_row<EmulationRow>(row));
  write_results(path(), results);
  const Hdf5Id file = open_hdf5(path());
  haddr_t address = 0;
  hsize_t size = 0;
  {
    const Hdf5Id dataset(H5Dopen2(file, "emulation/cycles", H5P_DEFAULT), H5Dclose, "");
    const Hdf5Id space(H5Dget_space(dataset), H5Sclose, "");
    hsize_t offset = 0;
    unsigned filters = 0;
    ASSERT_GE(H5Dget_chunk_info(dataset, space, 0, &offset, &filters, &address, &size), 0);
  }
  std::fstream raw(path(), std::ios::binary | std::ios::in | std::ios::out);
  raw.seekg(std::streamoff(address + size / 2));
  const char byte = char(raw.get() ^ 4);
  raw.seekp(std::streamoff(address + size / 2));
  raw.put(byte);
  raw.close();
  EXPECT_MESSAGE(read_results(path()), "cannot read column /emulation/cycles");
}

}  // namespace
}  // namespace bitcluster
