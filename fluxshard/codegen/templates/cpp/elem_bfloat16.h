// Features are stored as bfloat16, the upper half of a float32. Sums, activations and comparisons are in float32: a layer
// computes into rows of floats, and what is kept is rounded once, to the nearest, ties to even.
typedef uint16_t elem;
constexpr bool NARROW = true;
typedef uint16_t vh __attribute__((vector_size(FS_VL * 2), may_alias));
typedef uint32_t vu __attribute__((vector_size(FS_VL * 4), may_alias));

FS_INLINE float number(elem x) {
  const uint32_t bits = (uint32_t)x << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
FS_INLINE vf load(const elem* p) {
#if defined(__AVX512F__) && FS_VL == 16  // compilers convert half by half
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
#else
  vh v;
  std::memcpy(&v, p, sizeof v);
  return (vf)(__builtin_convertvector(v, vu) << 16);
#endif
}
FS_INLINE vh rounded(vf x) {
#if defined(__AVX512BF16__) && FS_VL == 16
  return (vh)_mm512_cvtneps_pbh((__m512)x);
#else
  const vu bits = (vu)x, up = bits + 0x7fff + ((bits >> 16) & 1);
  const vu quiet = bits | 0x400000;  // rounding up must not make an infinity of a NaN
  return __builtin_convertvector((x == x ? up : quiet) >> 16, vh);
#endif
}
FS_INLINE void store(elem* p, vf x) {
  const vh v = rounded(x);
  std::memcpy(p, &v, sizeof v);
}
static void widen(const elem* from, float* to, size_t n) {
  for (size_t i = 0; i < n; ++i) to[i] = number(from[i]);
}
// n floats, rounded
FS_INLINE void narrow(const float* from, elem* to, size_t n) {
  size_t i = 0;
  for (; i + FS_VL <= n; i += FS_VL) store(to + i, load(from + i));
  if (i == n) return;
  float left[FS_VL] = {};
  elem few[FS_VL];
  std::memcpy(left, from + i, 4 * (n - i));
  store(few, load(left));
  std::memcpy(to + i, few, 2 * (n - i));
}
// Where values of the i-th candidate of some are put before they are finished: rows of `raw`.
FS_INLINE float* raw_row(float* raw, int stride, int i, elem*) { return raw + (size_t)i * stride; }
static const elem* fed_rows(const float* fed, elem* to, size_t n, int threads) {
  parallel(threads, (int)((n + 4095) / 4096), 0, [&](int i) {
    const size_t at = (size_t)i * 4096;
    narrow(fed + at, to + at, n - at < 4096 ? n - at : 4096);
  });
  return to;
}
