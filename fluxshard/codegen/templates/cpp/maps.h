// Windows, masks and slot maps. All of it is integer work and agrees bit for bit with
// fluxshard/runtime/reuse/{rfap,slot_map}.py, which define it.
struct Axis {           // one axis of a window on given sizes, expanded once at start
  int n_in, n_out, taps, in_step, out_step;
  int32_t* tap;         // (n_out, taps) input cell, or -1 where a constant is read
  uint8_t* crosses;     // (n_out) some raw tap lies outside the input
  const int* shifts;    // (taps) raw offsets where the window only slides and reads a constant outside; else null
};

struct AxisSpec { int n_in, n_out, taps, in_step, out_step, edge; const int* offsets; const int* counts; };  // (out_step, taps), (out_step)

struct Seg {            // channels of a stored tensor as another tensor sees them
  const elem* pool;     // rows, from the first channel seen
  const int32_t* map;   // cell -> row; null for the image: row = cell
  int stride, n, uy, ux, w;  // numbers between rows; channels; nearest upsampling; width of the stored grid
};

FS_INLINE const elem* row_of(const Seg& s, int y, int x) {
  int cell = (s.uy | s.ux) == 1 ? y * s.w + x : (y / s.uy) * s.w + x / s.ux;  // divisions are slow, and this is called per tap
  return s.pool + (size_t)(s.map ? s.map[cell] : cell) * s.stride;
}

static int map_edge(int t, int n, int edge) {
  if (t >= 0 && t < n) return t;
  if (edge == 0) return -1;
  if (edge == 1) return t < 0 ? 0 : n - 1;
  if (edge == 3) return ((t % n) + n) % n;
  int period = n > 1 ? 2 * (n - 1) : 1;
  int f = (t < 0 ? -t : t) % period;
  return f < n ? f : period - f;
}

static void expand(Axis& a, const AxisSpec& s) {
  for (int p = 0; p < s.n_out; ++p) {
    int base = (int)((long)p * s.in_step / s.out_step), phase = p % s.out_step;
    a.crosses[p] = 0;
    for (int t = 0; t < s.taps; ++t) {
      if (t >= s.counts[phase]) { a.tap[p * s.taps + t] = -1; continue; }
      int raw = base + s.offsets[phase * s.taps + t];
      a.tap[p * s.taps + t] = map_edge(raw, s.n_in, s.edge);
      if (raw < 0 || raw >= s.n_in) a.crosses[p] = 1;
    }
  }
}

FS_INLINE bool has_any(const uint8_t* m, int n) { return std::memchr(m, 1, (size_t)n) != nullptr; }

FS_INLINE void or_row(uint8_t* __restrict to, const uint8_t* __restrict from, int n) {
  for (int x = 0; x < n; ++x) to[x] |= from[x];
}

// How far rows that are shifted by an axis's offsets reach outside the input.
struct Margin { int before, after, span; };
static Margin margin_of(const Axis& ax) {
  Margin m{0, 0, ax.shifts ? (ax.n_out - 1) * ax.in_step + 1 : 1};
  for (int k = 0; ax.shifts && k < ax.taps; ++k) {
    if (-ax.shifts[k] > m.before) m.before = -ax.shifts[k];
    if (ax.shifts[k] + m.span - ax.n_in > m.after) m.after = ax.shifts[k] + m.span - ax.n_in;
  }
  return m;
}

// out |= cells of which some tap inside the input is set
static void spread(const uint8_t* in, uint8_t* out, const Axis& ay, const Axis& ax) {
  const int wi = ax.n_in, wo = ax.n_out, step = ax.in_step;
  const Margin margin = margin_of(ax);
  uint8_t buffer[margin.before + wi + margin.after], wide[margin.span];
  uint8_t* t = buffer + margin.before;
  std::memset(buffer, 0, sizeof buffer);
  for (int y = 0; y < ay.n_out; ++y) {
    std::memset(t, 0, wi);
    for (int k = 0; k < ay.taps; ++k)
      if (ay.tap[y * ay.taps + k] >= 0) or_row(t, in + (size_t)ay.tap[y * ay.taps + k] * wi, wi);
    if (!has_any(t, wi)) continue;
    uint8_t* o = out + (size_t)y * wo;
    if (ax.shifts) {
      std::memcpy(wide, t + ax.shifts[0], margin.span);
      for (int k = 1; k < ax.taps; ++k) or_row(wide, t + ax.shifts[k], margin.span);
      if (step == 1) or_row(o, wide, wo);
      else if (step == 2) for (int x = 0; x < wo; ++x) o[x] |= wide[2 * x];
      else for (int x = 0; x < wo; ++x) o[x] |= wide[x * step];
      continue;
    }
    for (int x = 0; x < wo; ++x) {
      uint8_t v = 0;
      for (int k = 0; k < ax.taps; ++k) {
        int ix = ax.tap[x * ax.taps + k];
        if (ix >= 0) v |= t[ix];
      }
      o[x] |= v;
    }
  }
}

FS_INLINE bool step_fits(int d_in, int d_out, const Axis& a) {
  return a.in_step ? d_in * a.out_step == d_out * a.in_step : d_in == 0 && d_out == 0;
}

// What a set of taps has in common: one displacement, packed; nothing, where no tap is inside; or more than one displacement.
constexpr int32_t NO_TAP = INT32_MIN, MIXED = INT32_MIN + 1;
FS_INLINE int32_t packed(int dy, int dx) { return (int32_t)((uint32_t)dy << 16 | (uint16_t)dx); }
FS_INLINE int32_t meet(int32_t a, int32_t b) { return a == NO_TAP ? b : (b == NO_TAP) | (a == b) ? a : MIXED; }
FS_INLINE void meet_row(int32_t* __restrict to, const int32_t* __restrict from, int n) {
  for (int x = 0; x < n; ++x) to[x] = meet(to[x], from[x]);
}

// The window rule of docs/exactness.md: out = cells whose cached value may not be reused although no tap changed.
// Taps are a product of both axes: what they have in common is found along x for every input row, then along y.
// `common` holds (n_in of y, n_out of x).
static void window_flags(uint8_t* out, const Field& fi, const Field& fo, const Axis& ay, const Axis& ax, int32_t* common, int threads) {
  const int wi = ax.n_in, wo = ax.n_out;
  const Margin margin = margin_of(ax);
  if (ay.n_out * wo <= 8000) threads = 1;
  constexpr int ROWS = 8;  // of both grids that are taken at once
  parallel(threads, (ay.n_in + ROWS - 1) / ROWS, 1, [&](int task) {
    int32_t buffer[margin.before + wi + margin.after], wide[margin.span];
    int32_t* row = buffer + margin.before;
    for (int32_t& b : buffer) b = NO_TAP;
    for (int y = task * ROWS; y < ay.n_in && y < (task + 1) * ROWS; ++y) {
      for (int x = 0; x < wi; ++x) row[x] = fi.still ? 0 : packed(fi.dy[(size_t)y * wi + x], fi.dx[(size_t)y * wi + x]);
      int32_t* c = common + (size_t)y * wo;
      if (ax.shifts) {
        int32_t* to = ax.in_step == 1 ? c : wide;
        std::memcpy(to, row + ax.shifts[0], 4 * (size_t)margin.span);
        for (int k = 1; k < ax.taps; ++k) meet_row(to, row + ax.shifts[k], margin.span);
        for (int x = 0; to != c && x < wo; ++x) c[x] = wide[x * ax.in_step];
        continue;
      }
      for (int x = 0; x < wo; ++x) {
        int32_t v = NO_TAP;
        for (int k = 0; k < ax.taps; ++k)
          if (ax.tap[x * ax.taps + k] >= 0) v = meet(v, row[ax.tap[x * ax.taps + k]]);
        c[x] = v;
      }
    }
  });
  parallel(threads, (ay.n_out + ROWS - 1) / ROWS, 1, [&](int task) {
    int32_t all[wo];
    for (int y = task * ROWS; y < ay.n_out && y < (task + 1) * ROWS; ++y) {
      for (int x = 0; x < wo; ++x) all[x] = NO_TAP;
      for (int k = 0; k < ay.taps; ++k)
        if (ay.tap[y * ay.taps + k] >= 0) meet_row(all, common + (size_t)ay.tap[y * ay.taps + k] * wo, wo);
      for (int x = 0; x < wo; ++x) {
        const int p = y * wo + x;
        const int oy = fo.still ? 0 : fo.dy[p], ox = fo.still ? 0 : fo.dx[p];
        out[p] = 0;
        if ((all[x] | oy | ox) == 0) continue;  // nothing moves here
        const bool found = all[x] != NO_TAP;
        const int dy = found ? all[x] >> 16 : 0, dx = found ? (int16_t)all[x] : 0;
        bool fits = all[x] != MIXED && (found ? step_fits(dy, oy, ay) && step_fits(dx, ox, ax) : oy == 0 && ox == 0);
        int sy = y - oy, sx = x - ox;
        sy = sy < 0 ? 0 : sy >= ay.n_out ? ay.n_out - 1 : sy;
        sx = sx < 0 ? 0 : sx >= wo ? wo - 1 : sx;
        if (ay.crosses[y] | ay.crosses[sy]) fits = fits && oy == 0 && dy == 0;
        if (ax.crosses[x] | ax.crosses[sx]) fits = fits && ox == 0 && dx == 0;
        out[p] = !fits;
      }
    }
  });
}

// Pixels of one axis cut into bands between the lines where the state of pixels may change.
struct Bands { int n; int32_t *start, *of; };  // (n) first pixel, (pixels) band

static void make_bands(Bands& b, int pixels, const uint8_t* line) {
  b.n = 0;
  for (int p = 0; p < pixels; ++p) {
    if (p == 0 || line[p]) b.start[b.n++] = p;
    b.of[p] = b.n - 1;
  }
}

// Compact RFAP: pixels whose neighbourhood of reach r does not move as one, or whose motion s does not divide.
//
// Pixels have one state on rectangles between the borders of motion cells and the lines where sources leave the frame. Changes
// between rectangles are summed per column over the rows of a neighbourhood, which slides down with y.
static void compact_flags(uint8_t* out, const Field& f, int h, int w, int r, int s, const int16_t* motion, int cell, int mw) {
  if (f.still) { std::memset(out, 0, (size_t)h * w); return; }
  uint8_t line_y[h], line_x[w];
  int32_t start_y[h], of_y[h], start_x[w], of_x[w];
  for (int y = 0; y < h; ++y) line_y[y] = y % cell == 0;
  for (int x = 0; x < w; ++x) line_x[x] = x % cell == 0;
  for (int cy = 0; cy * cell < h; ++cy)
    for (int cx = 0; cx * cell < w; ++cx) {
      const int dy = motion[2 * ((size_t)cy * mw + cx)], dx = motion[2 * ((size_t)cy * mw + cx) + 1];
      const int y = dy > 0 ? dy : h + dy, x = dx > 0 ? dx : w + dx;
      if (y / cell == cy && y >= 0 && y < h) line_y[y] = 1;
      if (x / cell == cx && x >= 0 && x < w) line_x[x] = 1;
    }
  Bands ys{0, start_y, of_y}, xs{0, start_x, of_x};
  make_bands(ys, h, line_y);
  make_bands(xs, w, line_x);
  const int n = xs.n;
  int32_t down[n], right[n], sum_down[n + 1], sum_right[n + 1];  // per column, and summed from the left
  std::memset(down, 0, sizeof down);
  std::memset(right, 0, sizeof right);
  auto differ = [&](int i, int j, int k, int l) {
    const size_t a = (size_t)ys.start[i] * w + xs.start[j], b = (size_t)ys.start[k] * w + xs.start[l];
    return (f.dy[a] != f.dy[b]) | (f.dx[a] != f.dx[b]) | (f.valid[a] != f.valid[b]);
  };
  auto add_down = [&](int i, int sign) { for (int j = 0; j < n; ++j) down[j] += sign * differ(i, j, i + 1, j); };
  auto add_right = [&](int i, int sign) { for (int j = 0; j + 1 < n; ++j) right[j] += sign * differ(i, j, i, j + 1); };
  int low = 0, high = -1, seen = -1;  // bands [low, high] are summed
  for (int y = 0; y < h; ++y) {
    uint8_t* row = out + (size_t)y * w;
    const int i0 = ys.of[y - r < 0 ? 0 : y - r], i1 = ys.of[y + r >= h ? h - 1 : y + r];
    if (i0 == low && i1 == high && ys.of[y] == seen) { std::memcpy(row, row - w, w); continue; }
    for (; high < i1; ++high) {
      if (high >= low) add_down(high, 1);
      add_right(high + 1, 1);
    }
    for (; low < i0; ++low) {
      add_down(low, -1);
      add_right(low, -1);
    }
    seen = ys.of[y];
    sum_down[0] = sum_right[0] = 0;
    for (int j = 0; j < n; ++j) {
      sum_down[j + 1] = sum_down[j] + down[j];
      sum_right[j + 1] = sum_right[j] + right[j];
    }
    int last0 = -1, last1 = -1, last = -1;
    uint8_t flag = 0;
    for (int x = 0; x < w; ++x) {
      const int j0 = xs.of[x - r < 0 ? 0 : x - r], j1 = xs.of[x + r >= w ? w - 1 : x + r], j = xs.of[x];
      if (j0 != last0 || j1 != last1 || j != last) {
        const size_t p = (size_t)ys.start[seen] * w + xs.start[j];
        last0 = j0, last1 = j1, last = j;
        flag = sum_down[j1 + 1] != sum_down[j0] || sum_right[j1] != sum_right[j0] || f.dy[p] % s || f.dx[p] % s;
      }
      row[x] = flag;
    }
  }
}

#if defined(__AVX512BW__) && FS_VL == 16
// Appends the places of bytes that are set, or of those that are not, to a list of k, until it has `most`. Returns the length
// of the list, and in `from` where it stopped: before the last bytes that do not fill a vector. 16 more may be written.
template <bool SET> FS_INLINE int list_bytes(const uint8_t* bytes, int n, int32_t* list, int k, int most, int& from) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  for (; from + 64 <= n && k < most; from += 64) {
    const __m512i some = _mm512_loadu_si512(bytes + from);
    uint64_t found = SET ? _mm512_test_epi8_mask(some, some) : _mm512_testn_epi8_mask(some, some);
    for (int i = from; found && k < most; i += 16, found >>= 16) {
      _mm512_storeu_si512(list + k, _mm512_maskz_compress_epi32((__mmask16)found, _mm512_add_epi32(lanes, _mm512_set1_epi32(i))));
      k += __builtin_popcount((unsigned)found & 0xffff);
    }
  }
  return k;
}

// Cells that keep rows side by side are marked together.
FS_INLINE int mark_runs(const int32_t* map, const uint8_t* leaves, int cells, uint8_t* used, int32_t other) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  int p = 0;
  for (; p + 16 <= cells; p += 16) {
    const __m512i rows = _mm512_loadu_si512(map + p);
    const __mmask16 apart = _mm512_cmpneq_epi32_mask(rows, _mm512_add_epi32(lanes, _mm512_set1_epi32(map[p])));
    const __m128i gone = leaves ? _mm_loadu_si128((const __m128i*)(leaves + p)) : _mm_setzero_si128();
    const __mmask16 stay = _mm_testn_epi8_mask(gone, gone);
    if (!apart) _mm_mask_storeu_epi8(used + map[p], stay, _mm_set1_epi8(1));
    else if (stay) for (int i = 0; i < 16; ++i) used[stay >> i & 1 ? map[p + i] : other] = 1;
  }
  return p;
}
#endif

// The places of bytes that are set; up to 16 numbers behind the last are written.
static int compact(const uint8_t* mask, int n, int32_t* list) {
  int k = 0, i = 0;
#if defined(__AVX512BW__) && FS_VL == 16
  k = list_bytes<true>(mask, n, list, k, n, i);
#endif
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, mask + i, 8);
    if (!eight) continue;
    if (eight == 0x0101010101010101ull) {
      for (int j = 0; j < 8; ++j) list[k + j] = i + j;
      k += 8;
      continue;
    }
    for (int j = i; j < i + 8; ++j) { list[k] = j; k += mask[j]; }
  }
  for (; i < n; ++i) { list[k] = i; k += mask[i]; }
  return k;
}

// the k-th smallest row of `capacity` that no cell reads by `map`, but for those of `leaves`, where given; for k < n.
// `used` has a byte more than rows.
static void free_rows(const int32_t* map, const uint8_t* leaves, int cells, int capacity, uint8_t* used, int32_t* rows, int n) {
  std::memset(used, 0, (size_t)capacity);
  int p = 0, r = 0, k = 0;
#if defined(__AVX512BW__) && FS_VL == 16
  p = mark_runs(map, leaves, cells, used, capacity);
#endif
  if (leaves) for (; p < cells; ++p) used[leaves[p] ? capacity : map[p]] = 1;
  else for (; p < cells; ++p) used[map[p]] = 1;
#if defined(__AVX512BW__) && FS_VL == 16
  k = list_bytes<false>(used, capacity, rows, k, n, r);
#endif
  while (k + 8 <= n) {  // rows holds 16 more than cells: eight may be written at once
    uint64_t eight;
    std::memcpy(&eight, used + r, 8);
    if (!eight) { for (int j = 0; j < 8; ++j) rows[k + j] = r + j; k += 8; }
    else if (eight != 0x0101010101010101ull) for (int j = 0; j < 8; ++j) { rows[k] = r + j; k += !used[r + j]; }
    r += 8;
  }
  for (; k < n; ++r) { rows[k] = r; k += !used[r]; }
}
