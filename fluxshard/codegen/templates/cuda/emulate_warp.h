// CUDA on a processor: a kernel is compiled as C++, and every thread of a block is a fiber.
//
// A block runs on one OS thread, blocks are spread over OpenMP threads. The 32 lanes of a warp run one after another, each
// until it waits or exits: a pass. When a pass ends with all of them at the same warp operation, the last lane does the work
// of all and the next pass begins; when it ends with all at a barrier or at their end, the next warp runs. Anything else can
// never go on and is an error. Passes start at lane 0 or at lane 31, as FLUXSHARD_EMULATOR_ORDER says: what depends on the
// order in which threads happen to run is wrong in one of them.
//
// What is not there shows: shared memory is 0xFF bytes (NaN, -1) when a block starts, and so is the destination of an
// asynchronous copy until its thread waits for it. Not modelled: lanes in lockstep, bank conflicts, weak memory order,
// threads or blocks that spin until another one writes (they hang), partial masks and shuffles of less than 32 lanes.
#pragma once
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define FS_ASAN(...) __VA_ARGS__
#else
#define FS_ASAN(...)
#endif
#if defined(FS_EMULATE_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
#define FS_UCONTEXT
#include <ucontext.h>
#endif

#pragma GCC visibility push(hidden)  // or `__shared__` of a template would be one variable for all kernels of the process
#define FS_VISIBLE __attribute__((visibility("default")))

#ifndef FS_UCONTEXT
extern "C" void fs_switch(void** from, void* to);  // saves what a callee must, leaves the stack in *from, goes on with `to`
#if defined(__x86_64__)
asm(R"(
.text; .globl fs_switch; .hidden fs_switch; .type fs_switch, @function
fs_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size fs_switch, .-fs_switch
)");
#else
asm(R"(
.text; .globl fs_switch; .hidden fs_switch; .type fs_switch, %function
fs_switch:
  stp x29, x30, [sp, #-160]!
  stp x19, x20, [sp, #16]; stp x21, x22, [sp, #32]; stp x23, x24, [sp, #48]; stp x25, x26, [sp, #64]; stp x27, x28, [sp, #80]
  stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #16]; ldp x21, x22, [sp, #32]; ldp x23, x24, [sp, #48]; ldp x25, x26, [sp, #64]; ldp x27, x28, [sp, #80]
  ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]
  ldp x29, x30, [sp], #160
  ret
.size fs_switch, .-fs_switch
)");
#endif
#endif

namespace emulate {

struct uint3 { unsigned x, y, z; };

enum Op : unsigned char {
  RUNNING, EXITED, BARRIER, BARRIER_AND, BARRIER_OR, BARRIER_COUNT, SYNCWARP, BALLOT, ANY, ALL, SHFL, SHFL_XOR, SHFL_UP,
  SHFL_DOWN, MMA_F16, MMA_BF16, MMA8_F16, LDMATRIX4, LDMATRIX2
};
const char* const OPS[] = {
  "", "", "__syncthreads", "__syncthreads_and", "__syncthreads_or", "__syncthreads_count", "__syncwarp", "__ballot_sync",
  "__any_sync", "__all_sync", "__shfl_sync", "__shfl_xor_sync", "__shfl_up_sync", "__shfl_down_sync", "fs_mma_f16",
  "fs_mma_bf16", "fs_mma8_f16", "fs_ldmatrix4", "fs_ldmatrix2"
};
enum Order { FORWARD, REVERSE, ALTERNATE };
static int order = ALTERNATE;  // where a pass starts; fs_set_order sets it
constexpr unsigned MOST_THREADS = 1024, MOST_SHARED = 227 << 10, MESSAGE = 1024;
constexpr int FRONT = 16, BEHIND = FS_ASAN(0 *) 128;  // bytes around dynamic shared memory that must stay as they are

struct Context {  // a fiber that is not running, or the loop over warps
#ifdef FS_UCONTEXT
  ucontext_t state;
#else
  void* stack;
#endif
  FS_ASAN(const void* bottom; size_t bytes; void* fake;)
};

struct Copy { void* to; const void* from; unsigned bytes, group; };  // `from` is null where zeros are written

struct Lane : Context {
  uint3 index;                 // threadIdx
  Op at;                       // what it waits at, and in which line
  int line;
  struct Warp* warp;
  struct Block* block;
  unsigned value, source;      // of a vote or shuffle: brought, then replaced by the result
  void* result;                // of mma and ldmatrix
  const void *first, *second;
  Copy* copies;                // asynchronous ones in flight: [done, issued)
  unsigned done, issued, room, groups;
};

struct Warp {
  Lane* lanes;
  unsigned position, arrived;  // lanes that have run in this pass; those of them that wait at `op`
  bool forward;
  Op op;
  int line;
};

struct Launch {
  const char* name;
  unsigned blocks, threads, shared_bytes;
  const void* args;
  void (*kernel)(const void*);
  char* error;
  int stop;                    // an error has been written
};

struct Block : Context {
  Launch* launch;
  uint3 index, size, grid;
  char* shared;
  unsigned votes, counted;     // predicates at the barrier that is being reached, and at the last one
};

struct Here { Lane* lane; char* statics; size_t static_bytes; };  // `statics`: where `__shared__` variables lie
static thread_local Here here;

struct Pool {  // what an OS thread keeps between launches
  char* stacks;
  unsigned count;
  size_t stride;
  Lane lanes[MOST_THREADS];
  Warp warps[MOST_THREADS / 32];
  char error[MESSAGE];
};

// One pool per OS thread for all kernels that agree on what it is: g++ makes such variables one for the process.
template <size_t BYTES> struct FS_VISIBLE PoolKey {
  static inline pthread_once_t once = PTHREAD_ONCE_INIT;
  static inline pthread_key_t key{};
};

inline void free_pool(void* p) {
  Pool* const pool = static_cast<Pool*>(p);
  if (pool->stacks) munmap(pool->stacks, pool->count * pool->stride);
  for (Lane& lane : pool->lanes) free(lane.copies);
  free(pool);
}

inline Pool* pool() {
  using Key = PoolKey<sizeof(Pool)>;
  pthread_once(&Key::once, [] { pthread_key_create(&Key::key, free_pool); });
  void* p = pthread_getspecific(Key::key);
  if (!p) pthread_setspecific(Key::key, p = calloc(1, sizeof(Pool)));
  return static_cast<Pool*>(p);
}

inline void poison(const void* p, size_t bytes) { FS_ASAN(__asan_poison_memory_region(p, bytes);) }
inline void unpoison(const void* p, size_t bytes) { FS_ASAN(__asan_unpoison_memory_region(p, bytes);) }

inline void record(Launch& launch, const char* format, ...) {
  if (__atomic_exchange_n(&launch.stop, 1, __ATOMIC_ACQ_REL)) return;  // the first one counts
  const int used = snprintf(launch.error, MESSAGE, "kernel %s, ", launch.name);
  va_list list;
  va_start(list, format);
  if (used < int(MESSAGE)) vsnprintf(launch.error + used, MESSAGE - used, format, list);
  va_end(list);
}

inline bool stopped(const Launch& launch) { return __atomic_load_n(&launch.stop, __ATOMIC_RELAXED); }

inline void transfer(Context& from, Context& to, bool for_good = false) {
  FS_ASAN(__sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake, to.bottom, to.bytes);)
#ifdef FS_UCONTEXT
  swapcontext(&from.state, &to.state);
#else
  fs_switch(&from.stack, to.stack);
#endif
  FS_ASAN(__sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);)
}

inline void resume(Context& from, Lane& lane) {
  here.lane = &lane;
  transfer(from, lane);
}

inline Lane& at_position(const Warp& w) { return w.lanes[w.forward ? w.position : 31 - w.position]; }

inline void leave(Lane& me, bool for_good = false) {  // until this lane is resumed, the others of its warp run
  Warp& w = *me.warp;
  if (++w.position == 32) return transfer(me, *me.block, for_good);
  here.lane = &at_position(w);
  transfer(me, *here.lane, for_good);
}

[[noreturn]] __attribute__((noinline)) static void fail(const char* format, ...) {  // in a fiber, which is abandoned
  Lane& me = *here.lane;
  char text[MESSAGE];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  record(*me.block->launch, "block %u, thread %u: %s", me.block->index.x, me.index.x, text);
  transfer(me, *me.block, true);
  __builtin_unreachable();
}

FS_ASAN(__attribute__((no_sanitize_address)))  // it never returns, so nothing would lift the poison from its frame
static void entry() {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom;
  size_t bytes;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  if (here.lane->warp->position == 0) here.lane->block->bottom = bottom, here.lane->block->bytes = bytes;
#endif
  Lane& me = *here.lane;
  Launch& launch = *me.block->launch;
  launch.kernel(launch.args);
  if (me.done != me.issued)
    fail("exits with %u asynchronous copies in flight; commit them and end with fs_cp_wait<0>()", me.issued - me.done);
  me.at = EXITED;
  me.line = 0;
  leave(me, true);
  __builtin_unreachable();
}

// One warp operation: waits for the other lanes; the last one calls work(lanes).
__attribute__((noinline)) static void meet(Lane& me, Op op, int line, void (*work)(Lane*)) {
  Warp& w = *me.warp;
  me.at = op;
  me.line = line;
  if (w.arrived == 0) w.op = op, w.line = line;
  w.arrived += w.op == op && w.line == line;
  if (w.arrived < 32) return leave(me);
  if (work) work(w.lanes);
  w.arrived = w.position = 0;
  w.forward ^= order == ALTERNATE;
  if (stopped(*me.block->launch)) transfer(me, *me.block, true);
  Lane& next = at_position(w);
  if (&next != &me) resume(me, next);
}

__attribute__((noinline)) static unsigned barrier(Op op, int line, bool vote) {
  Lane& me = *here.lane;
  me.at = op;
  me.line = line;
  me.block->votes += vote;
  leave(me);
  return me.block->counted;
}

// "threads 0-15 wait at __syncthreads in line 7, threads 16-31 have exited"
inline void describe(const Lane* lanes, unsigned count, char* text, size_t room) {
  auto same = [&](unsigned i, unsigned j) { return lanes[i].at == lanes[j].at && lanes[i].line == lanes[j].line; };
  size_t used = 0;
  auto say = [&](const char* format, auto... values) {
    if (used < room) used += snprintf(text + used, room - used, format, values...);
  };
  text[0] = 0;
  for (unsigned i = 0, j; i < count; ++i) {
    for (j = 0; j < i && !same(i, j);) ++j;
    if (j < i) continue;  // said already
    say("%sthreads", i ? ", " : "");
    for (unsigned ranges = 0; j < count; ++j) {
      if (!same(i, j)) continue;
      const unsigned start = j;
      while (j + 1 < count && same(i, j + 1)) ++j;
      if (++ranges > 4) { say(" ..."); break; }
      say(start == j ? "%s%u" : "%s%u-%u", ranges > 1 ? "," : " ", lanes[start].index.x, lanes[j].index.x);
    }
    if (lanes[i].at == EXITED) say(" have exited");
    else say(" wait at %s in line %d", OPS[lanes[i].at], lanes[i].line);
  }
}

inline void diverged(Launch& launch, const Block& block, const Lane* lanes, bool warp) {
  char text[MESSAGE - 200];
  describe(lanes, warp ? 32 : launch.threads, text, sizeof text);
  if (warp)
    record(launch, "block %u, warp %u: divergent warp operation: %s; all lanes of a warp must reach the same one",
           block.index.x, lanes->index.x / 32, text);
  else record(launch, "block %u: divergent barrier: %s; all threads of a block must reach the same one", block.index.x, text);
}

// `__shared__` variables are the thread_local memory of this library, but for `here`.
inline void locate_statics() {
  if (here.statics) return;
  dl_iterate_phdr([](dl_phdr_info* library, size_t, void*) {
    for (int i = 0; i < library->dlpi_phnum; ++i) {
      char* start = static_cast<char*>(library->dlpi_tls_data);
      const size_t bytes = library->dlpi_phdr[i].p_memsz;
      if (library->dlpi_phdr[i].p_type != PT_TLS || !start) continue;
      if (size_t(reinterpret_cast<char*>(&here) - start) < bytes) here.statics = start, here.static_bytes = bytes;
    }
    return here.statics ? 1 : 0;
  }, nullptr);
}

inline bool is_shared(const Block& block, const void* p, unsigned bytes) {
  auto within = [&](const char* start, size_t size) {
    const size_t at = static_cast<const char*>(p) - start;
    return at < size && bytes <= size - at;
  };
  return within(block.shared, block.launch->shared_bytes) || within(here.statics, here.static_bytes);
}

inline bool make_stacks(Pool& pool, unsigned count) {
  size_t bytes = 128 << 10;
  FS_ASAN(bytes *= 4;)
  if (pool.count >= count) return true;
  if (pool.stacks) munmap(pool.stacks, pool.count * pool.stride);
  const size_t page = sysconf(_SC_PAGESIZE);
  pool.count = 0;
  pool.stride = bytes + page;  // the lowest page is a guard; an odd number of pages spreads stacks over the cache
  void* p = mmap(nullptr, count * pool.stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  pool.stacks = p == MAP_FAILED ? nullptr : static_cast<char*>(p);
  if (!pool.stacks) return false;
  for (unsigned i = 0; i < count; ++i) mprotect(pool.stacks + i * pool.stride, page, PROT_NONE);
  pool.count = count;
  return true;
}

inline void start_lane(Pool& pool, Block& block, unsigned i) {
  Lane& lane = pool.lanes[i];
  char* const bottom = pool.stacks + i * pool.stride;
  const size_t bytes = pool.stride - i % 32 * 64;  // tops of a warp's stacks in different cache lines
  lane.index = {i, 0, 0};
  lane.at = RUNNING;
  lane.warp = &pool.warps[i / 32];
  lane.block = &block;
  lane.done = lane.issued = lane.groups = 0;
  FS_ASAN(lane.bottom = bottom; lane.bytes = bytes; lane.fake = nullptr;)
#ifdef FS_UCONTEXT
  getcontext(&lane.state);
  lane.state.uc_stack.ss_sp = bottom;
  lane.state.uc_stack.ss_size = bytes;
  lane.state.uc_link = nullptr;
  makecontext(&lane.state, entry, 0);
#else
  void** top = reinterpret_cast<void**>(bottom + bytes);
#if defined(__x86_64__)
  top -= 8;  // six registers, the address to return to, and one that `entry` would return to
  top[5] = nullptr;
  top[6] = reinterpret_cast<void*>(entry);
  top[7] = nullptr;
#else
  top -= 20;  // x29, x30 and the others
  top[0] = nullptr;
  top[1] = reinterpret_cast<void*>(entry);
#endif
  lane.stack = top;
#endif
}

inline void run_block(Launch& launch, Pool& pool, char* shared, unsigned index) {
  Block block{};
  block.launch = &launch;
  block.index = {index, 0, 0};
  block.size = {launch.threads, 1, 1};
  block.grid = {launch.blocks, 1, 1};
  block.shared = shared;
  memset(shared - FRONT, 0xFF, FRONT + launch.shared_bytes + BEHIND);
  const Here kept = here;
  if (kept.statics) memset(kept.statics, 0xFF, kept.static_bytes);
  here = kept;
  const unsigned warps = launch.threads / 32;
  for (unsigned i = 0; i < launch.threads; ++i) start_lane(pool, block, i);
  for (bool forward = order != REVERSE;; forward ^= order == ALTERNATE) {
    for (unsigned i = 0; i < warps && !stopped(launch); ++i) {
      const unsigned w = forward ? i : warps - 1 - i;
      Warp& warp = pool.warps[w] = {pool.lanes + w * 32, 0, 0, forward, RUNNING, 0};
      resume(block, at_position(warp));
      if (!stopped(launch) && warp.arrived) diverged(launch, block, warp.lanes, true);
    }
    if (stopped(launch)) break;
    const Lane& one = pool.lanes[0];
    for (unsigned i = 1; i < launch.threads; ++i)
      if (pool.lanes[i].at != one.at || pool.lanes[i].line != one.line)
        return diverged(launch, block, pool.lanes, false);
    if (one.at == EXITED) break;
    block.counted = block.votes;
    block.votes = 0;
  }
  bool intact = true;
  for (int i = -FRONT; i < 0; ++i) intact &= shared[i] == char(0xFF);
  for (int i = 0; i < BEHIND; ++i) intact &= shared[launch.shared_bytes + i] == char(0xFF);
  if (!intact) record(launch, "block %u: writes outside of its %u bytes of dynamic shared memory", index, launch.shared_bytes);
}

inline int run(Launch launch) {
  Pool* const mine = pool();
  if (!mine) return 2;
  launch.error = mine->error;
  const unsigned blocks = launch.blocks, threads = launch.threads;
  if (threads == 0 || threads > MOST_THREADS || threads % 32)
    record(launch, "%u threads in a block: they must be 32 to %u, a multiple of 32", threads, MOST_THREADS);
  if (blocks == 0 || blocks >> 31) record(launch, "%u blocks: there must be 1 to 2147483647", blocks);
  if (launch.shared_bytes > MOST_SHARED)
    record(launch, "%u bytes of dynamic shared memory: no device has more than %u", launch.shared_bytes, MOST_SHARED);
  if (launch.stop) return 1;
#pragma omp parallel if (blocks > 1)
  {
    // 16-byte aligned and no better
    Pool* const p = pool();
    void* room = nullptr;
    if (!p || !make_stacks(*p, threads) || posix_memalign(&room, 128, FRONT + launch.shared_bytes + BEHIND))
      record(launch, "no memory for %u threads and %u bytes of shared memory", threads, launch.shared_bytes);
    locate_statics();
    char* const shared = static_cast<char*>(room) + FRONT;
#pragma omp for schedule(dynamic)
    for (unsigned i = 0; i < blocks; ++i)
      if (!stopped(launch)) run_block(launch, *p, shared, order == REVERSE ? blocks - 1 - i : i);
    if (p && launch.stop) unpoison(p->stacks, p->count * p->stride);
    free(room);
  }
  return launch.stop;
}

}  // namespace emulate
