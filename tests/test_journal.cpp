#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

#include "harness/journal/journal.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

std::vector<std::byte> payload_of(int number) {
  std::vector<std::byte> payload(std::size_t(number * 37 % 1000));
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = std::byte(number + int(i));
  return payload;
}

Key key_of(int number) { return KeyBuilder().add("result").add(std::int64_t(number)).key(); }

class JournalTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("bitcluster_journal_" + std::to_string(getpid()));
    std::filesystem::create_directory(folder_);
    output_ = folder_ / "out.h5";
    path_ = Journal::path_of(output_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void expect_first(const Journal& journal, int count) {
    EXPECT_EQ(journal.size(), std::size_t(count));
    for (int i = 0; i < count; ++i) {
      const auto found = journal.find(key_of(i));
      ASSERT_TRUE(found);
      EXPECT_TRUE(std::ranges::equal(*found, payload_of(i)));
    }
    EXPECT_FALSE(journal.find(key_of(count)));
  }

  std::filesystem::path folder_;
  std::string output_, path_;
};

TEST_F(JournalTest, KeepsResults) {
  {
    Journal journal(output_, "me", false);
    expect_first(journal, 0);
    for (int i = 0; i < 20; ++i) journal.append(key_of(i), payload_of(i));
    journal.append(key_of(3), payload_of(9));  // the first one stays
    expect_first(journal, 20);
  }
  {
    Journal journal(output_, "me", true);
    expect_first(journal, 20);
    EXPECT_EQ(journal.found_at_start(), 20u);
    journal.append(key_of(20), payload_of(20));
  }
  Journal journal(output_, "me", true);
  expect_first(journal, 21);
  journal.finish();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(JournalTest, RefusesRecordsOfAnotherSize) {
  Journal journal(output_, "me", false);
  const std::vector<std::byte> payload(10);
  journal.append(key_of(0), payload);
  EXPECT_EQ(journal.find(key_of(0), 10)->size(), 10u);
  EXPECT_FALSE(journal.find(key_of(1), 10));
  EXPECT_MESSAGE(journal.find(key_of(0), 9), "it has 10 bytes where this run records 9");
  EXPECT_MESSAGE(journal.find(key_of(0), 11), path_);
}

TEST_F(JournalTest, LeavesNothingWhereNothingWasRecorded) {
  { const Journal journal(output_, "me", false); }
  EXPECT_FALSE(std::filesystem::exists(path_));
  const auto fails_at_once = [&] {
    const Journal journal(output_, "me", false);
    throw Error("cannot begin", "no such data", "look");
  };
  EXPECT_MESSAGE(fails_at_once(), "no such data");
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(JournalTest, RefusesWhatIsNotItsOwn) {
  {
    Journal journal(output_, "me", false);
    journal.append(key_of(0), payload_of(0));
    EXPECT_MESSAGE(Journal(output_, "me", true), "another run");
    EXPECT_MESSAGE(Journal(output_, "me", true), "locked");
  }
  EXPECT_MESSAGE(Journal(output_, "me", false), "interrupted run");
  EXPECT_MESSAGE(Journal(output_, "me", false), "1 results");
  EXPECT_MESSAGE(Journal(output_, "me", false), "--resume");
  EXPECT_MESSAGE(Journal(output_, "you", true), "cannot be resumed");
  EXPECT_MESSAGE(Journal(output_, "you", true), "written by me");
  EXPECT_MESSAGE(Journal(output_, "you", true), "this is you");
  expect_first(Journal(output_, "me", true), 1);  // nothing of that changed it
  std::ofstream(path_) << "something else, and longer than what a journal begins with";
  EXPECT_MESSAGE(Journal(output_, "me", true), "no journal");
  EXPECT_MESSAGE(Journal("/no/such/folder/out.h5", "me", true), "cannot open");
  EXPECT_MESSAGE(Journal("/no/such/folder/out.h5", "me", true), "No such file");
}

// Whatever a kill leaves: every prefix of the file, and every byte of the last record changed.
TEST_F(JournalTest, DropsWhatIsCutOff) {
  std::vector<std::uintmax_t> sizes;
  {
    Journal journal(output_, "me", false);
    for (int i = 0; i < 5; ++i) {
      sizes.push_back(std::filesystem::file_size(path_));
      journal.append(key_of(i), payload_of(i));
    }
    sizes.push_back(std::filesystem::file_size(path_));
  }
  std::ifstream file(path_, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(file)), {});
  for (std::uintmax_t length = 0; length <= whole.size(); ++length) {
    std::ofstream(path_, std::ios::binary) << whole.substr(0, length);
    int complete = 0;
    while (complete + 1 < int(sizes.size()) && sizes[complete + 1] <= length) ++complete;
    Journal journal(output_, "me", true);
    ASSERT_EQ(journal.size(), std::size_t(complete)) << length;
    journal.append(key_of(complete), payload_of(complete));
    expect_first(journal, complete + 1);
  }
  for (std::uintmax_t place = sizes[4]; place < whole.size(); ++place) {
    std::string changed = whole;
    changed[place] = char(changed[place] ^ 0x10);
    std::ofstream(path_, std::ios::binary) << changed;
    expect_first(Journal(output_, "me", true), 4);
  }
}

TEST_F(JournalTest, SaysHowMuchItLeavesOut) {
  std::uintmax_t first = 0;
  {
    Journal journal(output_, "me", false);
    EXPECT_EQ(journal.bytes_left_out(), 0u);
    for (int i = 0; i < 5; ++i) {
      journal.append(key_of(i), payload_of(i));
      if (i == 0) first = std::filesystem::file_size(path_);
    }
  }
  EXPECT_EQ(Journal(output_, "me", true).bytes_left_out(), 0u);
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(std::streamoff(first)).put('x');  // of the second record
  file.close();
  const std::uintmax_t size = std::filesystem::file_size(path_);
  EXPECT_MESSAGE(Journal(output_, "me", false), "1 results of it are there");
  {
    const Journal journal(output_, "me", true);
    expect_first(journal, 1);
    EXPECT_EQ(journal.bytes_left_out(), size - first);
  }
  EXPECT_EQ(Journal(output_, "me", true).bytes_left_out(), 0u) << "they are gone";
}

TEST_F(JournalTest, WithoutAWholeRecordIsNotBegunAnewUnasked) {
  { Journal(output_, "me", false).append(key_of(1), payload_of(1)); }
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  EXPECT_MESSAGE(Journal(output_, "me", false), "0 results of it are there");
  EXPECT_TRUE(std::filesystem::exists(path_));
  EXPECT_GT(Journal(output_, "me", true).bytes_left_out(), 0u);
}

TEST_F(JournalTest, OpensNothingButAFile) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0666), 0);
  EXPECT_MESSAGE(Journal(output_, "me", true), "cannot write '" + path_ + "': it is a FIFO");
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  EXPECT_MESSAGE(Journal(output_, "me", true), "it is a folder");
  std::filesystem::remove(path_);
  std::ofstream(folder_ / "config") << "x = 1";
  std::filesystem::create_symlink("config", path_);
  EXPECT_MESSAGE(Journal(output_, "me", true), "is no journal");
  std::ifstream config(folder_ / "config");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(config), {}), "x = 1");
}

TEST_F(JournalTest, BehindALinkIsRemovedFromWhereItIs) {
  std::filesystem::create_symlink("elsewhere", path_);
  Journal journal(output_, "me", false);
  journal.append(key_of(1), payload_of(1));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "elsewhere"));
  journal.finish();
  EXPECT_FALSE(std::filesystem::exists(folder_ / "elsewhere"));
}

// A process that is killed while it appends: what it said was there is there.
TEST_F(JournalTest, SurvivesKills) {
  std::mt19937 random(1);
  int known = 0;
  for (int trial = 0; trial < 20; ++trial) {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      Journal journal(output_, "me", true);
      for (int i = int(journal.size());; ++i) {
        journal.append(key_of(i), payload_of(i));
        if (write(pipe_ends[1], &i, sizeof i) != sizeof i) _exit(1);
      }
    }
    close(pipe_ends[1]);
    int last = -1, number = 0;
    const int enough = int(random() % 50) + 1;
    for (int i = 0; i < enough && read(pipe_ends[0], &number, sizeof number) == sizeof number; ++i) last = number;
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    while (read(pipe_ends[0], &number, sizeof number) == sizeof number) last = number;
    close(pipe_ends[0]);
    const Journal journal(output_, "me", true);
    ASSERT_GE(int(journal.size()), last + 1);
    ASSERT_GE(int(journal.size()), known);
    known = int(journal.size());
    expect_first(journal, known);
  }
}

TEST_F(JournalTest, LeavesNothingOnAFullDisk) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10, 10};  // [byte]
    setrlimit(RLIMIT_FSIZE, &limit);
    _exit(message_of([&] { Journal(output_, "me", false); }).find("cannot write") == std::string::npos);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(JournalTest, FullDiskLosesNothing) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{2000, 2000};  // [byte]
    setrlimit(RLIMIT_FSIZE, &limit);
    int number = 0;
    try {
      Journal journal(output_, "me", false);
      for (;; ++number) journal.append(key_of(number), payload_of(number));
    } catch (const std::exception& error) {
      _exit(std::string(error.what()).find("cannot write") != std::string::npos && number > 2 ? number : 0);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_GT(WEXITSTATUS(status), 2);
  expect_first(Journal(output_, "me", true), WEXITSTATUS(status));
}

}  // namespace
}  // namespace bitcluster
