#pragma once

#include <chrono>
#include <string>

namespace bitcluster {

/// Shows on stderr how far a long step is: a bar on a terminal, else a line every few seconds. The estimate of what is
/// left is elapsed time x remaining work / done work. Silent on ranks that are not asked to show anything.
class Progress {
 public:
  Progress(bool visible, const std::string& label, double total);
  ~Progress();

  void update(double done);

 private:
  void show(bool last);

  bool visible_, terminal_;
  std::string label_;
  double total_, done_ = 0;
  std::chrono::steady_clock::time_point start_, last_shown_;
};

}  // namespace bitcluster
