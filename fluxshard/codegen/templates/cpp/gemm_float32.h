// Cells of one GEMM: sums of table rows times packed weights, to `out`.
template <int MR, int NV>
static void gemm(const float* const* table, const int* lens, int steps, const float* weights, size_t panel, int co, float* const* out, int groups) {
  constexpr int NB = NV * FS_VL;
  for (int c0 = 0; c0 < co; c0 += NB, weights += panel)
    for (int g = 0; g < groups; ++g) {
      vf acc[MR][NV] = {};
      const float* b = weights;
      for (int s = 0; s < steps; ++s) {
        const float* a[MR];
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) a[m] = table[((size_t)g * steps + s) * MR + m];
        for (int k = 0, n = lens[s]; k < n; ++k, b += NB) {
          vf w[NV];
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) w[v] = load(b + v * FS_VL);
#pragma GCC unroll 16
          for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[m][v] += w[v] * a[m][k];
        }
      }
#pragma GCC unroll 16
      for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v)
          if (c0 + v * FS_VL < co) store(out[g * MR + m] + c0 + v * FS_VL, acc[m][v]);
    }
}

// numbers of a packed panel that `n` channels of a segment take
FS_INLINE int packed_depth(int n) { return n; }
