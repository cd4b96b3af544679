// Convolution as an indirect GEMM: the A operand is a table of row pointers (one per candidate, window tap and segment, a
// row of zeros where the tap lies outside), the B operand packed weights [Co / NB][tap][segment][channel][NB].
// A cell's sum runs over taps, segments and channels in this order whatever cells it is computed with.

alignas(64) static const float fs_zeros[FS_ZEROS] = {};
static const elem* const zero_row = (const elem*)fs_zeros;

// `raw`: values of candidates from k0 on, `w.s.stride` apart; not used where they lie in the rows that are kept
typedef void (*FinishFn)(const Work& w, const Epilogue&, int k0, int k1, float* raw);

struct ConvArgs {
  const Seg* in;
  int ns;
  const Axis *ay, *ax;
  const elem* weights;
  int co;
  FinishFn finish;
  Epilogue e;
  bool joined;  // the taps of a window's row lie side by side in `in`, the image, and are one step
};

// numbers of a packed panel that `n` channels of a segment take
FS_INLINE int packed_depth(int n) { return (n + TAKEN - 1) / TAKEN * TAKEN; }

// A step of MR x NV sums in registers: f(sum, weights, row) is the next value of a sum.
template <int MR, int NV, class F> FS_INLINE void add_step(vf (&acc)[MR][NV], const elem* weights, F f) {
  Taken w[NV];
#pragma GCC unroll 7
  for (int v = 0; v < NV; ++v) w[v] = weights_at(weights + TAKEN * v * FS_VL);
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 7
    for (int v = 0; v < NV; ++v) acc[m][v] = f(acc[m][v], w[v], m);
}

// Sums of MR cells at a time over table rows times packed weights, to `out`.
template <int MR, int NV>
static __attribute__((noinline)) void gemm(const elem* const* table, const int* lens, int steps, const elem* weights, size_t panel, int co, float* const* out, int groups) {
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
        for (; k + TAKEN <= n; k += TAKEN, b += TAKEN * NB)
          add_step(acc, b, [&](vf sum, Taken w, int m) { return add_products(sum, w, a[m] + k); });
        if (k == n) continue;
        add_step(acc, b, [&](vf sum, Taken w, int m) { return add_last(sum, w, a[m] + k); });
        b += TAKEN * NB;
      }
#pragma GCC unroll 16
      for (int m = 0; m < MR; ++m)
#pragma GCC unroll 7
        for (int v = 0; v < NV; ++v)
          if (c0 + v * FS_VL < co) store(out[g * MR + m] + c0 + v * FS_VL, acc[m][v]);
    }
}

// Where candidates lie: they mostly follow each other in a row, and divisions are slow.
struct Place {
  int w, p = -1, y = 0, x = -1;
  void go(int next) {
    const int ahead = next - p;
    if (ahead > 0 && x + ahead < w) x += ahead;
    else y = next / w, x = next - y * w;
    p = next;
  }
};

// ---- what one cell reads, a row for every step, MR apart

// Brings a row that was not read lately to where it is needed, while those after it are looked up.
FS_INLINE void fetch(const elem* row, int n) {
  for (int i = 0; i < n; i += 64 / sizeof(elem)) __builtin_prefetch(row + i);
}

// of several segments, upsampled ones too
template <int MR> FS_INLINE void read_segments(const ConvArgs& c, const int32_t* ty, int ny, const int32_t* tx, int nx, const elem** t) {
  for (int a = 0; a < ny; ++a)
    for (int b = 0; b < nx; ++b) {
      const bool inside = (ty[a] | tx[b]) >= 0;
      for (int s = 0; s < c.ns; ++s, t += MR) {
        const Seg& in = c.in[s];
        const int y = in.uy == 1 ? ty[a] : in.uy == 2 ? ty[a] >> 1 : ty[a] / in.uy, x = in.ux == 1 ? tx[b] : in.ux == 2 ? tx[b] >> 1 : tx[b] / in.ux;
        *t = !inside ? zero_row : in.pool + (size_t)(in.map ? in.map[y * in.w + x] : y * in.w + x) * in.stride;
        if (ny == 1) fetch(*t, in.n);
      }
    }
}

struct Segments {
  template <int MR> static inline __attribute__((always_inline)) void read(const ConvArgs& c, int y, int x, const elem** t, elem*) {
    const int ny = c.ay->taps, nx = c.ax->taps;
    read_segments<MR>(c, c.ay->tap + y * ny, ny, c.ax->tap + x * nx, nx, t);
  }
};

// of one stored segment through a window whose size is known here
template <int SIDE> struct Square {
  template <int MR> static inline __attribute__((always_inline)) void read(const ConvArgs& c, int y, int x, const elem** t, elem*) {
    const Seg& in = c.in[0];
    const int32_t *ty = c.ay->tap + y * SIDE, *tx = c.ax->tap + x * SIDE;
    int32_t outside = 0;
    for (int i = 0; i < SIDE; ++i) outside |= ty[i] | tx[i];
    if (outside < 0) return read_segments<MR>(c, ty, SIDE, tx, SIDE, t);
    // Cells before it have not read from there on. Rows of windows that slide by one are few, and mostly there already.
    const int fresh_y = SIDE - c.ay->in_step, fresh_x = SIDE == 1 || c.ax->in_step > 1 ? SIDE - c.ax->in_step : SIDE;
#pragma GCC unroll 3
    for (int a = 0; a < SIDE; ++a) {
      const int32_t* row = in.map + ty[a] * in.w;
#pragma GCC unroll 3
      for (int b = 0; b < SIDE; ++b, t += MR) {
        *t = in.pool + (size_t)row[tx[b]] * in.stride;
        if (a >= fresh_y && b >= fresh_x) fetch(*t, in.n);
      }
    }
  }
};

// of the image, where the taps of a window's row are one step; `cut` has room for rows of windows that its border cuts
struct Joined {
  template <int MR> static inline __attribute__((always_inline)) void read(const ConvArgs& c, int y, int x, const elem** t, elem* cut) {
    const Seg& in = c.in[0];
    const int n = c.ax->taps;
    const int32_t *ty = c.ay->tap + y * c.ay->taps, *tx = c.ax->tap + x * n;
    const bool whole = tx[0] >= 0 && tx[n - 1] - tx[0] == n - 1;
    const elem* first = in.pool + (size_t)(whole ? tx[0] : 0) * in.stride;
    for (int a = 0; a < c.ay->taps; ++a, t += MR) {
      const elem* row = first + (size_t)ty[a] * in.w * in.stride;
      *t = ty[a] < 0 ? zero_row : row;
      if (whole || ty[a] < 0) continue;
      *t = cut;
      for (int b = 0; b < n; ++b, cut += in.stride) std::memcpy(cut, tx[b] < 0 ? zero_row : row + (size_t)tx[b] * in.stride, in.stride * sizeof(elem));
    }
  }
};

// Candidates of a convolution that are computed together: where they lie, what they read, where their sums go.
struct Cells {
  const int32_t *list, *rows;  // cells, and their fresh rows
  int n;
  const elem** table;          // [group][step][MR]
  float** out;
  float *raw, *nowhere;        // for sums of NARROW rows, and of those that only fill up a group
  elem* cut;
};

typedef void (*ReadFn)(const Work&, const ConvArgs&, int steps, const Cells&);

template <int MR, class Reader> static void read_cells(const Work& w, const ConvArgs& c, int steps, const Cells& cells) {
  Place place{w.g.w};
  const int cut = c.joined ? steps * c.ax->taps * c.in[0].stride : 0;
  for (int j = 0; j < cells.n; ++j) {
    place.go(cells.list[j]);
    cells.out[j] = raw_row(cells.raw, w.s.stride, j, w.to + (size_t)cells.rows[j] * w.s.stride);
    Reader::template read<MR>(c, place.y, place.x, cells.table + (size_t)(j / MR) * steps * MR + j % MR, cells.cut + (size_t)j * cut);
  }
  for (int j = cells.n; j % MR; ++j) {
    const elem** t = cells.table + (size_t)(j / MR) * steps * MR + j % MR;
    for (int s = 0; s < steps; ++s) t[(size_t)s * MR] = zero_row;
    cells.out[j] = cells.nowhere;
  }
}

template <int MR> static ReadFn reader_of(const ConvArgs& c) {
  if (c.joined) return read_cells<MR, Joined>;
  if (c.ns == 1 && (c.in[0].uy | c.in[0].ux) == 1 && c.in[0].map && c.ay->taps == c.ax->taps) {
    if (c.ay->taps == 1) return read_cells<MR, Square<1>>;
    if (c.ay->taps == 3) return read_cells<MR, Square<3>>;
  }
  return read_cells<MR, Segments>;
}

// As many groups of MR cells as share a panel of weights, and so few that all threads have as much to do.
static int groups_of(int n, int mr, int threads) {
  int best = 1, least = INT_MAX;
  for (int groups = 4; groups; --groups) {
    const int chunks = (n + groups * mr - 1) / (groups * mr), most = (chunks + threads - 1) / threads * groups;
    if (most < least - least / 32) best = groups, least = most;
  }
  return best;
}

// candidates [0, n) of the work, or those of `pick` where given (transposed convolutions take one output phase at a time)
template <int MR, int NV> static void conv(const Work& w, const ConvArgs& c, const int32_t* pick, int n) {
  const int joined = c.joined ? c.ax->taps * c.in[0].stride : 0;
  const int steps = joined ? c.ay->taps : c.ay->taps * c.ax->taps * c.ns;
  int lens[steps];
  size_t depth = 0;
  for (int s = 0; s < steps; ++s) depth += packed_depth(lens[s] = joined ? joined : c.in[s % c.ns].n);
  const size_t panel = depth * NV * FS_VL;
  const int* const lengths = lens;
  const int threads = depth * c.co * (size_t)n > 200000 ? w.x.a->threads : 1;
  const ReadFn read = reader_of<MR>(c);
  const int chunk = groups_of(n, MR, threads) * MR, chunks = (n + chunk - 1) / chunk;
  parallel(threads, chunks, 1, [&](int i) {
    const elem* table[(size_t)chunk * steps];
    float* out[chunk];
    int32_t picked[pick ? 2 * chunk : 1];
    alignas(64) float nowhere[FS_MAX_ROW];
    alignas(64) float raw[NARROW ? (size_t)chunk * w.s.stride : 1];
    elem cut[joined ? (size_t)chunk * steps * joined : 1];
    const int k0 = i * chunk, cells = n - k0 < chunk ? n - k0 : chunk, used = (cells + MR - 1) / MR;
    Work part = w;
    part.list += k0, part.rows += k0;
    if (pick) {
      for (int j = 0; j < cells; ++j) picked[j] = w.list[pick[k0 + j]], picked[chunk + j] = w.rows[pick[k0 + j]];
      part.list = picked, part.rows = picked + chunk;
    }
    read(w, c, steps, {part.list, part.rows, cells, table, out, raw, nowhere, cut});
    gemm<MR, NV>(table, lengths, steps, c.weights, panel, c.co, out, used);
    c.finish(part, c.e, 0, cells, raw);
  });
}

// f(y, x, row) writes a candidate's raw values; finish() does the rest
template <class F> static void each_cell(const Work& w, FinishFn finish, const Epilogue& e, size_t cost, F f) {
  const int threads = w.x.a->threads, n = w.n;
  parallel(cost * n > 100000 ? threads : 1, (n + 63) / 64, 1, [&](int i) {
    alignas(64) float raw[NARROW ? (size_t)64 * w.s.stride : 1];
    const int k0 = i * 64, k1 = k0 + 64 < n ? k0 + 64 : n;
    for (int k = k0; k < k1; ++k) {
      const int p = w.list[k];
      f(p / w.g.w, p % w.g.w, raw_row(raw, w.s.stride, k - k0, w.fresh(k)));
    }
    finish(w, e, k0, k1, raw);
  });
}

// Sums of M cells over table rows times weights, for NV vectors of channels from `channel` on.
template <int M, int NV> FS_INLINE void window_sums(const elem* const* table, int taps, const float* weights, int row, int channel, float* const* out) {
  vf acc[M][NV] = {};
  const float* k = weights + channel;
  for (int t = 0; t < taps; ++t, k += row) {
    vf factor[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) factor[v] = load(k + v * FS_VL);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < NV; ++v) acc[m][v] += load(table[t * M + m] + channel + v * FS_VL) * factor[v];
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) store(out[m] + channel + v * FS_VL, acc[m][v]);
}

// one input channel per output channel: weights [tap][C rounded up]
template <int C> static void depthwise(const Work& w, const ConvArgs& c, const float* weights) {
  constexpr int CP = (C + FS_VL - 1) / FS_VL * FS_VL, CELLS = 64, AT_ONCE = 4;  // cells that share a vector of weights
  const int taps = c.ay->taps * c.ax->taps, n = w.n;
  parallel((size_t)C * taps * n > 100000 ? w.x.a->threads : 1, (n + CELLS - 1) / CELLS, 1, [&](int i) {
    alignas(64) float raw[NARROW ? (size_t)CELLS * w.s.stride : 1];
    elem gathered[c.ns > 1 ? (size_t)taps * AT_ONCE * CP : 1];
    const elem* table[(size_t)taps * AT_ONCE];
    const int k0 = i * CELLS, k1 = k0 + CELLS < n ? k0 + CELLS : n;
    Place place{w.g.w};
    for (int k = k0; k < k1; k += AT_ONCE) {
      float* out[AT_ONCE];
      for (int m = 0; m < AT_ONCE; ++m) {
        if (k + m >= k1) {  // computed once more
          out[m] = out[0];
          for (int t = 0; t < taps; ++t) table[t * AT_ONCE + m] = table[t * AT_ONCE];
          continue;
        }
        place.go(w.list[k + m]);
        out[m] = raw_row(raw, w.s.stride, k + m - k0, w.fresh(k + m));
        const int32_t *ty = c.ay->tap + place.y * c.ay->taps, *tx = c.ax->tap + place.x * c.ax->taps;
        for (int a = 0, t = m; a < c.ay->taps; ++a)
          for (int b = 0; b < c.ax->taps; ++b, t += AT_ONCE)
            table[t] = (ty[a] | tx[b]) < 0 ? zero_row : tap_row(c.in, c.ns, ty[a], tx[b], gathered + (size_t)t * CP);
      }
      int v = 0;
      for (; v + 2 * FS_VL <= CP; v += 2 * FS_VL) window_sums<AT_ONCE, 2>(table, taps, weights, CP, v, out);
      if (v < CP) window_sums<AT_ONCE, 1>(table, taps, weights, CP, v, out);
    }
    c.finish(w, c.e, k0, k1, raw);
  });
}

// any other grouping: weights [group][Cog / VL][tap][Cig][VL]
template <int GROUPS, int CIG, int COG> static void grouped(const Work& w, const ConvArgs& c, const float* weights, const int32_t* pick, int n) {
  constexpr int BLOCKS = (COG + FS_VL - 1) / FS_VL;
  const int ty = c.ay->taps, tx = c.ax->taps, taps = ty * tx;
  const int threads = w.x.a->threads;
  constexpr int CELLS = 16;  // that are taken at once
  parallel(n > 64 ? threads : 1, (n + CELLS - 1) / CELLS, 1, [&](int task) {
    elem gathered[(size_t)taps * GROUPS * CIG];
    const elem* rows[taps];
    alignas(64) float raw[NARROW ? w.s.stride : 1];
    for (int i = task * CELLS; i < n && i < (task + 1) * CELLS; ++i) {
      const int k = pick ? pick[i] : i, p = w.list[k], y = p / w.g.w, x = p % w.g.w;
      float* out = raw_row(raw, w.s.stride, 0, w.fresh(k));
      for (int t = 0; t < taps; ++t) {
        const int iy = c.ay->tap[y * ty + t / tx], ix = c.ax->tap[x * tx + t % tx];
        rows[t] = iy < 0 || ix < 0 ? zero_row : tap_row(c.in, c.ns, iy, ix, gathered + (size_t)t * GROUPS * CIG);
      }
      const float* b = weights;
      for (int g = 0; g < GROUPS; ++g)
        for (int o = 0; o < BLOCKS; ++o) {
          vf acc{};
          for (int t = 0; t < taps; ++t)
            for (int q = 0; q < CIG; ++q, b += FS_VL) acc += load(b) * number(rows[t][g * CIG + q]);
          const int left = COG - o * FS_VL;
          std::memcpy(out + g * COG + o * FS_VL, &acc, 4 * (size_t)(left < FS_VL ? left : FS_VL));
        }
      c.finish(w, c.e, k, k + 1, raw);
    }
  });
}

// candidates of one output phase of a transposed convolution
FS_INLINE int phase_of(const Work& w, int sy, int sx, int py, int px, int32_t* pick) {
  Place place{w.g.w};
  int n = 0;
  for (int k = 0; k < w.n; ++k) {
    place.go(w.list[k]);
    pick[n] = k;
    n += (place.y % sy == py) & (place.x % sx == px);
  }
  return n;
}
