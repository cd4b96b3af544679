// Threads that share the iterations of a loop. Whoever calls works, too, and waits for nobody who has not taken a part: on a
// core that another program holds, a worker comes late, and the loop is done without it. Workers that have nothing to do
// look for work for a moment, and then sleep. What is computed does not depend on who computes it.
#include <unistd.h>
#include <atomic>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <thread>

#if defined(__x86_64__) || defined(__i386__)
#define FS_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define FS_PAUSE() asm volatile("yield")
#else
#define FS_PAUSE() std::this_thread::yield()
#endif

class Pool {
 public:
  const pid_t owner = getpid();

  // f(i) for i in [0, n), taken in parts of `grain`; a caller that finds the pool at work does all of its loop itself.
  template <class F> void run(int threads, int n, int grain, F& f) {
    const int parts = (n + grain - 1) / grain;
    if (threads > 1 && parts > 1 && busy_.try_lock()) {
      grow(threads - 1);
      part_ = [](void* context, int part) {
        const auto& job = *(const Job<F>*)context;
        const int from = part * job.grain, to = from + job.grain < job.n ? from + job.grain : job.n;
        for (int i = from; i < to; ++i) (*job.f)(i);
      };
      Job<F> job{&f, n, grain};
      share(&job, parts, threads - 1);
      busy_.unlock();
      return;
    }
    for (int i = 0; i < n; ++i) f(i);
  }

 private:
  template <class F> struct Job { F* f; int n, grain; };
  static constexpr int64_t LOOKS_NS = 50000;  // longer than most of what lies between two loops of a frame
  static constexpr uint64_t LEFT = 0xffffffffull;

  // Only the holder of `busy_` writes these, and only while no part of a job is left or under way.
  void (*part_)(void*, int) = nullptr;
  void* context_ = nullptr;
  int parts_ = 0, workers_ = 0;
  std::mutex busy_, sleep_;
  std::condition_variable wake_;
  alignas(64) std::atomic<uint64_t> state_{0};  // number of the job << 32 | parts that nobody has taken
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<int> sleeping_{0}, most_{0};

  static int64_t now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
  }

  // Takes a part of the job at hand, if one is left. What it says was read after it was taken, so it is that job's.
  bool work() {
    uint64_t seen = state_.load(std::memory_order_relaxed);
    do
      if (!(seen & LEFT)) return false;
    while (!state_.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_relaxed));
    part_(context_, parts_ - (int)(seen & LEFT));
    done_.fetch_add(1, std::memory_order_acq_rel);
    return true;
  }

  void share(void* context, int parts, int helpers) {
    context_ = context, parts_ = parts;
    done_.store(0, std::memory_order_relaxed);
    most_.store(helpers, std::memory_order_relaxed);
    state_.store(((state_.load(std::memory_order_relaxed) >> 32) + 1) << 32 | (uint64_t)parts);  // in one order with `sleeping_`
    if (sleeping_.load()) {
      std::lock_guard<std::mutex> lock(sleep_);
      wake_.notify_all();
    }
    while (work()) {}
    for (int looks = 0; done_.load(std::memory_order_acquire) != parts; ++looks)
      if (looks < 2000) FS_PAUSE();
      else std::this_thread::yield();  // whoever has the last part may need this core
  }

  void grow(int workers) {
    for (; workers_ < workers; ++workers_) std::thread(&Pool::look_for_work, this, workers_).detach();
  }

  void look_for_work(int number) {
    for (;;) {
      int64_t until = now() + LOOKS_NS;
      while (now() < until) {
        if (number < most_.load(std::memory_order_relaxed) && work()) until = now() + LOOKS_NS;
        else for (int i = 0; i < 32 && !(state_.load(std::memory_order_relaxed) & LEFT); ++i) FS_PAUSE();
      }
      std::unique_lock<std::mutex> lock(sleep_);
      sleeping_.fetch_add(1);
      wake_.wait(lock, [this] { return (state_.load() & LEFT) != 0; });
      sleeping_.fetch_sub(1);
    }
  }
};

// The pool of this library in this process: a child of fork() has no workers, and takes another. It is never destroyed, since
// its threads may look at it until the process is gone.
static Pool& pool() {
  static std::atomic<Pool*> latest{nullptr};
  for (Pool* found = latest.load(std::memory_order_acquire);;) {
    if (found && found->owner == getpid()) return *found;
    Pool* const made = new Pool;
    if (latest.compare_exchange_strong(found, made)) return *made;
    delete made;
  }
}

// f(i) for i in [0, n) on so many threads; `grain` iterations are taken at once, 0: an eighth of a thread's share.
template <class F> static void parallel(int threads, int n, int grain, F f) {
  if (grain == 0) grain = n / (8 * threads) > 1 ? n / (8 * threads) : 1;
  pool().run(threads, n, grain, f);
}
