// The words of CUDA C++ and of our PTX wrappers for a kernel that is compiled for a processor; how its threads run is in
// emulate_warp.h. Names, overloads and results are those of the device, but for the last bits of the functions of math.
#pragma once
#include "emulate_warp.h"

#define __global__
#define __grid_constant__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local
#define threadIdx (emulate::here.lane->index)
#define blockIdx (emulate::here.lane->block->index)
#define blockDim (emulate::here.lane->block->size)
#define gridDim (emulate::here.lane->block->grid)
#define warpSize 32
#define FS_SHARED(T, name) T* const name = reinterpret_cast<T*>(emulate::here.lane->block->shared)

#define FS_EXPORT(NAME, ARGS)                                                                                               \
  extern "C" FS_VISIBLE int fs_launch(unsigned blocks, unsigned threads, unsigned shared_bytes, const void* args) {         \
    alignas(ARGS) unsigned char copy[sizeof(ARGS)];                                                                         \
    memcpy(copy, args, sizeof copy);                                                                                        \
    auto kernel = [](const void* a) { NAME(*static_cast<const ARGS*>(a)); };                                                \
    return emulate::run({#NAME, blocks, threads, shared_bytes, copy, kernel, nullptr, 0});                                  \
  }                                                                                                                         \
  extern "C" FS_VISIBLE const char* fs_error() { return emulate::pool()->error; } /* of the last launch of this OS thread */ \
  extern "C" FS_VISIBLE unsigned fs_args_bytes() { return sizeof(ARGS); }                                                   \
  extern "C" FS_VISIBLE void fs_set_order(int order) { emulate::order = order; }                                            \
  extern "C" FS_VISIBLE void fs_poison(const void* p, size_t bytes) { emulate::poison(p, bytes); }                          \
  extern "C" FS_VISIBLE void fs_unpoison(const void* p, size_t bytes) { emulate::unpoison(p, bytes); }

// ---- types

typedef long long fs_int64;  // as on the device, so that overloads are resolved as there
typedef unsigned long long fs_uint64;
#define int64_t fs_int64
#define uint64_t fs_uint64
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

#define FS_VECTOR2(NAME, T, BYTES)                               \
  struct __attribute__((aligned(BYTES))) NAME { T x, y; };       \
  inline NAME make_##NAME(T x, T y) { return {x, y}; }
#define FS_VECTOR4(NAME, T, BYTES)                               \
  struct __attribute__((aligned(BYTES))) NAME { T x, y, z, w; }; \
  inline NAME make_##NAME(T x, T y, T z, T w) { return {x, y, z, w}; }
FS_VECTOR2(float2, float, 8)
FS_VECTOR2(int2, int, 8)
FS_VECTOR2(uint2, unsigned, 8)
FS_VECTOR4(float4, float, 16)
FS_VECTOR4(int4, int, 16)
FS_VECTOR4(uint4, unsigned, 16)
FS_VECTOR4(ushort4, unsigned short, 8)

// ---- numbers

#pragma GCC visibility push(default)
extern "C" {  // declared here: <math.h> takes longer to compile than all of this
float ceilf(float) noexcept;
float erff(float) noexcept;
float expf(float) noexcept;
float fabsf(float) noexcept;
float floorf(float) noexcept;
float fmaf(float, float, float) noexcept;
float log1pf(float) noexcept, logf(float) noexcept;
float rintf(float) noexcept;
float sinf(float) noexcept, cosf(float) noexcept;
float sqrtf(float) noexcept;
float tanhf(float) noexcept;
}
#pragma GCC visibility pop

template <class To, class From> inline To fs_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline unsigned __float_as_uint(float v) { return fs_bits<unsigned>(v); }
inline float __uint_as_float(unsigned v) { return fs_bits<float>(v); }
inline int __float_as_int(float v) { return fs_bits<int>(v); }
inline float __int_as_float(int v) { return fs_bits<float>(v); }

// with a NaN and a number, the number
#define FS_MIN_MAX(A, B, T)                                                        \
  inline T min(A a, B b) { const T x = a, y = b; return x != x || y < x ? y : x; } \
  inline T max(A a, B b) { const T x = a, y = b; return x != x || y > x ? y : x; }
FS_MIN_MAX(int, int, int)
FS_MIN_MAX(unsigned, unsigned, unsigned)
FS_MIN_MAX(int, unsigned, unsigned)
FS_MIN_MAX(unsigned, int, unsigned)
FS_MIN_MAX(long, long, long)
FS_MIN_MAX(unsigned long, unsigned long, unsigned long)
FS_MIN_MAX(long long, long long, long long)
FS_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
FS_MIN_MAX(float, float, float)
FS_MIN_MAX(double, double, double)
inline float fminf(float a, float b) { return min(a, b); }
inline float fmaxf(float a, float b) { return max(a, b); }
inline bool isnan(float v) { return v != v; }
inline bool isinf(float v) { return fabsf(v) == INFINITY; }
inline float rsqrtf(float v) { return 1.0f / sqrtf(v); }
inline float __expf(float v) { return expf(v); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float v) { return 1.0f / v; }

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __clz(int v) { return v ? __builtin_clz(v) : 32; }
inline unsigned __brev(unsigned v) {
  v = (v >> 1 & 0x55555555) | (v & 0x55555555) << 1;
  v = (v >> 2 & 0x33333333) | (v & 0x33333333) << 2;
  v = (v >> 4 & 0x0f0f0f0f) | (v & 0x0f0f0f0f) << 4;
  return __builtin_bswap32(v);
}

namespace emulate {

typedef float f32x8 __attribute__((vector_size(32)));
typedef unsigned u32x8 __attribute__((vector_size(32)));
typedef unsigned short u16x8 __attribute__((vector_size(16)));

inline f32x8 from_bf16(u16x8 h) { return (f32x8)(__builtin_convertvector(h, u32x8) << 16); }
inline f32x8 from_half(u16x8 h) {  // exponent moved; infinity and NaN by as much again; subnormals renormalised
  const u32x8 u = __builtin_convertvector(h, u32x8), m = (u & 0x7fff) << 13, e = m & 0x0f800000;
  const u32x8 normal = m + (112u << 23), none = m + (224u << 23);
  const u32x8 small = (u32x8)((f32x8)(m + (113u << 23)) - __uint_as_float(113u << 23));
  return (f32x8)((u & 0x8000) << 16 | (e == 0x0f800000 ? none : e == 0 ? small : normal));
}

}  // namespace emulate

inline float fs_half_to_float(unsigned short h) {
  const unsigned m = (h & 0x7fffu) << 13, e = m & 0x0f800000, sign = (h & 0x8000u) << 16;
  if (e == 0) return __uint_as_float(sign | __float_as_uint(__uint_as_float(m + (113u << 23)) - __uint_as_float(113u << 23)));
  return __uint_as_float(sign | (m + ((e == 0x0f800000 ? 224u : 112u) << 23)));
}
inline unsigned short fs_float_to_half(float f) {
  const unsigned u = __float_as_uint(f), m = u & 0x7fffffff, sign = u >> 16 & 0x8000;
  if (m > 0x7f800000) return 0x7fff;
  if (m >= 0x47800000) return sign | 0x7c00;
  if (m < 0x38800000) return sign | (__float_as_uint(__uint_as_float(m) + 0.5f) - 0x3f000000);  // 2^-24 is the last bit of 0.5
  return sign | (m - (112u << 23) + 0xfff + (m >> 13 & 1)) >> 13;
}
inline float fs_bf16_to_float(unsigned short h) { return __uint_as_float(unsigned(h) << 16); }
inline unsigned short fs_float_to_bf16(float f) {
  const unsigned u = __float_as_uint(f);
  return f != f ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

// ---- memory

inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline void __stcg(T* p, T v) { *p = v; }

#define FS_ATOMICS(T)                                                                            \
  inline T atomicAdd(T* p, T v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }           \
  inline T atomicOr(T* p, T v) { return __atomic_fetch_or(p, v, __ATOMIC_RELAXED); }             \
  inline T atomicAnd(T* p, T v) { return __atomic_fetch_and(p, v, __ATOMIC_RELAXED); }           \
  inline T atomicExch(T* p, T v) { return __atomic_exchange_n(p, v, __ATOMIC_RELAXED); }         \
  inline T atomicCAS(T* p, T old, T v) {                                                         \
    __atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);          \
    return old;                                                                                  \
  }                                                                                              \
  inline T atomicMax(T* p, T v) {                                                                \
    T old = __atomic_load_n(p, __ATOMIC_RELAXED), seen;                                          \
    while (old < v && (seen = atomicCAS(p, old, v)) != old) old = seen;                          \
    return old;                                                                                  \
  }                                                                                              \
  inline T atomicMin(T* p, T v) {                                                                \
    T old = __atomic_load_n(p, __ATOMIC_RELAXED), seen;                                          \
    while (v < old && (seen = atomicCAS(p, old, v)) != old) old = seen;                          \
    return old;                                                                                  \
  }
FS_ATOMICS(int)
FS_ATOMICS(unsigned)
FS_ATOMICS(unsigned long long)
inline float atomicAdd(float* p, float v) {
  unsigned* const bits = reinterpret_cast<unsigned*>(p);
  unsigned old = __atomic_load_n(bits, __ATOMIC_RELAXED), seen;
  while ((seen = atomicCAS(bits, old, __float_as_uint(__uint_as_float(old) + v))) != old) old = seen;
  return __uint_as_float(old);
}
inline float atomicExch(float* p, float v) {
  return __uint_as_float(atomicExch(reinterpret_cast<unsigned*>(p), __float_as_uint(v)));
}

// ---- barriers, votes, shuffles

inline void __syncthreads(int line = __builtin_LINE()) { emulate::barrier(emulate::BARRIER, line, false); }
inline int __syncthreads_or(int vote, int line = __builtin_LINE()) {
  return emulate::barrier(emulate::BARRIER_OR, line, vote) != 0;
}
inline int __syncthreads_count(int vote, int line = __builtin_LINE()) {
  return emulate::barrier(emulate::BARRIER_COUNT, line, vote);
}
inline int __syncthreads_and(int vote, int line = __builtin_LINE()) {
  return emulate::barrier(emulate::BARRIER_AND, line, vote) == blockDim.x;
}

namespace emulate {

inline Lane& whole_warp(Op op, unsigned mask, int width, int line) {
  if (mask != ~0u || width != 32)
    fail("%s in line %d has mask 0x%08x and width %d; only whole warps are emulated", OPS[op], line, mask, width);
  return *here.lane;
}

inline unsigned vote(Op op, unsigned mask, bool yes, int line) {
  Lane& me = whole_warp(op, mask, 32, line);
  me.value = yes;
  meet(me, op, line, [](Lane* lanes) {
    unsigned all = 0;
    for (int i = 0; i < 32; ++i) all |= lanes[i].value << i;
    for (int i = 0; i < 32; ++i) lanes[i].value = all;
  });
  return me.value;
}

template <class T> inline T shuffle(Op op, unsigned mask, T value, unsigned source, int width, int line) {
  Lane& me = whole_warp(op, mask, width, line);
  const unsigned lane = me.index.x % 32;
  if (op == SHFL) source %= 32;
  else source = op == SHFL_XOR ? lane ^ source : op == SHFL_UP ? lane - source : lane + source;
  me.value = fs_bits<unsigned>(value);
  me.source = source < 32 ? source : lane;
  meet(me, op, line, [](Lane* lanes) {
    unsigned brought[32];
    for (int i = 0; i < 32; ++i) brought[i] = lanes[i].value;
    for (int i = 0; i < 32; ++i) lanes[i].value = brought[lanes[i].source];
  });
  return fs_bits<T>(me.value);
}

}  // namespace emulate

inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) {
  emulate::meet(emulate::whole_warp(emulate::SYNCWARP, mask, 32, line), emulate::SYNCWARP, line, nullptr);
}
inline unsigned __ballot_sync(unsigned mask, int yes, int line = __builtin_LINE()) {
  return emulate::vote(emulate::BALLOT, mask, yes, line);
}
inline int __any_sync(unsigned mask, int yes, int line = __builtin_LINE()) {
  return emulate::vote(emulate::ANY, mask, yes, line) != 0;
}
inline int __all_sync(unsigned mask, int yes, int line = __builtin_LINE()) {
  return emulate::vote(emulate::ALL, mask, yes, line) == ~0u;
}

#define FS_SHUFFLE(NAME, OP, T)                                                                          \
  inline T NAME(unsigned mask, T value, unsigned source, int width = 32, int line = __builtin_LINE()) {  \
    return emulate::shuffle(emulate::OP, mask, value, source, width, line);                              \
  }
#define FS_SHUFFLES(T)                     \
  FS_SHUFFLE(__shfl_sync, SHFL, T)         \
  FS_SHUFFLE(__shfl_xor_sync, SHFL_XOR, T) \
  FS_SHUFFLE(__shfl_up_sync, SHFL_UP, T)   \
  FS_SHUFFLE(__shfl_down_sync, SHFL_DOWN, T)
FS_SHUFFLES(int)
FS_SHUFFLES(unsigned)
FS_SHUFFLES(float)

// ---- tensor cores and asynchronous copies

namespace emulate {

inline void check(const void* p, unsigned bytes, bool shared, const char* what, int line) {
  if (reinterpret_cast<uintptr_t>(p) % bytes)
    fail("%s in line %d: the %s address %p must be a multiple of %u", what, line, shared ? "shared" : "global", p, bytes);
  if (shared && !is_shared(*here.lane->block, p, bytes))
    fail("%s in line %d: the address %p is not in the shared memory of this block", what, line, p);
}

// m16n8k16 and m16n8k8. With g = lane / 4 and t = lane % 4 a lane holds, of A, rows g and g + 8 in columns 2t and 2t + 1 (for
// K = 16 also 8 further); of B, K x 8, these columns as rows, in column g; of C rows g and g + 8 in columns 2t and 2t + 1.
template <bool BF16, int K> static void multiply(Lane* lanes) {
  unsigned a[16][K / 2];
  unsigned short b[K][8];
  f32x8 c[16], fa[16][K / 8], fb[K];
  for (int i = 0; i < 32; ++i) {
    const int g = i / 4, t = i % 4;
    const unsigned* const from_a = static_cast<const unsigned*>(lanes[i].first);
    const unsigned* const from_b = static_cast<const unsigned*>(lanes[i].second);
    const float* const from_c = static_cast<const float*>(lanes[i].result);
    for (int r = 0; r < K / 4; ++r) a[g + r % 2 * 8][t + r / 2 * 4] = from_a[r];
    for (int r = 0; r < K / 8; ++r) b[2 * t + 8 * r][g] = from_b[r], b[2 * t + 8 * r + 1][g] = from_b[r] >> 16;
    memcpy(reinterpret_cast<float*>(&c[g]) + 2 * t, from_c, 8);
    memcpy(reinterpret_cast<float*>(&c[g + 8]) + 2 * t, from_c + 2, 8);
  }
  auto widen = [](const void* from) {
    u16x8 h;
    memcpy(&h, from, sizeof h);
    return BF16 ? from_bf16(h) : from_half(h);
  };
  for (int k = 0; k < K; ++k) fb[k] = widen(b[k]);
  for (int m = 0; m < 16; ++m)
    for (int k = 0; k < K; k += 8) fa[m][k / 8] = widen(&a[m][k / 2]);
  for (int m = 0; m < 16; m += 4) {  // four sums at a time hide the latency of one
    const float *const a0 = (const float*)fa[m], *const a1 = a0 + K, *const a2 = a1 + K, *const a3 = a2 + K;
    f32x8 c0 = c[m], c1 = c[m + 1], c2 = c[m + 2], c3 = c[m + 3];
    for (int k = 0; k < K; ++k) c0 += a0[k] * fb[k], c1 += a1[k] * fb[k], c2 += a2[k] * fb[k], c3 += a3[k] * fb[k];
    c[m] = c0, c[m + 1] = c1, c[m + 2] = c2, c[m + 3] = c3;
  }
  for (int i = 0; i < 32; ++i) {
    const int g = i / 4, t = i % 4;
    float* const to = static_cast<float*>(lanes[i].result);
    memcpy(to, reinterpret_cast<float*>(&c[g]) + 2 * t, 8);
    memcpy(to + 2, reinterpret_cast<float*>(&c[g + 8]) + 2 * t, 8);
  }
}

inline void mma(Op op, float* c, const unsigned* a, const unsigned* b, int line, void (*work)(Lane*)) {
  Lane& me = *here.lane;
  me.result = c;
  me.first = a;
  me.second = b;
  meet(me, op, line, work);
}

// Lane i gives the address of row i % 8 of matrix i / 8 and gets word i % 4 of row i / 4 of each.
template <int COUNT> static void load_matrices(Lane* lanes) {
  for (int i = 0; i < COUNT * 8; ++i) {
    unsigned words[4];
    memcpy(words, lanes[i].first, 16);
    for (int t = 0; t < 4; ++t) static_cast<unsigned*>(lanes[i % 8 * 4 + t].result)[i / 8] = words[t];
  }
}

inline void ldmatrix(Op op, unsigned* r, const void* row, bool used, int line, void (*work)(Lane*)) {
  Lane& me = *here.lane;
  if (used) check(row, 16, true, OPS[op], line);
  me.result = r;
  me.first = row;
  meet(me, op, line, work);
}

__attribute__((noinline)) static void issue_copy(void* to, const void* from, unsigned bytes, bool valid, int line) {
  Lane& me = *here.lane;
  check(to, bytes, true, "fs_cp_async", line);
  check(from, bytes, false, "fs_cp_async", line);
  FS_ASAN(if (valid) *static_cast<const volatile unsigned*>(from);)  // so that the report names the line of the copy
  if (me.done > 64 && me.done * 2 > me.issued) {
    memmove(me.copies, me.copies + me.done, (me.issued - me.done) * sizeof(Copy));
    me.issued -= me.done;
    me.done = 0;
  }
  if (me.issued == me.room) {
    me.room = me.room ? me.room * 2 : 64;
    me.copies = static_cast<Copy*>(realloc(me.copies, me.room * sizeof(Copy)));
    if (!me.copies) abort();
  }
  memset(to, 0xFF, bytes);
  me.copies[me.issued++] = {to, valid ? from : nullptr, bytes, me.groups};
}

__attribute__((noinline)) static void finish_copies(unsigned in_flight) {
  Lane& me = *here.lane;
  for (; me.done < me.issued && me.copies[me.done].group + in_flight < me.groups; ++me.done) {
    const Copy& copy = me.copies[me.done];
    if (copy.from) memcpy(copy.to, copy.from, copy.bytes);
    else memset(copy.to, 0, copy.bytes);
  }
}

}  // namespace emulate

inline void fs_mma_f16(float c[4], const unsigned a[4], const unsigned b[2], int line = __builtin_LINE()) {
  emulate::mma(emulate::MMA_F16, c, a, b, line, emulate::multiply<false, 16>);
}
inline void fs_mma_bf16(float c[4], const unsigned a[4], const unsigned b[2], int line = __builtin_LINE()) {
  emulate::mma(emulate::MMA_BF16, c, a, b, line, emulate::multiply<true, 16>);
}
inline void fs_mma8_f16(float c[4], const unsigned a[2], unsigned b, int line = __builtin_LINE()) {
  emulate::mma(emulate::MMA8_F16, c, a, &b, line, emulate::multiply<false, 8>);
}
inline void fs_ldmatrix4(unsigned r[4], const void* row, int line = __builtin_LINE()) {
  emulate::ldmatrix(emulate::LDMATRIX4, r, row, true, line, emulate::load_matrices<4>);
}
inline void fs_ldmatrix2(unsigned r[2], const void* row, int line = __builtin_LINE()) {
  emulate::ldmatrix(emulate::LDMATRIX2, r, row, threadIdx.x % 32 < 16, line, emulate::load_matrices<2>);
}
template <int BYTES> inline void fs_cp_async(void* shared, const void* global, bool valid, int line = __builtin_LINE()) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
  emulate::issue_copy(shared, global, BYTES, valid, line);
}
template <int BYTES> inline void fs_cp_async_row(void* shared, const void* global, int row, int line = __builtin_LINE()) {
  fs_cp_async<BYTES>(shared, global, row >= 0, line);
}
template <class P> inline P* fs_opaque(P* p) { return p; }
inline void fs_wait_for_kernels_before() {}  // kernels run one after another
inline void fs_let_next_kernel_begin() {}
inline void fs_cp_commit() { ++emulate::here.lane->groups; }
template <int N> inline void fs_cp_wait() { emulate::finish_copies(N); }
