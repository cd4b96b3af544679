// A step of a sum takes a pair of channels, whose products are added to a float32: packed weights are
// [Co / NB][tap][segment][pair][NB][2], and an odd segment ends with half a pair.
constexpr int TAKEN = 2;
typedef vu Taken;
typedef uint32_t pair_t __attribute__((aligned(2), may_alias));

FS_INLINE Taken weights_at(const elem* p) {
  Taken v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
FS_INLINE vf add_pair(vf sum, Taken weights, uint32_t pair) {
#if defined(__AVX512BF16__) && FS_VL == 16
  return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weights, (__m512bh)_mm512_set1_epi32((int)pair));
#else
  const vu both = pair - vu{};
  sum += (vf)(weights << 16) * (vf)(both << 16);
  return sum + (vf)(weights & 0xffff0000u) * (vf)(both & 0xffff0000u);
#endif
}
FS_INLINE vf add_products(vf sum, Taken weights, const elem* input) { return add_pair(sum, weights, *(const pair_t*)input); }
FS_INLINE vf add_last(vf sum, Taken weights, const elem* input) { return add_pair(sum, weights, *input); }
