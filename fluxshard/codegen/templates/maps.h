// Grids, displacement fields, windows, masks and slot maps. All of it is integer work and agrees bit for bit with
// fluxshard/runtime/{fields,rfap,slots}.py, which define it.
struct Grid { int h, w; long sy_num, sy_den, sx_num, sx_den; };

struct Field {          // displacement of every cell of a grid
  int16_t *dy, *dx;     // cells; zero where invalid
  uint8_t* valid;       // the source is known and lies on the grid
  int32_t* src;         // flat source cell; 0 where invalid
  int32_t still;        // nothing moves, everything is valid: the arrays are not written
};

struct Axis {           // one axis of a window on given sizes, expanded once at start
  int n_in, n_out, taps, in_step, out_step;
  int32_t* tap;         // (n_out, taps) input cell, or -1 where a constant is read
  uint8_t* crosses;     // (n_out) some raw tap lies outside the input
};

struct AxisSpec { int n_in, n_out, taps, in_step, out_step, edge; const int* offsets; const int* counts; };  // (out_step, taps), (out_step)

struct Seg {            // channels of a stored tensor as another tensor sees them
  const float* pool;    // rows, from the first channel seen
  const int32_t* map;   // cell -> row; null for the image: row = cell
  int stride, n, uy, ux, w;  // floats between rows; channels; nearest upsampling; width of the stored grid
};

FS_INLINE const float* row_of(const Seg& s, int y, int x) {
  int cell = (y / s.uy) * s.w + x / s.ux;
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

static inline long floor_div(long a, long b) { long q = a / b; return q - ((a % b != 0) && ((a < 0) != (b < 0))); }

static void make_field(Field& f, const Grid& g, const Grid& image, const int16_t* motion, const uint8_t* known, int cell, int mw, int threads) {
  bool moves = false;
#pragma omp parallel for num_threads(threads) reduction(|| : moves) if (g.h * g.w > 20000)
  for (int i = 0; i < g.h; ++i) {
    long py = (2L * i + 1) * g.sy_num / (2 * g.sy_den);
    if (py > image.h - 1) py = image.h - 1;
    const long row = py / cell * mw;
    long last = -1;
    int dy = 0, dx = 0, ok = 0;
    for (int j = 0; j < g.w; ++j) {
      long px = (2L * j + 1) * g.sx_num / (2 * g.sx_den);
      if (px > image.w - 1) px = image.w - 1;
      long c = row + px / cell;
      if (c != last) {  // neighbours share a motion cell
        last = c;
        ok = known[c];
        dy = (int)floor_div(2L * motion[2 * c] * g.sy_den + g.sy_num, 2 * g.sy_num);
        dx = (int)floor_div(2L * motion[2 * c + 1] * g.sx_den + g.sx_num, 2 * g.sx_num);
      }
      int p = i * g.w + j, y = i - dy, x = j - dx;
      bool valid = ok && y >= 0 && y < g.h && x >= 0 && x < g.w;
      f.valid[p] = valid;
      f.dy[p] = valid ? (int16_t)dy : 0;
      f.dx[p] = valid ? (int16_t)dx : 0;
      f.src[p] = valid ? y * g.w + x : 0;
      moves = moves || !valid || dy || dx;
    }
  }
  f.still = !moves;
}

FS_INLINE bool has_any(const uint8_t* m, int n) { return std::memchr(m, 1, (size_t)n) != nullptr; }

// out |= cells of which some tap inside the input is set; tmp holds n_out_y * n_in_x bytes
static void spread(const uint8_t* in, uint8_t* out, uint8_t* tmp, const Axis& ay, const Axis& ax) {
  const int wi = ax.n_in, wo = ax.n_out;
  for (int y = 0; y < ay.n_out; ++y) {
    uint8_t* t = tmp + (size_t)y * wi;
    std::memset(t, 0, wi);
    for (int k = 0; k < ay.taps; ++k) {
      int iy = ay.tap[y * ay.taps + k];
      if (iy < 0) continue;
      const uint8_t* s = in + (size_t)iy * wi;
      for (int x = 0; x < wi; ++x) t[x] |= s[x];
    }
    if (!has_any(t, wi)) continue;
    uint8_t* o = out + (size_t)y * wo;
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

// The window rule of docs/exactness.md: out = cells whose cached value may not be reused although no tap changed.
static void window_flags(uint8_t* out, const Field& fi, const Field& fo, const Axis& ay, const Axis& ax, int threads) {
  const int wi = ax.n_in, wo = ax.n_out;
#pragma omp parallel for num_threads(threads) if (ay.n_out * wo > 4000)
  for (int y = 0; y < ay.n_out; ++y)
    for (int x = 0; x < wo; ++x) {
      const int p = y * wo + x;
      const int oy = fo.still ? 0 : fo.dy[p], ox = fo.still ? 0 : fo.dx[p];
      int dy = 0, dx = 0;
      bool found = false, same = true;
      for (int a = 0; a < ay.taps; ++a) {
        int iy = ay.tap[y * ay.taps + a];
        if (iy < 0) continue;
        for (int b = 0; b < ax.taps; ++b) {
          int ix = ax.tap[x * ax.taps + b];
          if (ix < 0) continue;
          const int q = iy * wi + ix;
          const int ty = fi.still ? 0 : fi.dy[q], tx = fi.still ? 0 : fi.dx[q];
          if (!found) { dy = ty; dx = tx; found = true; }
          else if (ty != dy || tx != dx) same = false;
        }
      }
      bool fits = same;
      if (found) fits = fits && step_fits(dy, oy, ay) && step_fits(dx, ox, ax);
      else fits = oy == 0 && ox == 0;
      int sy = y - oy, sx = x - ox;
      sy = sy < 0 ? 0 : sy >= ay.n_out ? ay.n_out - 1 : sy;
      sx = sx < 0 ? 0 : sx >= wo ? wo - 1 : sx;
      if (ay.crosses[y] | ay.crosses[sy]) fits = fits && oy == 0 && dy == 0;
      if (ax.crosses[x] | ax.crosses[sx]) fits = fits && ox == 0 && dx == 0;
      out[p] = !fits;
    }
}

// in place: m[y][x] = any of m[y][x - before .. x + after], then the same along y; tmp holds h * w bytes
static void box_any(uint8_t* m, uint8_t* tmp, int32_t* last, int h, int w, int y_before, int y_after, int x_before, int x_after) {
  for (int y = 0; y < h; ++y) {
    const uint8_t* s = m + (size_t)y * w;
    uint8_t* t = tmp + (size_t)y * w;
    int seen = -1000000;
    for (int x = 0; x < x_after && x < w; ++x) if (s[x]) seen = x;
    for (int x = 0; x < w; ++x) {
      if (x + x_after < w && s[x + x_after]) seen = x + x_after;
      t[x] = seen >= x - x_before;
    }
  }
  for (int x = 0; x < w; ++x) last[x] = -1000000;
  for (int y = 0; y < y_after && y < h; ++y) for (int x = 0; x < w; ++x) if (tmp[(size_t)y * w + x]) last[x] = y;
  for (int y = 0; y < h; ++y) {
    if (y + y_after < h) { const uint8_t* t = tmp + (size_t)(y + y_after) * w; for (int x = 0; x < w; ++x) last[x] = t[x] ? y + y_after : last[x]; }
    uint8_t* o = m + (size_t)y * w;
    for (int x = 0; x < w; ++x) o[x] = last[x] >= y - y_before;
  }
}

// Compact RFAP: pixels whose neighbourhood of reach r does not move as one, or whose motion s does not divide.
static void compact_flags(uint8_t* out, uint8_t* right, uint8_t* tmp, int32_t* last, const Field& f, int h, int w, int r, int s) {
  if (f.still) { std::memset(out, 0, (size_t)h * w); return; }
  auto differ = [&](int a, int b) { return (f.dy[a] != f.dy[b]) | (f.dx[a] != f.dx[b]) | (f.valid[a] != f.valid[b]); };
  for (int y = 0; y < h; ++y)
    for (int x = 0; x < w; ++x) {
      int p = y * w + x;
      right[p] = x + 1 < w ? differ(p, p + 1) : 0;
      out[p] = y + 1 < h ? differ(p, p + w) : 0;
    }
  if (r == 0) {  // a pixel alone always moves as one
    std::memset(out, 0, (size_t)h * w);
    std::memset(right, 0, (size_t)h * w);
  } else {  // a change between x and x + 1 lies inside [x0, x1] iff x0 <= x < x1
    box_any(right, tmp, last, h, w, r, r, r, r - 1);
    box_any(out, tmp, last, h, w, r, r - 1, r, r);
  }
  for (int p = 0; p < h * w; ++p) out[p] = out[p] | right[p] | (f.dy[p] % s != 0) | (f.dx[p] % s != 0);
}

static int compact(const uint8_t* mask, int n, int32_t* list) {
  int k = 0, i = 0;
  for (; i + 8 <= n; i += 8) {
    uint64_t eight;
    std::memcpy(&eight, mask + i, 8);
    if (!eight) continue;
    for (int j = i; j < i + 8; ++j) { list[k] = j; k += mask[j]; }
  }
  for (; i < n; ++i) { list[k] = i; k += mask[i]; }
  return k;
}

// the k-th smallest row that `map` does not refer to, for k < n
static void free_rows(const int32_t* map, int cells, uint8_t* used, int32_t* rows, int n) {
  std::memset(used, 0, (size_t)2 * cells);
  for (int p = 0; p < cells; ++p) used[map[p]] = 1;
  for (int r = 0, k = 0; k < n; ++r) { rows[k] = r; k += !used[r]; }
}
