// Pixels of a planar image with the channels of each together.
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
FS_INLINE void transpose(v4& a, v4& b, v4& c, v4& d) {
  const v4 ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ba = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const v4 cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), dc = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
  c = __builtin_shufflevector(ba, dc, 0, 1, 4, 5);
  d = __builtin_shufflevector(ba, dc, 2, 3, 6, 7);
}

// Pixels [p, p + n) of a planar image, the channels of each together; n is 4, or 1
template <int C, int STRIDE> FS_INLINE void read_pixels(const float* image, int cells, int p, int n, float* to) {
  if constexpr (C == 3) {
    if (n == 4) {
      v4 r = *(const v4*)(image + p), g = *(const v4*)(image + cells + p), b = *(const v4*)(image + 2 * (size_t)cells + p), none{};
      transpose(r, g, b, none);
      *(v4*)to = r, *(v4*)(to + 4) = g, *(v4*)(to + 8) = b, *(v4*)(to + 12) = none;
      return;
    }
  }
  for (int i = 0; i < n; ++i)
    for (int ch = 0; ch < STRIDE; ++ch) to[i * STRIDE + ch] = ch < C ? image[(size_t)ch * cells + p + i] : 0.0f;
}
