// Islands: dense tensors whose sizes are known. Every number is summed in one order, whoever computes it, so results do
// not depend on how many threads there are. Rows are read in whole vectors, beyond their end too: what lies there is
// memory of the island, and is not stored.

FS_INLINE int part_of(int at, int n, int most) { return n - at < most ? n - at : most; }

// Ends of rows are left to functions that are called: inlined everywhere, they take compilers long.
#define FS_CALLED [[maybe_unused]] static __attribute__((noinline))
FS_CALLED void store_end(float* p, vf v, int n) { std::memcpy(p, &v, 4 * (size_t)n); }

FS_INLINE void store_part(float* p, vf v, int n) {
  if (n >= FS_VL) store(p, v);
  else store_end(p, v, n);
}

// numbers that are `step` apart, from the i-th on of n
FS_CALLED vf load_apart(const float* p, int i, int step, int n) {
  vf v{};
  for (int k = 0; k < FS_VL; ++k) v[k] = i + k < n ? p[(ptrdiff_t)(i + k) * step] : 0.0f;
  return v;
}

FS_CALLED vf sin_v(vf x) {
  for (int i = 0; i < FS_VL; ++i) x[i] = std::sin(x[i]);
  return x;
}
FS_CALLED vf cos_v(vf x) {
  for (int i = 0; i < FS_VL; ++i) x[i] = std::cos(x[i]);
  return x;
}
FS_INLINE vf square_v(vf x) { return x * x; }
FS_INLINE vf cube_v(vf x) { return x * x * x; }
FS_INLINE vf sqrt_v(vf x) {
  for (int i = 0; i < FS_VL; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}
FS_INLINE vf larger_v(vf a, vf b) { return pick((a > b) | ~(a == a), a, b); }   // NaN wins, as in torch
FS_INLINE vf smaller_v(vf a, vf b) { return pick((a < b) | ~(a == a), a, b); }

template <class F> FS_INLINE void map_row(float* to, int n, F f) {
  int i = 0;
  for (; i + FS_VL <= n; i += FS_VL) store(to + i, f(i));
  if (i < n) store_part(to + i, f(i), n - i);
}

template <class F> FS_INLINE void map_apart(float* to, int step, int n, F f) {
  for (int i = 0; i < n; i += FS_VL) {
    const vf v = f(i);
    for (int k = 0; k < FS_VL && i + k < n; ++k) to[(ptrdiff_t)(i + k) * step] = v[k];
  }
}

// to[r * to_step + c] = of[c * of_step + r]
FS_CALLED void turn(float* to, ptrdiff_t to_step, const float* of, ptrdiff_t of_step, int rows, int columns) {
  int r = 0;
  for (; r + 4 <= rows; r += 4) {
    int c = 0;
    for (; c + 4 <= columns; c += 4) {
      const float* p = of + c * of_step + r;
      v4 a = *(const v4*)p, b = *(const v4*)(p + of_step), d = *(const v4*)(p + 2 * of_step), e = *(const v4*)(p + 3 * of_step);
      transpose(a, b, d, e);
      float* o = to + r * to_step + c;
      *(v4*)o = a, *(v4*)(o + to_step) = b, *(v4*)(o + 2 * to_step) = d, *(v4*)(o + 3 * to_step) = e;
    }
    for (; c < columns; ++c) for (int k = r; k < r + 4; ++k) to[k * to_step + c] = of[c * of_step + k];
  }
  for (; r < rows; ++r) for (int c = 0; c < columns; ++c) to[r * to_step + c] = of[c * of_step + r];
}

enum Fold { SUM, MAX, MIN };
template <Fold K> FS_INLINE vf fold_v(vf a, vf b) { return K == SUM ? a + b : K == MAX ? larger_v(a, b) : smaller_v(a, b); }
template <Fold K> constexpr float nothing() { return K == SUM ? 0.0f : K == MAX ? -INFINITY : INFINITY; }

template <Fold K> FS_CALLED float fold_lanes(vf v) {
  for (int half = FS_VL / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) {
      const float a = v[i], b = v[i + half];
      v[i] = K == SUM ? a + b : K == MAX ? (a > b || a != a ? a : b) : (a < b || a != a ? a : b);
    }
  return v[0];
}

template <Fold K, class F> FS_INLINE float fold_row(const float* p, int n, F f) {
  vf s[4];
  for (vf& one : s) one = splat(nothing<K>());
  int i = 0;
  for (; i + 4 * FS_VL <= n; i += 4 * FS_VL) for (int k = 0; k < 4; ++k) s[k] = fold_v<K>(s[k], f(load(p + i + k * FS_VL)));
  for (; i + FS_VL <= n; i += FS_VL) s[0] = fold_v<K>(s[0], f(load(p + i)));
  if (i < n) {  // the lanes behind the end add nothing
    vf end = f(load(p + i));
    for (int k = 0; k < FS_VL; ++k) end[k] = i + k < n ? end[k] : nothing<K>();
    s[1] = fold_v<K>(s[1], end);
  }
  return fold_lanes<K>(fold_v<K>(fold_v<K>(s[0], s[1]), fold_v<K>(s[2], s[3])));
}

template <Fold K> FS_CALLED void reduce_row(float* to, const float* of, int n, float scale) {
  const float v = fold_row<K>(of, n, [](vf x) { return x; });
  *to = K == SUM ? v * scale : v;
}

template <Fold K> FS_CALLED void reduce_columns(float* to, const float* of, ptrdiff_t step, int n, int columns, float scale) {
  map_row(to, columns, [&](int i) {
    vf v = load(of + i);
    for (int k = 1; k < n; ++k) v = fold_v<K>(v, load(of + k * step + i));
    return K == SUM ? v * splat(scale) : v;
  });
}

template <bool LOG> FS_CALLED void softmax_row(float* to, const float* of, int n) {
  const float most = fold_row<MAX>(of, n, [](vf x) { return x; });
  if (LOG) {
    const float sum = fold_row<SUM>(of, n, [&](vf x) { return exp_v(x - splat(most)); });
    const float shift = most + std::log(sum);
    map_row(to, n, [&](int i) { return load(of + i) - splat(shift); });
    return;
  }
  map_row(to, n, [&](int i) { return exp_v(load(of + i) - splat(most)); });
  const float share = 1.0f / fold_row<SUM>(to, n, [](vf x) { return x; });
  map_row(to, n, [&](int i) { return load(to + i) * splat(share); });
}

template <bool LOG> FS_CALLED void softmax_columns(float* to, ptrdiff_t to_step, const float* of, ptrdiff_t of_step, int n, int columns) {
  for (int i = 0; i < columns; i += FS_VL) {
    const int m = columns - i;
    vf most = load(of + i), sum{};
    for (int k = 1; k < n; ++k) most = larger_v(most, load(of + k * of_step + i));
    for (int k = 0; k < n; ++k) {
      const vf e = exp_v(load(of + k * of_step + i) - most);
      sum = sum + e;
      if (!LOG) store_part(to + k * to_step + i, e, m);
    }
    vf share = 1.0f / sum;
    if (LOG) for (int j = 0; j < FS_VL; ++j) share[j] = std::log(sum[j]);
    for (int k = 0; k < n; ++k) {
      if (LOG) store_part(to + k * to_step + i, load(of + k * of_step + i) - most - share, m);
      else store_part(to + k * to_step + i, load(to + k * to_step + i) * share, m);
    }
  }
}

FS_CALLED void normalise_row(float* to, const float* of, int n, float eps) {
  const vf mean = splat(fold_row<SUM>(of, n, [](vf x) { return x; }) / (float)n);
  const float variance = fold_row<SUM>(of, n, [&](vf x) { return square_v(x - mean); }) / (float)n;
  const vf scale = splat(1.0f / std::sqrt(variance + eps));
  map_row(to, n, [&](int i) { return (load(of + i) - mean) * scale; });
}

// ---- matrix products: registers hold ROWS x VECTORS sums, which run over the depth in order

#define FS_MOST_VECTORS (FS_VL >= 16 ? 4 : 2)

struct Factors {
  float* to;
  const float *left, *right;
  ptrdiff_t to_step, left_row, left_depth, right_step;
  int columns, depth;
};

template <int ROWS, int VECTORS> FS_CALLED void product_tile(const Factors& f, int row, int column) {
  vf sum[ROWS][VECTORS];
  for (int r = 0; r < ROWS; ++r) for (int v = 0; v < VECTORS; ++v) sum[r][v] = vf{};
  const float* left = f.left + row * f.left_row;
  const float* right = f.right + column;
  for (int k = 0; k < f.depth; ++k, left += f.left_depth, right += f.right_step) {
    vf b[VECTORS];
    for (int v = 0; v < VECTORS; ++v) b[v] = load(right + v * FS_VL);
    for (int r = 0; r < ROWS; ++r) {
      const vf a = splat(left[r * f.left_row]);
      for (int v = 0; v < VECTORS; ++v) sum[r][v] = sum[r][v] + a * b[v];
    }
  }
  const int n = f.columns - column;
  for (int r = 0; r < ROWS; ++r) {
    float* to = f.to + (row + r) * f.to_step + column;
    if (n >= VECTORS * FS_VL) for (int v = 0; v < VECTORS; ++v) store(to + v * FS_VL, sum[r][v]);
    else std::memcpy(to, sum[r], 4 * (size_t)n);
  }
}

template <int VECTORS> FS_CALLED void product_panel(const Factors& f, int rows, int column) {
  int r = 0;
  for (; r + 6 <= rows; r += 6) product_tile<6, VECTORS>(f, r, column);
  for (; r < rows; ++r) product_tile<1, VECTORS>(f, r, column);
}

FS_CALLED void product_rows(const Factors& f, int rows) {
  int column = 0;
  for (; f.columns - column > FS_VL; column += FS_MOST_VECTORS * FS_VL) product_panel<FS_MOST_VECTORS>(f, rows, column);
  if (column < f.columns) product_panel<1>(f, rows, column);
}

// ---- between rows of features, dense memory and results

// lanes [0, n) become cells [cell, cell + m) of a grid, and the last of them again
FS_CALLED void read_lanes(const Seg* in, int ns, int width, int cell, int m, int n, float* to, int plane) {
  const elem* r[64];
  for (int s = 0; s < ns; to += (size_t)in[s++].n * plane) {
    for (int i = 0, y = cell / width, x = cell % width; i < m; ++i) {
      r[i] = row_of(in[s], y, x);
      if (++x == width) x = 0, ++y;
    }
    for (int i = m; i < n; ++i) r[i] = r[m - 1];
    spread_rows(r, n, in[s].n, to, plane);
  }
}

// iterations of a loop
constexpr int turns(int limit, int step) { return (limit + step - 1) / step; }

FS_INLINE bool has_changed(const Mask& mask, int cell, int m) { return mask.any && has_any(mask.cells + cell, m); }

FS_CALLED void copy_floats(float* to, const float* from, size_t n, int threads) {
  constexpr size_t most = 16384;
  parallel(n > 8 * most ? threads : 1, (int)((n + most - 1) / most), 1, [&](int part) {
    const size_t i = part * most;
    std::memcpy(to + i, from + i, 4 * (n - i < most ? n - i : most));
  });
}

// A result off the grids: keeps what is cached where the fresh one is within tau of it. Returns whether it is new.
FS_CALLED bool renew(float* cached, const float* fresh, size_t n, float tau, bool always) {
  bool same = !always;
  for (size_t i = 0; same && i < n; i += 256)
    for (size_t k = i; k < n && k < i + 256; ++k) same &= std::fabs(fresh[k] - cached[k]) <= tau;
  if (!same) std::memcpy(cached, fresh, 4 * n);
  return !same;
}

// as the constant of a layer: a number of its own for every channel, or one for all
FS_CALLED void spread_value(float* to, int channels, const float* value, int n) {
  for (int i = 0; i < channels; ++i) to[i] = value[n > 1 ? i : 0];
}
