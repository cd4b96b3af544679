// Everything that is not a convolution: pooling, pointwise ops, resampling, views, islands, the image.

template <int C> static void max_pool(const Work& w, const Seg* in, int ns, const Axis& ay, const Axis& ax, FinishFn finish, const Epilogue& e) {
  constexpr int CP = (C + FS_VL - 1) / FS_VL * FS_VL;
  const int taps = ay.taps * ax.taps;
  each_cell(w, finish, e, (size_t)C * taps, [&](int y, int x, float* row) {
    elem gathered[ns > 1 ? (size_t)taps * CP : 1];
    const elem* rows[taps];
    int n = 0;
    for (int a = 0; a < ay.taps; ++a)
      for (int b = 0; b < ax.taps; ++b) {
        const int iy = ay.tap[y * ay.taps + a], ix = ax.tap[x * ax.taps + b];
        if (iy >= 0 && ix >= 0) rows[n] = tap_row(in, ns, iy, ix, gathered + (size_t)(ns > 1 ? n : 0) * CP), ++n;
      }
    for (int i = 0; i < CP; i += FS_VL) {
      vf m = splat(-INFINITY);
      for (int t = 0; t < n; ++t) {
        const vf v = load(rows[t] + i);
        m = pick((v > m) | ~(v == v), v, m);  // NaN wins, as in torch
      }
      store(row + i, m);
    }
  });
}

struct AvgGeometry { int kh, kw, sh, sw, ph, pw, h, w, include_pad, divisor; };

template <int C> static void avg_pool(const Work& w, const Seg* in, int ns, const Axis& ay, const Axis& ax, const AvgGeometry& q, FinishFn finish, const Epilogue& e) {
  constexpr int CP = (C + FS_VL - 1) / FS_VL * FS_VL;
  each_cell(w, finish, e, (size_t)C * ay.taps * ax.taps, [&](int y, int x, float* row) {
    elem gathered[CP];
    for (int i = 0; i < CP; i += FS_VL) store(row + i, vf{});
    for (int a = 0; a < ay.taps; ++a)
      for (int b = 0; b < ax.taps; ++b) {
        const int iy = ay.tap[y * ay.taps + a], ix = ax.tap[x * ax.taps + b];
        if (iy < 0 || ix < 0) continue;
        const elem* r = tap_row(in, ns, iy, ix, gathered);
        for (int i = 0; i < CP; i += FS_VL) store(row + i, load(row + i) + load(r + i));
      }
    int y0 = y * q.sh - q.ph, x0 = x * q.sw - q.pw;
    int y1 = y0 + q.kh < q.h + q.ph ? y0 + q.kh : q.h + q.ph, x1 = x0 + q.kw < q.w + q.pw ? x0 + q.kw : q.w + q.pw;
    int count = (y1 - y0) * (x1 - x0);
    if (!q.include_pad) {
      y0 = y0 < 0 ? 0 : y0; x0 = x0 < 0 ? 0 : x0;
      y1 = y1 > q.h ? q.h : y1; x1 = x1 > q.w ? q.w : x1;
      count = (y1 - y0) * (x1 - x0);
    }
    if (q.divisor) count = q.divisor;
    for (int i = 0; i < CP; i += FS_VL) store(row + i, load(row + i) / (float)count);
  });
}

// raw copy of the input; activations and additions are left to finish()
template <int C> static void copy_rows(const Work& w, const Seg* in, int ns, FinishFn finish, const Epilogue& e) {
  each_cell(w, finish, e, C, [&](int y, int x, float* row) {
    elem gathered[C + FS_VL];
    widen(tap_row(in, ns, y, x, gathered), row, C);
  });
}

template <int C> static void affine(const Work& w, const Seg* in, int ns, const float* scale, FinishFn finish, const Epilogue& e) {
  each_cell(w, finish, e, C, [&](int y, int x, float* row) {
    elem gathered[C + FS_VL];
    const elem* r = tap_row(in, ns, y, x, gathered);
    for (int i = 0; i < C; i += FS_VL) store(row + i, load(r + i) * load(scale + i));
  });
}

template <int C> static void channel_norm(const Work& w, const Seg* in, int ns, const float* gamma, const float* beta, float eps, FinishFn finish, const Epilogue& e) {
  each_cell(w, finish, e, 4 * C, [&](int y, int x, float* row) {
    elem gathered[C + FS_VL];
    const elem* r = tap_row(in, ns, y, x, gathered);
    float mean = 0, var = 0;
    for (int i = 0; i < C; ++i) mean += number(r[i]);
    mean /= C;
    for (int i = 0; i < C; ++i) var += (number(r[i]) - mean) * (number(r[i]) - mean);
    const float rstd = 1.0f / std::sqrt(var / C + eps);
    for (int i = 0; i < C; ++i) row[i] = (number(r[i]) - mean) * rstd * gamma[i] + beta[i];
  });
}

enum Kind { ADD, SUB, MUL, DIV };
template <Kind K> FS_INLINE vf apply(vf a, vf b) {
  if constexpr (K == ADD) return a + b;
  if constexpr (K == SUB) return a - b;
  if constexpr (K == MUL) return a * b;
  if constexpr (K == DIV) return a / b;
}

// b: another tensor on the grid, or one row for all cells
template <int C, Kind K, bool SWAPPED> static void binary(const Work& w, const Seg* in, int ns, const Seg* other, int n_other, const float* constant, FinishFn finish, const Epilogue& e) {
  each_cell(w, finish, e, C, [&](int y, int x, float* row) {
    elem ga[C + FS_VL], gb[C + FS_VL];
    const elem* a = tap_row(in, ns, y, x, ga);
    const elem* b = constant ? nullptr : tap_row(other, n_other, y, x, gb);
    for (int i = 0; i < C; i += FS_VL) {
      vf u = load(a + i), v = constant ? load(constant + i) : load(b + i);
      store(row + i, SWAPPED ? apply<K>(v, u) : apply<K>(u, v));
    }
  });
}

struct Lerp { const int *low, *high; const float* share; };  // per output cell

template <int C> static void bilinear(const Work& w, const Seg* in, int ns, const Lerp& ly, const Lerp& lx, FinishFn finish, const Epilogue& e) {
  each_cell(w, finish, e, 4 * C, [&](int y, int x, float* row) {
    elem g[4][C + FS_VL];
    const elem* a = tap_row(in, ns, ly.low[y], lx.low[x], g[0]);
    const elem* b = tap_row(in, ns, ly.low[y], lx.high[x], g[1]);
    const elem* c = tap_row(in, ns, ly.high[y], lx.low[x], g[2]);
    const elem* d = tap_row(in, ns, ly.high[y], lx.high[x], g[3]);
    const float v1 = ly.share[y], v0 = 1.0f - v1, h1 = lx.share[x], h0 = 1.0f - h1;
    for (int i = 0; i < C; i += FS_VL)
      store(row + i, v0 * (h0 * load(a + i) + h1 * load(b + i)) + v1 * (h0 * load(c + i) + h1 * load(d + i)));
  });
}

// one tap per axis, a constant outside: padding, cropping, nearest resampling
template <int C> static void gather(const Work& w, const Seg* in, int ns, const Axis& ay, const Axis& ax, float value, FinishFn finish, const Epilogue& e) {
  each_cell(w, finish, e, C, [&](int y, int x, float* row) {
    elem gathered[C + FS_VL];
    const int iy = ay.tap[y], ix = ax.tap[x];
    if (iy < 0 || ix < 0) for (int i = 0; i < C; ++i) row[i] = value;
    else widen(tap_row(in, ns, iy, ix, gathered), row, C);
  });
}

// ---- views

static Mask or_masks(uint8_t* out, int cells, const Mask* masks, int n) {
  bool some = false;
  std::memset(out, 0, cells);
  for (int i = 0; i < n; ++i)
    if (masks[i].any) { some = true; for (int p = 0; p < cells; ++p) out[p] |= masks[i].cells[p]; }
  return {out, some};
}

// The mask of a nearest upsampling by (ry, rx): `now` and `before` are the segments of the upsampled view.
static Mask upsampled_mask(Ctx& c, uint8_t* out, Mask parent, int grid_in, int grid_out, int ry, int rx, const Seg* now, const Seg* before, int ns) {
  const Grid& g = c.grids[grid_out];
  const int cells = g.h * g.w, wi = c.grids[grid_in].w;
  const Field &fi = c.fields[grid_in], &fo = c.fields[grid_out];
  if (c.key) { std::memset(out, 1, cells); return {out, true}; }
  if (c.a->work && c.a->work[grid_out]) {
    const GridWork& work = c.works[grid_out];
    std::memcpy(out, work.led ? work.cand : c.a->work[grid_out], cells);  // whoever led has added what has no source
    if (!work.led && !fo.still) for (int p = 0; p < cells; ++p) out[p] |= !fo.valid[p];
    return {out, has_any(out, cells)};
  }
  bool some = false;
  if (!parent.any && fi.still && fo.still) { std::memset(out, 0, cells); return {out, false}; }
  std::atomic<bool> found{false};
  parallel(cells > 4000 ? c.a->threads : 1, g.h, 0, [&](int y) {
    bool some = false;
    for (int x = 0; x < g.w; ++x) {
      const int p = y * g.w + x, q = y / ry * wi + x / rx;
      out[p] = 0;
      if (!fo.still && !fo.valid[p]) { out[p] = 1; some = true; continue; }
      const int dy = fo.still ? 0 : fo.dy[p], dx = fo.still ? 0 : fo.dx[p];
      const int py = fi.still ? 0 : fi.dy[q], px = fi.still ? 0 : fi.dx[q];
      if (!(parent.any && parent.cells[q]) && dy == py * ry && dx == px * rx) continue;
      bool differs = false;
      for (int s = 0; s < ns && !differs; ++s) {
        const elem *a = row_of(now[s], y, x), *b = row_of(before[s], y - dy, x - dx);
        if (a != b) for (int i = 0; i < now[s].n && !differs; ++i) differs = !(std::fabs(number(a[i]) - number(b[i])) <= 0.0f);
        else for (int i = 0; i < now[s].n && !differs; ++i) differs = !(number(a[i]) - number(a[i]) == 0.0f);  // NaN and infinity
      }
      out[p] = differs;
      some = some || differs;
    }
    if (some) found.store(true, std::memory_order_relaxed);
  });
  return {out, found.load(std::memory_order_relaxed)};
}

// ---- dense tensors: islands and outputs

FS_INLINE v4 four(const elem* p) {
  v4 v;
  widen(p, (float*)&v, 4);
  return v;
}

#if defined(__AVX512F__) && FS_VL == 16
// The same of 16 channels of 16 rows: by twos, by fours, and then by whole fours.
FS_INLINE void spread_block(const elem* const* r, float* o, size_t plane) {
  __m512 a[16], b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    const __m512 one = (__m512)load(r[i]), two = (__m512)load(r[i + 1]);
    a[i] = _mm512_unpacklo_ps(one, two), a[i + 1] = _mm512_unpackhi_ps(one, two);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    b[i] = (__m512)_mm512_unpacklo_pd((__m512d)a[i], (__m512d)a[i + 2]), b[i + 1] = (__m512)_mm512_unpackhi_pd((__m512d)a[i], (__m512d)a[i + 2]);
    b[i + 2] = (__m512)_mm512_unpacklo_pd((__m512d)a[i + 1], (__m512d)a[i + 3]), b[i + 3] = (__m512)_mm512_unpackhi_pd((__m512d)a[i + 1], (__m512d)a[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    a[i] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88), a[i + 4] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd);
    a[i + 8] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88), a[i + 12] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    _mm512_storeu_ps(o + i * plane, _mm512_shuffle_f32x4(a[i], a[i + 8], 0x88));
    _mm512_storeu_ps(o + (i + 8) * plane, _mm512_shuffle_f32x4(a[i], a[i + 8], 0xdd));
  }
}
#endif

// n channels of m rows, one after another: o[k * plane + i] = r[i][k]
static void spread_rows(const elem* const* r, int m, int n, float* o, size_t plane) {
  const int fours = m / 4 * 4;
  int ch = 0;
#if defined(__AVX512F__) && FS_VL == 16
  if (m % 16 == 0)
    for (; ch + 16 <= n; ch += 16)
      for (int i = 0; i < m; i += 16) {
        const elem* at[16];
        for (int k = 0; k < 16; ++k) at[k] = r[i + k] + ch;
        spread_block(at, o + ch * plane + i, plane);
      }
#endif
  for (; ch + 4 <= n; ch += 4)
    for (int i = 0; i < fours; i += 4) {
      v4 a = four(r[i] + ch), b = four(r[i + 1] + ch), d = four(r[i + 2] + ch), e = four(r[i + 3] + ch);
      transpose(a, b, d, e);
      float* p = o + ch * plane + i;
      *(v4*)p = a, *(v4*)(p + plane) = b, *(v4*)(p + 2 * plane) = d, *(v4*)(p + 3 * plane) = e;
    }
  for (int i = fours; i < m; ++i) for (int k = 0; k < ch; ++k) o[k * plane + i] = number(r[i][k]);
  for (; ch < n; ++ch) for (int i = 0; i < m; ++i) o[ch * plane + i] = number(r[i][ch]);
}

// Channels lie `plane` floats apart.
static void to_dense(const Ctx& c, const Grid& g, const Seg* in, int ns, float* out, size_t plane) {
  int channels = 0;
  for (int s = 0; s < ns; ++s) channels += in[s].n;
  parallel(g.h * g.w * channels > 30000 ? c.a->threads : 1, g.h, 0, [&](int y) {
    for (int x0 = 0; x0 < g.w; x0 += 64) {
      const int m = g.w - x0 < 64 ? g.w - x0 : 64;
      float* o = out + (size_t)y * g.w + x0;
      for (int s = 0; s < ns; o += in[s++].n * plane) {
        const elem* r[64];
        for (int i = 0; i < m; ++i) r[i] = row_of(in[s], y, x0 + i);
        spread_rows(r, m, in[s].n, o, plane);
      }
    }
  });
}

// An island's output on a grid: every cell is a candidate.
template <int C> static void from_dense(Work& w, const float* dense, FinishFn finish) {
  w.forced = false;  // islands are compared with the cache even where work is given
  w.open = w.alone = true;
  std::memset(w.s.own_cand, 1, w.cells);
  w.begin();
  const Epilogue e{nullptr, fs_zeros, 0, 0, 0, 0, nullptr, 0};
  each_cell(w, finish, e, 8 * C, [&](int y, int x, float* row) {  // every number lies in another line
    for (int ch = 0; ch < C; ++ch) row[ch] = dense[(size_t)ch * w.cells + y * w.g.w + x];
  });
}

// Ends a frame of a cache that is not moved: it becomes what the frame has made, or what changed goes back to where it came from.
static void commit(const Ctx& c, Store& s) {
  const int cells = c.grids[s.grid].h * c.grids[s.grid].w;
  if (c.a->remap || c.key) { std::memcpy(s.base, s.map, (size_t)cells * 4); return; }
  const Field& f = c.fields[s.grid];
  for (int p = 0; p < cells; ++p)
    if (s.mask[p] && (f.still || f.valid[p])) s.base[f.still ? p : f.src[p]] = s.map[p];
}
