// Cells of one GEMM: sums of table rows times packed weights, to `out`. Channels go in pairs, whose products are added to a
// float32 sum: packed weights are [Co / NB][tap][segment][pair][NB][2], and an odd segment ends with half a pair.
typedef uint32_t pair_t __attribute__((aligned(2), may_alias));

FS_INLINE vf add_products(vf sum, vu weights, uint32_t pair) {
#if defined(__AVX512BF16__) && FS_VL == 16
  return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)weights, (__m512bh)_mm512_set1_epi32((int)pair));
#else
  const vu both = pair - vu{};
  sum += (vf)(weights << 16) * (vf)(both << 16);
  return sum + (vf)(weights & 0xffff0000u) * (vf)(both & 0xffff0000u);
#endif
}

template <int MR, int NV>
static void gemm(const elem* const* table, const int* lens, int steps, const elem* weights, size_t panel, int co, float* const* out, int groups) {
  constexpr int NB = NV * FS_VL;
  for (int c0 = 0; c0 < co; c0 += NB, weights += panel)
    for (int g = 0; g < groups; ++g) {
      vf acc[MR][NV] = {};
      const elem* b = weights;
      for (int s = 0; s < steps; ++s) {
        const elem* a[MR];
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) a[m] = table[((size_t)g * steps + s) * MR + m];
        const int n = lens[s];
        int k = 0;
        for (; k + 2 <= n; k += 2, b += 2 * NB) {
          vu w[NV];
#pragma GCC unroll 7
          for (int v = 0; v < NV; ++v) std::memcpy(&w[v], b + 2 * v * FS_VL, sizeof w[v]);
#pragma GCC unroll 16
          for (int m = 0; m < MR; ++m)
#pragma GCC unroll 7
            for (int v = 0; v < NV; ++v) acc[m][v] = add_products(acc[m][v], w[v], *(const pair_t*)(a[m] + k));
        }
        if (k == n) continue;
        vu w[NV];
#pragma GCC unroll 7
        for (int v = 0; v < NV; ++v) std::memcpy(&w[v], b + 2 * v * FS_VL, sizeof w[v]);
        b += 2 * NB;
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m)
#pragma GCC unroll 7
          for (int v = 0; v < NV; ++v) acc[m][v] = add_products(acc[m][v], w[v], a[m][k]);
      }
#pragma GCC unroll 16
      for (int m = 0; m < MR; ++m)
#pragma GCC unroll 7
        for (int v = 0; v < NV; ++v)
          if (c0 + v * FS_VL < co) store(out[g * MR + m] + c0 + v * FS_VL, acc[m][v]);
    }
}

// numbers of a packed panel that `n` channels of a segment take
FS_INLINE int packed_depth(int n) { return n + n % 2; }
