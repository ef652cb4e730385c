#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "host/files/hdf5.hpp"
#include "host/results/file.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

namespace fs = std::filesystem;

/// A row of distinct values of the right types.
std::vector<Value> made_row(const Table& table, int seed) {
  std::vector<Value> row;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const int value = seed * 100 + int(c);
    switch (table.columns[c].type) {
      case Column::Type::integer:
        row.emplace_back(std::int64_t(value) - (std::int64_t(1) << 40));
        break;
      case Column::Type::real:
        row.emplace_back(value / 7.0);
        break;
      case Column::Type::text:
        row.emplace_back(std::string(std::size_t(seed % 5), 'x') + std::to_string(value));
        break;
    }
  }
  return row;
}

Results made_results() {
  Results results;
  results.provenance = {"0.1.0", "abc123", "seed = 3\n# \xC3\xA4\n", "2022-02-02T02:02:02Z",
                        3,       2,        {"a: cpu", "bb: cuda"}};
  int rows = 0;
  for (Table* table : results.tables()) {
    for (int row = 0; row < rows; ++row) table->add(made_row(*table, row));
    ++rows;  // the first table stays empty
  }
  return results;
}

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
  const auto left = a.tables(), right = b.tables();
  for (std::size_t t = 0; t < left.size(); ++t) EXPECT_EQ(left[t]->rows, right[t]->rows) << left[t]->name;
}

TEST_F(ResultsFiles, ReadsBackWhatWasWritten) {
  const Results results = made_results();
  write_results(path(), results);
  expect_equal(read_results(path()), results);
  EXPECT_EQ(files(), 1);  // no temporary file is left
}

TEST_F(ResultsFiles, KeepsEmptyTablesEmptyTextNanAndInfinity) {
  Results results;
  write_results(path(), results);
  expect_equal(read_results(path()), results);
  results.skipped.add({"", "", std::string(70000, 'r'), "\xE2\x88\x92"});
  auto row = made_row(results.summary, 1);
  row[std::size_t(results.summary.column("cycles"))] = std::nan("");
  row[std::size_t(results.summary.column("loss"))] = -INFINITY;
  results.summary.add(row);
  results.provenance.config = std::string(200000, 'c');  // beyond the 64 KiB of a fixed-length attribute
  write_results(path(), results);
  const Results read = read_results(path());
  EXPECT_EQ(read.skipped.rows, results.skipped.rows);
  EXPECT_EQ(read.provenance.config, results.provenance.config);
  EXPECT_TRUE(std::isnan(read.summary.number(0, "cycles")));
  EXPECT_EQ(read.summary.number(0, "loss"), -INFINITY);
}

TEST_F(ResultsFiles, WritesManyRowsInChunks) {
  Results results;
  for (int row = 0; row < 40000; ++row) results.emulation.add(made_row(results.emulation, row));
  write_results(path(), results);
  EXPECT_EQ(read_results(path()).emulation.rows, results.emulation.rows);
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
                           "\"description\"", "( 6 ) / ( H5S_UNLIMITED )"}) {
    EXPECT_NE(column.find(part), std::string::npos) << part << column;
  }
  const std::string text = dump("-d /skipped/reason");
  EXPECT_NE(text.find("\"x103\""), std::string::npos) << text;
  const std::string provenance = dump("-g /provenance");
  for (const char* part :
       {"schema_version", "program_version", "git_commit", "config", "date", "seed", "ranks", "devices", "bb: cuda"}) {
    EXPECT_NE(provenance.find(part), std::string::npos) << part;
  }
  const std::string empty = dump("-d /layers/macs");
  EXPECT_NE(empty.find("( 0 ) / ( H5S_UNLIMITED )"), std::string::npos) << empty;
}

TEST_F(ResultsFiles, EveryColumnHasUnitAndDescription) {
  const Results results;
  for (const Table* table : results.tables()) {
    for (const Column& column : table->columns) {
      EXPECT_FALSE(column.unit.empty()) << table->name << "/" << column.name;
      EXPECT_FALSE(column.description.empty()) << table->name << "/" << column.name;
      EXPECT_EQ(table->columns[std::size_t(table->column(column.name))].name, column.name) << "named twice";
    }
  }
}

/// Results of one model: three rows per table, and the accelerators that all models share.
Results results_of(const std::string& model, int seed) {
  Results results;
  results.provenance = {"0.1.0", "abc123", "seed = 3\n",     "2022-02-0" + std::to_string(seed) + "T02:02:02Z",
                        3,       1,        {model + ": cpu"}};
  for (Table* table : results.tables()) {
    for (int row = 0; row < 3; ++row) {
      table->add(made_row(*table, table == &results.accelerators ? row : 10 * seed + row));
      if (table != &results.accelerators) std::get<std::string>(table->rows.back()[0]) = model;
    }
  }
  return results;
}

TEST_F(ResultsFiles, OfOtherModelsAreMergedInTheirOrder) {
  const Results one = results_of("one", 1), two = results_of("two", 3);
  Results three = results_of("three", 2);
  three.accelerators.rows[1] = made_row(three.accelerators, 7);  // one that the others did not run
  write_results(path("1.h5"), one);
  write_results(path("2.h5"), two);
  write_results(path("3.h5"), three);
  const Results merged = merge_results({path("2.h5"), path("1.h5"), path("3.h5")});
  EXPECT_EQ(models_of(merged), (std::vector<std::string>{"two", "one", "three"}));
  for (std::size_t t = 0; t < merged.tables().size(); ++t) {
    const Table& table = *merged.tables()[t];
    std::vector<std::vector<Value>> expected;
    for (const Results* part : std::vector<const Results*>{&two, &one, &three}) {
      const auto& rows = part->tables()[t]->rows;
      expected.insert(expected.end(), rows.begin(), rows.end());
    }
    if (&table == &merged.accelerators) {
      expected = two.accelerators.rows;
      expected.push_back(three.accelerators.rows[1]);
    }
    if (&table == &merged.summary) expected.clear();  // means over all models are to be worked out anew
    EXPECT_EQ(table.rows, expected) << table.name;
  }
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
  expect([](Results& other) { std::get<double>(other.accelerators.rows[2].back()) = 1.5; }, "is not the same in both");
  expect([](Results& other) { std::get<std::string>(other.assignments.rows[1][0]) = "one"; },
         "both have the model 'one'");
  expect([](Results& other) { std::get<std::string>(other.emulation.rows[2][0]) = "one"; },
         "both have the model 'one'");
  EXPECT_MESSAGE(merge_results({path("1.h5"), path("none.h5")}), "no such file");
}

TEST(Table, ChecksRowsAndColumns) {
  Table table{"t", {{"n", Column::Type::integer, "1", ""}, {"s", Column::Type::text, "none", ""}}, {}};
  table.add({std::int64_t(3), "x"});
  EXPECT_EQ(table.number(0, "n"), 3);
  EXPECT_EQ(table.text(0, "s"), "x");
  EXPECT_MESSAGE(table.add({std::int64_t(3)}), "1 values for 2 columns");
  EXPECT_MESSAGE(table.add({3.0, "x"}), "column 'n' has the wrong type");
  EXPECT_MESSAGE(table.column("m"), "no column 'm'");
  EXPECT_MESSAGE(table.number(0, "s"), "holds text");
  EXPECT_MESSAGE(table.text(0, "n"), "holds numbers");
  EXPECT_EQ(table.rows.size(), 1u);
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

  static void put(hid_t file, const char* name, hid_t type, hsize_t rows) {
    const Hdf5Id space(H5Screate_simple(1, &rows, nullptr), H5Sclose, "");
    const Hdf5Id dataset(H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose, "");
  }
};

TEST_F(DamagedResults, AreRejectedWithTheReason) {
  expect([](hid_t file) { H5Ldelete(file, "emulation", H5P_DEFAULT); }, "no group /emulation");
  expect([](hid_t file) { H5Ldelete(file, "emulation/cycles", H5P_DEFAULT); },
         "column 'cycles' of /emulation is missing");
  expect(
      [](hid_t file) {
        H5Ldelete(file, "emulation/cycles", H5P_DEFAULT);
        put(file, "emulation/cycles", H5T_NATIVE_INT64, 7);
      },
      "have 6 and 7 rows");
  expect(
      [](hid_t file) {
        H5Ldelete(file, "emulation/cycles", H5P_DEFAULT);
        put(file, "emulation/cycles", H5T_NATIVE_DOUBLE, 5);
      },
      "another type");
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

TEST_F(ResultsFiles, AFlippedBitIsNoticed) {
  Results results;
  for (int row = 0; row < 2000; ++row) results.emulation.add(made_row(results.emulation, row));
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
