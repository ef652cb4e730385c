#pragma once

#include <functional>
#include <string>

#include "host/base/error.hpp"

namespace bitcluster {

/// The message of the Error that an action throws; empty if it throws none.
inline std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace bitcluster

/// The action throws an Error whose message contains `part`.
#define EXPECT_MESSAGE(action, part)                                     \
  do {                                                                   \
    const std::string message = bitcluster::message_of([&] { action; }); \
    EXPECT_NE(message.find(part), std::string::npos) << message;         \
  } while (false)
