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

// What the rows of a cell's window read of the image; `cut` has room for them, for windows that its border cuts.
template <int MR> FS_INLINE void join_taps(const ConvArgs& c, int y, int x, const elem** t, elem* cut) {
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

// Where candidates lie: they mostly follow each other, and divisions are slow.
struct Place {
  int w, p = -2, y = 0, x = 0;
  void go(int next) {
    if (next == p + 1 && x + 1 < w) ++x;
    else y = next / w, x = next - y * w;
    p = next;
  }
};

// candidates [0, n) of the work, or those of `pick` where given (transposed convolutions take one output phase at a time)
template <int MR, int NV> static void conv(const Work& w, const ConvArgs& c, const int32_t* pick, int n) {
  const Seg& in = c.in[0];
  const int steps = c.joined ? c.ay->taps : c.ay->taps * c.ax->taps * c.ns, joined = c.joined ? c.ax->taps * in.stride : 0;
  int lens[steps];
  size_t depth = 0;
  for (int s = 0; s < steps; ++s) depth += packed_depth(lens[s] = joined ? joined : c.in[s % c.ns].n);
  const size_t panel = depth * NV * FS_VL;
  const int* const lengths = lens;
  const bool plain = c.ns == 1 && (in.uy | in.ux) == 1;
  const int threads = w.x.a->threads;
  int groups = 4;  // as many as share a panel of weights, as few as keep all threads busy
  while (groups > 1 && n < groups * MR * threads * 2) groups /= 2;
  const int chunk = groups * MR, chunks = (n + chunk - 1) / chunk;
  const bool split = depth * c.co * (size_t)n > 200000;
  parallel(split ? threads : 1, chunks, 1, [&](int i) {
    const elem* table[(size_t)chunk * steps];
    float* out[chunk];
    alignas(64) float nowhere[FS_MAX_ROW];
    alignas(64) float raw[NARROW ? (size_t)chunk * w.s.stride : 1];
    elem cut[joined ? (size_t)chunk * steps * joined : 1];  // rows of windows that the border of the image cuts
    const int k0 = i * chunk, cells = n - k0 < chunk ? n - k0 : chunk, used = (cells + MR - 1) / MR;
    Place place{w.g.w};
    for (int j = 0; j < used * MR; ++j) {
      const elem** t = table + (size_t)(j / MR) * steps * MR + j % MR;
      if (j >= cells) {
        for (int s = 0; s < steps; ++s) t[(size_t)s * MR] = zero_row;
        out[j] = nowhere;
        continue;
      }
      const int k = pick ? pick[k0 + j] : k0 + j;
      place.go(w.list[k]);
      const int y = place.y, x = place.x;
      out[j] = raw_row(raw, w.s.stride, j, w.fresh(k));
      if (joined) {
        join_taps<MR>(c, y, x, t, cut + (size_t)j * steps * joined);
        continue;
      }
      const int32_t *ty = c.ay->tap + y * c.ay->taps, *tx = c.ax->tap + x * c.ax->taps;
      for (int a = 0; a < c.ay->taps; ++a) {
        if (ty[a] < 0) {
          for (int s = 0; s < c.ax->taps * c.ns; ++s, t += MR) *t = zero_row;
          continue;
        }
        if (plain) {
          const int32_t* map = in.map ? in.map + ty[a] * in.w : nullptr;
          const int base = map ? 0 : ty[a] * in.w;
          for (int b = 0; b < c.ax->taps; ++b, t += MR)
            *t = tx[b] < 0 ? zero_row : in.pool + (size_t)(map ? map[tx[b]] : base + tx[b]) * in.stride;
          continue;
        }
        for (int b = 0; b < c.ax->taps; ++b)
          for (int s = 0; s < c.ns; ++s, t += MR) *t = tx[b] < 0 ? zero_row : row_of(c.in[s], ty[a], tx[b]);
      }
    }
    gemm<MR, NV>(table, lengths, steps, c.weights, panel, c.co, out, used);
    if (pick) for (int j = 0; j < cells; ++j) c.finish(w, c.e, pick[k0 + j], pick[k0 + j] + 1, out[j]);
    else c.finish(w, c.e, k0, k0 + cells, raw);
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

// one input channel per output channel: weights [tap][C rounded up]
template <int C> static void depthwise(const Work& w, const ConvArgs& c, const float* weights) {
  constexpr int CP = (C + FS_VL - 1) / FS_VL * FS_VL;
  const int ty = c.ay->taps, tx = c.ax->taps;
  each_cell(w, c.finish, c.e, (size_t)C * ty * tx, [&](int y, int x, float* row) {
    elem gathered[CP];
    for (int i = 0; i < CP; i += FS_VL) store(row + i, vf{});
    for (int a = 0; a < ty; ++a)
      for (int b = 0; b < tx; ++b) {
        const int iy = c.ay->tap[y * ty + a], ix = c.ax->tap[x * tx + b];
        if (iy < 0 || ix < 0) continue;
        const elem* r = tap_row(c.in, c.ns, iy, ix, gathered);
        const float* k = weights + (size_t)(a * tx + b) * CP;
        for (int i = 0; i < CP; i += FS_VL) store(row + i, load(row + i) + load(r + i) * load(k + i));
      }
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
static int phase_of(const Work& w, int sy, int sx, int py, int px, int32_t* pick) {
  int n = 0;
  for (int k = 0; k < w.n; ++k) {
    const int p = w.list[k];
    pick[n] = k;
    n += p / w.g.w % sy == py && p % w.g.w % sx == px;
  }
  return n;
}
