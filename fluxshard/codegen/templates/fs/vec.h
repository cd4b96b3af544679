// One vector type, V, of FS_LANES floats. Everything else is written once, on top of it.
//
// Products are added with one rounding where the machine can (FS_LANES 16 and 8, NEON) and with two elsewhere; never mixed,
// so that a cell has the same bits whichever cells are computed with it.
#pragma once
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define FS_INLINE inline __attribute__((always_inline))

namespace fs {

constexpr int L = FS_LANES;
typedef float V __attribute__((vector_size(4 * FS_LANES)));
typedef int32_t VI __attribute__((vector_size(4 * FS_LANES)));
typedef float VU __attribute__((vector_size(4 * FS_LANES), aligned(4), may_alias));

constexpr int round_up(int n, int to) { return (n + to - 1) / to * to; }

FS_INLINE V load(const float* p) { return *(const VU*)p; }
FS_INLINE void store(float* p, V v) { *(VU*)p = v; }

#if FS_LANES == 16
FS_INLINE V all(float x) { return (V)_mm512_set1_ps(x); }
FS_INLINE V fma(V a, V b, V c) { return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
FS_INLINE V load_n(const float* p, int n) { return (V)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
FS_INLINE void store_n(float* p, V v, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v); }
FS_INLINE bool any_lane(VI m) { return _mm512_movepi32_mask((__m512i)m) != 0; }
FS_INLINE V root(V a) { return (V)_mm512_sqrt_ps((__m512)a); }
#else
FS_INLINE V load_n(const float* p, int n) {
  float t[L] = {};
  for (int i = 0; i < n; i++) t[i] = p[i];
  return load(t);
}
FS_INLINE void store_n(float* p, V v, int n) {
  for (int i = 0; i < n; i++) p[i] = v[i];
}
#if FS_LANES == 8
FS_INLINE V all(float x) { return (V)_mm256_set1_ps(x); }
FS_INLINE V fma(V a, V b, V c) { return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
FS_INLINE bool any_lane(VI m) { return _mm256_movemask_ps((__m256)m) != 0; }
FS_INLINE V root(V a) { return (V)_mm256_sqrt_ps((__m256)a); }
#else
FS_INLINE V all(float x) { return V{x, x, x, x}; }
#if defined(__ARM_NEON)
FS_INLINE V fma(V a, V b, V c) { return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
FS_INLINE V fma(V a, V b, V c) { return a * b + c; }
#endif
FS_INLINE bool any_lane(VI m) { return (m[0] | m[1] | m[2] | m[3]) < 0; }
FS_INLINE V root(V a) {
  V r;
  for (int i = 0; i < L; i++) r[i] = __builtin_sqrtf(a[i]);
  return r;
}
#endif
#endif

FS_INLINE V select(VI m, V a, V b) { return m ? a : b; }
// a NaN in x stays: comparisons with it are false
FS_INLINE V at_least(V x, float low) { return select(x < all(low), all(low), x); }
FS_INLINE V at_most(V x, float high) { return select(x > all(high), all(high), x); }

} // namespace fs
