// Vectors of FS_VL floats through the compiler's vector extensions: one body for AVX-512, AVX2 and SSE/NEON.
// Instructions are written by hand only where a fallback says the same, so the text serves every processor that the
// compiler knows.
#include <climits>
#include <cstdint>
#include <cstring>
#include <cmath>
#ifdef __AVX2__
#include <immintrin.h>
#endif

typedef float vf __attribute__((vector_size(FS_VL * 4), may_alias));
typedef int32_t vi __attribute__((vector_size(FS_VL * 4), may_alias));
#define FS_INLINE static inline __attribute__((always_inline))

FS_INLINE vf load(const float* p) { vf v; std::memcpy(&v, p, sizeof v); return v; }
FS_INLINE void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }
FS_INLINE vf splat(float x) { return x - vf{}; }
FS_INLINE vf pick(vi mask, vf a, vf b) { return mask ? a : b; }
// the nearest number that is not below, or not above, a bound; NaN stays NaN, as of two operands the second is kept then
FS_INLINE vf at_least(vf x, float low) {
#if defined(__AVX512F__) && FS_VL == 16
  return (vf)_mm512_max_ps(_mm512_set1_ps(low), (__m512)x);
#elif defined(__AVX2__) && FS_VL == 8
  return (vf)_mm256_max_ps(_mm256_set1_ps(low), (__m256)x);
#else
  return pick(x < splat(low), splat(low), x);
#endif
}
FS_INLINE vf at_most(vf x, float high) {
#if defined(__AVX512F__) && FS_VL == 16
  return (vf)_mm512_min_ps(_mm512_set1_ps(high), (__m512)x);
#elif defined(__AVX2__) && FS_VL == 8
  return (vf)_mm256_min_ps(_mm256_set1_ps(high), (__m256)x);
#else
  return pick(x > splat(high), splat(high), x);
#endif
}
FS_INLINE vf magnitude(vf a) { return (vf)((vi)a & 0x7fffffff); }
FS_INLINE bool any(vi v) {
  int32_t r = 0;
  for (int i = 0; i < FS_VL; ++i) r |= v[i];
  return r != 0;
}

// exp(x): x = n ln2 + r, a polynomial for r, n put into the exponent. Relative error below 2e-7 on [-87, 88]; NaN stays NaN
// when it is clamped.
FS_INLINE vf exp_v(vf x) {
  x = at_least(at_most(x, 88.0f), -87.0f);
#if defined(__AVX512F__) && FS_VL == 16
  // 2^n 2^r with n = round(x log2 e), where r is rounded once
  const __m512 a = (__m512)x, log2e = _mm512_set1_ps(1.44269502f);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(a, log2e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const vf r = (vf)_mm512_fmadd_ps(a, _mm512_set1_ps(1.92596303e-8f), _mm512_fmsub_ps(a, log2e, n));
  vf y = splat(0.00132647273f) * r + 0.00967151299f;
  y = y * r + 0.0555073358f;
  y = y * r + 0.240222424f;
  y = y * r + 0.693147004f;
  y = y * r + 1.0f;
  return (vf)_mm512_scalef_ps((__m512)y, n);
#else
  const vf shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  vf t = x * 1.44269504088896341f + shift;
  vi n = (vi)t - (int32_t)0x4b400000;
  t = t - shift;
  vf r = x - t * 0.693359375f;
  r = r + t * 2.12194440e-4f;
  vf y = splat(1.9875691500e-4f);
  y = y * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * (r * r) + r + 1.0f;
  return y * (vf)((n + 127) << 23);
#endif
}

FS_INLINE vf tanh_v(vf x) { return 1.0f - 2.0f / (exp_v(x + x) + 1.0f); }

// erf by Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7
FS_INLINE vf erf_v(vf x) {
  vf a = magnitude(x);
  vf t = 1.0f / (1.0f + 0.3275911f * a);
  vf y = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
  y = 1.0f - y * exp_v(-a * a);
  return (vf)((vi)y | ((vi)x & (int32_t)0x80000000));
}

FS_INLINE vf clamp_v(vf x, float low, float high) { return at_most(at_least(x, low), high); }

#if {{ "true" if t.dtype == "bfloat16" else "false" }} && defined(__AVX512F__) && FS_VL == 16
// 1 / (1 + e^-x) of finite x to 2^-12 of its value: bfloat16 keeps 2^-9. Activations cost as much as narrow convolutions
// otherwise.
FS_INLINE vf share_v(vf x) {
  const __m512 t = (__m512)(x * -1.44269504088896341f);
  const __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const vf r = (vf)t - (vf)n;
  vf p = splat(0.0555041086648216f) * r + 0.240226506959101f;
  p = p * r + 0.693147180559945f;
  p = p * r + 1.0f;
  return (vf)_mm512_rcp14_ps(1.0f + _mm512_scalef_ps((__m512)p, n));
}
FS_INLINE vf sigmoid_v(vf x) { return share_v(at_least(at_most(x, 88.0f), -87.0f)); }
FS_INLINE vf silu_v(vf x) { return x * share_v(x); }
#else
FS_INLINE vf sigmoid_v(vf x) { return 1.0f / (1.0f + exp_v(-x)); }
FS_INLINE vf silu_v(vf x) { return x / (1.0f + exp_v(-x)); }
#endif

enum Act { NONE, RELU, RELU6, SILU, HARDSWISH, HARDSIGMOID, GELU, GELU_TANH, SIGMOID, TANH, MISH, PRELU, LEAKY_RELU, ELU, CLAMP };

// `slope` points to the channel's prelu slopes; p0 and p1 are the activation's numbers.
template <Act A> FS_INLINE vf activate(vf x, const float* slope, float p0, float p1) {
  if constexpr (A == NONE) return x;
  if constexpr (A == RELU) return at_least(x, 0.0f);
  if constexpr (A == RELU6) return clamp_v(x, 0.0f, 6.0f);
  if constexpr (A == SILU) return silu_v(x);
  if constexpr (A == HARDSWISH) return x * clamp_v(x + 3.0f, 0.0f, 6.0f) / 6.0f;
  if constexpr (A == HARDSIGMOID) return clamp_v(x + 3.0f, 0.0f, 6.0f) / 6.0f;
  if constexpr (A == GELU) return x * 0.5f * (1.0f + erf_v(x * 0.70710678118654752f));
  if constexpr (A == GELU_TANH) return x * 0.5f * (1.0f + tanh_v(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if constexpr (A == SIGMOID) return sigmoid_v(x);
  if constexpr (A == TANH) return tanh_v(x);
  if constexpr (A == MISH) {  // x tanh(log(1 + e^x)) with e^x = e: e (e + 2) / (e (e + 2) + 2)
    vf e = exp_v(at_most(x, 20.0f));
    vf n = e * (e + 2.0f);
    return x * (n / (n + 2.0f));
  }
  if constexpr (A == PRELU) return pick(x < splat(0.0f), x * load(slope), x);
  if constexpr (A == LEAKY_RELU) return pick(x < splat(0.0f), x * p0, x);
  if constexpr (A == ELU) return pick(x < splat(0.0f), p0 * (exp_v(x) - 1.0f), x);
  if constexpr (A == CLAMP) return clamp_v(x, p0, p1);
}
