// Loops of all sizes, from several threads at once and from a child process: every iteration is run once.
#include <sys/wait.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>
#include "pool.h"

static void check(unsigned seed, int jobs) {
  std::vector<int> counts(5000);
  for (int job = 0; job < jobs; ++job) {
    seed = seed * 1664525u + 1013904223u;
    const int n = seed >> 8 & 1 ? (int)(seed >> 16) % 40 : (int)(seed >> 12) % 5000, grain = (int)(seed >> 4) % 7;
    for (int i = 0; i < n; ++i) counts[i] = 0;
    parallel(1 + (int)(seed % 5), n, grain, [&](int i) { ++counts[i]; });
    for (int i = 0; i < n; ++i)
      if (counts[i] != 1) std::printf("iteration %d of %d was run %d times\n", i, n, counts[i]), std::exit(1);
    if (job % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // workers fall asleep
  }
}

int main(int argc, char** argv) {
  const int jobs = std::atoi(argv[1]);
  check(1, jobs);
  std::vector<std::thread> callers;
  for (unsigned k = 0; k < 3; ++k) callers.emplace_back(check, 7 + k, jobs);
  for (std::thread& caller : callers) caller.join();
  if (argc > 2) return 0;  // a sanitizer of threads does not follow children
  const pid_t child = fork();
  if (child == 0) check(3, jobs), _exit(0);
  int status = 1;
  waitpid(child, &status, 0);
  return status != 0;
}
