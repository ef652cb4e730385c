#include "harness/ranks/interruption.hpp"

#include <csignal>

namespace bitcluster {
namespace {

volatile std::sig_atomic_t asked = 0;

void note(int) { asked = 1; }

}  // namespace

void catch_interruptions() {
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

bool interruption_asked() { return asked != 0; }

}  // namespace bitcluster
