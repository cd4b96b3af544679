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

// Cells of a row that move alike are filled at once: those in [x0, from) and [to, x1) have their source outside the grid.
static void make_field(Field& f, const Grid& g, const Grid& image, const int16_t* motion, const uint8_t* known, int cell, int mw, int threads) {
  std::atomic<bool> moving{false};
  int first[g.w + 1], column[g.w], n = 0;  // cells that sample one motion cell: where they start, and which it is
  for (int j = 0; j < g.w; ++j) {
    const int c = sample(j, g.sx_num, g.sx_den, image.w) / cell;
    if (n == 0 || column[n - 1] != c) { first[n] = j; column[n++] = c; }
  }
  first[n] = g.w;
  const int *firsts = first, *columns = column;
  parallel(g.h * g.w > 20000 ? threads : 1, g.h, 0, [&](int i) {
    bool moves = false;
    const size_t row = (size_t)(sample(i, g.sy_num, g.sy_den, image.h) / cell) * mw;
    int16_t *dys = f.dy + (size_t)i * g.w, *dxs = f.dx + (size_t)i * g.w;
    uint8_t* valid = f.valid + (size_t)i * g.w;
    int32_t* src = f.src + (size_t)i * g.w;
    for (int k = 0, next; k < n; k = next) {
      const size_t c = row + columns[k];
      for (next = k + 1; next < n; ++next) {
        const size_t d = row + columns[next];
        if (known[d] != known[c] || motion[2 * d] != motion[2 * c] || motion[2 * d + 1] != motion[2 * c + 1]) break;
      }
      const int dy = (int)floor_div(2L * motion[2 * c] * g.sy_den + g.sy_num, 2 * g.sy_num);
      const int dx = (int)floor_div(2L * motion[2 * c + 1] * g.sx_den + g.sx_num, 2 * g.sx_num);
      const int x0 = firsts[k], x1 = firsts[next];
      int from = x0, to = x1;
      if (dx > from) from = dx < x1 ? dx : x1;
      if (g.w + dx < to) to = g.w + dx > from ? g.w + dx : from;
      if (!known[c] || i - dy < 0 || i - dy >= g.h) from = to = x1;
      for (int x = x0; x < x1; ++x) {
        const bool in = x >= from && x < to;
        dys[x] = in ? (int16_t)dy : 0;
        dxs[x] = in ? (int16_t)dx : 0;
        valid[x] = in;
        src[x] = in ? (i - dy) * g.w + x - dx : 0;
      }
      moves = moves || from != x0 || to != x1 || dy || dx;
    }
    if (moves) moving.store(true, std::memory_order_relaxed);
  });
  f.still = !moving.load(std::memory_order_relaxed);
}
