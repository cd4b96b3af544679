// Grids and displacement fields: integer work that agrees bit for bit with fluxshard/runtime/reuse/displacement.py, which
// defines it.
#include <cstddef>
#include <cstdint>
#include <cstring>

struct Grid { int h, w; long sy_num, sy_den, sx_num, sx_den; };

struct Field {          // displacement of every cell of a grid
  int16_t *dy, *dx;     // cells; zero where invalid
  uint8_t* valid;       // the source is known and lies on the grid
  int32_t* src;         // flat source cell; 0 where invalid
  int32_t still;        // nothing moves, everything is valid: the arrays are not written
};

static inline long floor_div(long a, long b) { long q = a / b; return q - ((a % b != 0) && ((a < 0) != (b < 0))); }

static inline int sample(long cell, long num, long den, int pixels) {
  long centre = (2 * cell + 1) * num / (2 * den);
  return (int)(centre < pixels - 1 ? centre : pixels - 1);
}

// Motion of the image's cells, and which cells of a row of a grid sample one of them: where they start, and which it is.
struct Moves { const int16_t* motion; const uint8_t* known; int cell, columns; };
struct Samples { int n, *first, *column; };

static void find_samples(Samples& s, const Grid& g, const Grid& image, int cell) {
  s.n = 0;
  for (int j = 0; j < g.w; ++j) {
    const int c = sample(j, g.sx_num, g.sx_den, image.w) / cell;
    if (s.n == 0 || s.column[s.n - 1] != c) { s.first[s.n] = j; s.column[s.n++] = c; }
  }
  s.first[s.n] = g.w;
}

// Cells of a row that move alike, from left to right: f(x0, from, to, x1, dy, dx), where [x0, from) and [to, x1) have their
// source outside the grid, or none. Returns whether something moves or has no source.
template <class F> static inline bool each_run(const Grid& g, const Grid& image, const Moves& m, const Samples& s, int i, F f) {
  bool moves = false;
  const size_t row = (size_t)(sample(i, g.sy_num, g.sy_den, image.h) / m.cell) * m.columns;
  for (int k = 0, next; k < s.n; k = next) {
    const size_t c = row + s.column[k];
    for (next = k + 1; next < s.n; ++next) {
      const size_t d = row + s.column[next];
      if (m.known[d] != m.known[c] || m.motion[2 * d] != m.motion[2 * c] || m.motion[2 * d + 1] != m.motion[2 * c + 1]) break;
    }
    const int dy = (int)floor_div(2L * m.motion[2 * c] * g.sy_den + g.sy_num, 2 * g.sy_num);
    const int dx = (int)floor_div(2L * m.motion[2 * c + 1] * g.sx_den + g.sx_num, 2 * g.sx_num);
    const int x0 = s.first[k], x1 = s.first[next];
    int from = x0, to = x1;
    if (dx > from) from = dx < x1 ? dx : x1;
    if (g.w + dx < to) to = g.w + dx > from ? g.w + dx : from;
    if (!m.known[c] || i - dy < 0 || i - dy >= g.h) from = to = x1;
    f(x0, from, to, x1, dy, dx);
    moves = moves || from != x0 || to != x1 || dy || dx;
  }
  return moves;
}

static void make_field(Field& f, const Grid& g, const Grid& image, const int16_t* motion, const uint8_t* known, int cell, int mw, int threads) {
  std::atomic<bool> moving{false};
  int first[g.w + 1], column[g.w];
  Samples samples{0, first, column};
  find_samples(samples, g, image, cell);
  parallel(g.h * g.w > 20000 ? threads : 1, g.h, 0, [&](int i) {
    int16_t *dys = f.dy + (size_t)i * g.w, *dxs = f.dx + (size_t)i * g.w;
    uint8_t* valid = f.valid + (size_t)i * g.w;
    int32_t* src = f.src + (size_t)i * g.w;
    const bool moves = each_run(g, image, {motion, known, cell, mw}, samples, i, [&](int x0, int from, int to, int x1, int dy, int dx) {
      for (int x = x0; x < x1; ++x) {
        const bool in = x >= from && x < to;
        dys[x] = in ? (int16_t)dy : 0;
        dxs[x] = in ? (int16_t)dx : 0;
        valid[x] = in;
        src[x] = in ? (i - dy) * g.w + x - dx : 0;
      }
    });
    if (moves) moving.store(true, std::memory_order_relaxed);
  });
  f.still = !moving.load(std::memory_order_relaxed);
}
