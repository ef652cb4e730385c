#include "harness/ranks/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "host/base/printable.hpp"

namespace bitcluster {
namespace {

std::string duration(double seconds) {
  const long whole = long(seconds + 0.5);
  if (whole < 100) return fmt::format("{} s", whole);
  if (whole < 5400) return fmt::format("{} min", (whole + 30) / 60);
  return fmt::format("{} h", (whole + 1800) / 3600);
}

}  // namespace

Progress::Progress(bool visible, const std::string& label, double total)
    : visible_(visible),
      terminal_(isatty(STDERR_FILENO)),
      label_(printable(label)),
      total_(total),
      start_(std::chrono::steady_clock::now()),
      last_shown_(start_) {
  if (visible_ && terminal_) show(false);
}

Progress::~Progress() {
  if (visible_) show(true);
}

void Progress::update(double done) {
  done_ = done;
  const auto now = std::chrono::steady_clock::now();
  const double since = std::chrono::duration<double>(now - last_shown_).count();
  if (!visible_ || since < (terminal_ ? 0.1 : 5.0)) return;
  last_shown_ = now;
  show(false);
}

void Progress::show(bool last) {
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double fraction = total_ > 0 ? std::min(1.0, done_ / total_) : 1;  // nothing to do: all of it is done
  std::string text = label_;
  text.resize(std::max<std::size_t>(text.size(), 40), ' ');
  if (terminal_) {
    const int width = 24, filled = int(fraction * width);
    text += " [" + std::string(filled, '#') + std::string(width - filled, '.') + "]";
  }
  text += fmt::format(" {:3.0f} %", 100 * fraction);
  if (last) {
    text += fmt::format("  {}", duration(elapsed));
  } else if (done_ > 0) {
    text += fmt::format("  about {} left", duration(elapsed * (1 - fraction) / fraction));
  }
  fmt::print(stderr, "{}{}{}", terminal_ ? "\r\033[K" : "", text, terminal_ && !last ? "" : "\n");
  std::fflush(stderr);
}

}  // namespace bitcluster
