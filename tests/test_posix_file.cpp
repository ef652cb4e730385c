#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "host/files/posix_file.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

namespace fs = std::filesystem;

class PosixFiles : public testing::Test {
 protected:
  PosixFiles()
      : folder_(fs::path(testing::TempDir()) /
                (std::string("posix_") + testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~PosixFiles() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string put(const std::string& name, const std::string& content) const {
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name);
  }
  std::string content(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  int files() const { return int(std::distance(fs::directory_iterator(folder_), fs::directory_iterator())); }

  std::string fifo() const {
    EXPECT_EQ(mkfifo(path("fifo").c_str(), 0666), 0);
    return path("fifo");
  }
  std::string socket_file() const {
    const int id = ::socket(AF_UNIX, SOCK_STREAM, 0);
    const int here = open(".", O_RDONLY);
    EXPECT_EQ(chdir(folder_.c_str()), 0);  // names of sockets are short
    sockaddr_un address{AF_UNIX, "socket"};
    EXPECT_EQ(bind(id, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(fchdir(here), 0);
    close(here);
    close(id);
    return path("socket");
  }
  /// Empty where nodes cannot be made. As /dev/full, here.
  std::string device() const {
    const bool made = mknod(path("device").c_str(), S_IFCHR | 0666, makedev(1, 7)) == 0;
    return made ? path("device") : "";
  }

  fs::path folder_;
};

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST_F(PosixFiles, OnlyFilesAreRead) {
  EXPECT_MESSAGE(check_readable(path("none")),
                 "cannot read '" + path("none") + "': there is no such file; check the path");
  EXPECT_MESSAGE(check_readable(path("none"), "look again"), "; look again");
  EXPECT_MESSAGE(check_readable(""), "the name is empty");
  EXPECT_MESSAGE(check_readable(folder_.string()), "it is a folder");
  EXPECT_MESSAGE(check_readable(fifo()), "it is a FIFO");  // and does not wait for its other end
  EXPECT_MESSAGE(check_readable(socket_file()), "it is a socket");
  EXPECT_MESSAGE(check_readable(put("file", "x") + "/below"), "Not a directory");
  EXPECT_MESSAGE(check_readable(path(std::string(300, 'n'))), "File name too long");
  fs::create_symlink("loop", path("loop"));
  EXPECT_MESSAGE(check_readable(path("loop")), "Too many levels of symbolic links");
  if (!device().empty()) EXPECT_MESSAGE(check_readable(path("device")), "it is a device");
  EXPECT_EQ(message_of([&] { check_readable(path("file")); }), "");
  fs::create_symlink("file", path("link"));
  EXPECT_EQ(message_of([&] { check_readable(path("link")); }), "");
}

TEST_F(PosixFiles, AreReadWholeOrNot) {
  const auto read = [](const std::string& path, std::size_t most) {
    const std::vector<std::byte> bytes = read_input(path, most);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  EXPECT_EQ(read(put("empty", ""), 0), "");
  EXPECT_EQ(read(put("file", "content"), 7), "content");
  EXPECT_MESSAGE(read(path("file"), 6), "it has 7 bytes, at most 6 are read");
  EXPECT_MESSAGE(read(fifo(), 6), "it is a FIFO");
  EXPECT_MESSAGE(read("/proc/self/mem", 100), "Input/output error");
  EXPECT_FALSE(read("/proc/self/status", 0).empty());  // which says that it has no bytes
}

TEST_F(PosixFiles, OnlyFilesAreReplaced) {
  std::vector<std::pair<std::string, std::string>> refused = {
      {folder_.string(), "it is a folder"}, {fifo(), "it is a FIFO"}, {socket_file(), "it is a socket"}};
  if (!device().empty()) refused.emplace_back(path("device"), "it is a device");
  for (const auto& [target, why] : refused) {
    struct stat before {
    }, after{};
    ASSERT_EQ(stat(target.c_str(), &before), 0);
    const std::string link = path("link");
    fs::create_symlink(target, link);
    for (const std::string& name : {target, link}) {
      EXPECT_MESSAGE(check_writable(name), why);
      EXPECT_MESSAGE(write_durably(name, bytes_of("new")), why);
      EXPECT_MESSAGE(write_durably(name, bytes_of("new")), "nothing else is replaced");
    }
    ASSERT_EQ(stat(target.c_str(), &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino);
    EXPECT_TRUE(fs::is_symlink(link));
    fs::remove(link);
  }
}

TEST_F(PosixFiles, ALinkStaysAndItsTargetIsReplaced) {
  fs::create_directory(path("there"));
  put("there/file", "old");
  fs::create_symlink("there/file", path("link"));
  fs::create_symlink("link", path("link to a link"));
  check_writable(path("link to a link"));
  EXPECT_EQ(content("there/file"), "old");
  write_durably(path("link to a link"), bytes_of("new"));
  EXPECT_EQ(content("there/file"), "new");
  EXPECT_TRUE(fs::is_symlink(path("link")) && fs::is_symlink(path("link to a link")));
  EXPECT_EQ(std::distance(fs::directory_iterator(path("there")), fs::directory_iterator()), 1);
  fs::create_symlink("there/none", path("dangling"));
  write_durably(path("dangling"), bytes_of("made"));
  EXPECT_EQ(content("there/none"), "made");
  fs::create_symlink("nowhere/none", path("lost"));
  EXPECT_MESSAGE(check_writable(path("lost")), "No such file");
}

TEST_F(PosixFiles, NoInputIsReplacedUnderAnyName) {
  put("input", "old");
  fs::create_hard_link(path("input"), path("hard"));
  fs::create_symlink("input", path("soft"));
  const std::vector<std::string> names = {path("input"), path("hard"), path("soft"), path("./input")};
  for (const std::string& name : names) EXPECT_EQ(message_of([&] { check_writable(name); }), "");
  check_input(path("input"));
  for (const std::string& name : names) {
    EXPECT_MESSAGE(check_writable(name), "it is an input of this command");
    EXPECT_MESSAGE(write_durably(name, bytes_of("new")), "it is an input of this command");
  }
  EXPECT_EQ(content("input"), "old");
  read_input(put("read", "old"), 3);
  EXPECT_MESSAGE(check_writable(path("read")), "it is an input of this command");
  remember_input(path("none"));  // is no error
  EXPECT_EQ(message_of([&] { check_writable(path("none")); }), "");
}

TEST_F(PosixFiles, LongNamesAreWrittenOrRefused) {
  const std::string longest(255, 'n');
  check_writable(path(longest));
  write_durably(path(longest), bytes_of("new"));
  EXPECT_EQ(content(longest), "new");
  EXPECT_EQ(files(), 1);
  EXPECT_MESSAGE(check_writable(path(longest + "n")), "File name too long");
  EXPECT_MESSAGE(write_durably(path(longest + "n"), bytes_of("new")), "File name too long");
}

TEST_F(PosixFiles, WhatAKilledProcessLeftIsNotFollowed) {
  put("precious", "old");
  fs::create_symlink("precious", path("out." + std::to_string(getpid()) + ".partial"));
  check_writable(path("out"));
  fs::create_symlink("precious", path("out." + std::to_string(getpid()) + ".partial"));
  write_durably(path("out"), bytes_of("new"));
  EXPECT_EQ(content("out"), "new");
  EXPECT_FALSE(fs::is_symlink(path("out")));
  EXPECT_EQ(content("precious"), "old");
  EXPECT_EQ(files(), 2);
}

}  // namespace
}  // namespace bitcluster
