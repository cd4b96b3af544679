// Convolutions of 3x3 that slide by one, by Winograd's F(2x2, 3x3): the four cells of a 2x2 tile take 16 products a pair of
// channels where their windows have 36. Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.
//
// A tile begins at an even cell. What a cell gets does not depend on which cells it is computed with: of the 4x4 cells that a tile
// reads, those outside its own window do not enter its sum, nor do products of theirs.

// Products that cells need, by which cells of a tile are asked for (bits: top left, top right, bottom left, bottom right):
// nine for a cell, twelve for two beside each other, and all for others.
constexpr uint16_t ROWS_ABOVE = 0x0fff, ROWS_BELOW = 0xfff0, COLUMNS_BEFORE = 0x7777, COLUMNS_AFTER = 0xeeee;
static const uint16_t needed_products[16] = {
  0, ROWS_ABOVE & COLUMNS_BEFORE, ROWS_ABOVE & COLUMNS_AFTER, ROWS_ABOVE, ROWS_BELOW & COLUMNS_BEFORE, COLUMNS_BEFORE, 0xffff, 0xffff,
  ROWS_BELOW & COLUMNS_AFTER, 0xffff, COLUMNS_AFTER, 0xffff, ROWS_BELOW, 0xffff, 0xffff, 0xffff,
};

// f(first candidate in the upper row, the first in the lower one, which of the four are asked for) for every tile
template <class F> static void each_tile(const Work& w, F f) {
  for (int upper = 0; upper < w.n;) {
    const int top = (w.list[upper] / w.g.w & ~1) * w.g.w;
    int middle = upper, end = upper;  // candidates before the lower row, and in both
    while (middle < w.n && w.list[middle] < top + w.g.w) ++middle;
    for (end = middle; end < w.n && w.list[end] < top + 2 * w.g.w;) ++end;
    int lower = middle;
    while (upper < middle || lower < end) {
      const int above = upper < middle ? w.list[upper] - top : INT_MAX, below = lower < end ? w.list[lower] - top - w.g.w : INT_MAX;
      const int left = (above < below ? above : below) & ~1;
      const auto asked = [&](int k, int until, int row) {
        const int first = k < until && w.list[k] - row == left, next = k + first;
        return first | (next < until && w.list[next] - row == left + 1) << 1;
      };
      const int over = asked(upper, middle, top), under = asked(lower, end, top + w.g.w);
      f(upper, lower, over | under << 2);
      upper += (over & 1) + (over >> 1), lower += (under & 1) + (under >> 1);
    }
    upper = end;
  }
}

// Puts tiles that need the same products side by side.
static void find_tiles(const Work& w, Tiles& tiles) {
  int count[16] = {}, first[16], place[16], placed = 0;
  each_tile(w, [&](int, int, int asked) { ++count[asked]; });
  tiles.n = 0;
  for (int asked = 15; asked; --asked) {
    first[asked] = tiles.n, place[asked] = placed;
    tiles.n += count[asked], placed += count[asked] * __builtin_popcount(asked);
  }
  each_tile(w, [&](int upper, int lower, int asked) {
    tiles.first[first[asked]++] = place[asked];
    for (int i = 0; i < __builtin_popcount(asked & 3); ++i) tiles.order[place[asked]++] = upper + i;
    for (int i = 0; i < __builtin_popcount(asked >> 2); ++i) tiles.order[place[asked]++] = lower + i;
  });
  tiles.first[tiles.n] = placed;
}

// B'dB of one vector of channels: d is 4x4, APART numbers lie between results
template <int APART> FS_INLINE void to_products(const elem* const* rows, int channel, elem* to) {
  vf t[4][4];
#pragma GCC unroll 4
  for (int x = 0; x < 4; ++x) {
    const vf a = load(rows[x] + channel), b = load(rows[4 + x] + channel), c = load(rows[8 + x] + channel), d = load(rows[12 + x] + channel);
    t[0][x] = a - c, t[1][x] = b + c, t[2][x] = c - b, t[3][x] = b - d;
  }
#pragma GCC unroll 4
  for (int y = 0; y < 4; ++y) {
    store(to + (4 * y + 0) * APART, t[y][0] - t[y][2]);
    store(to + (4 * y + 1) * APART, t[y][1] + t[y][2]);
    store(to + (4 * y + 2) * APART, t[y][2] - t[y][1]);
    store(to + (4 * y + 3) * APART, t[y][1] - t[y][3]);
  }
}

// A'mA of one vector of channels: m is 4x4, APART numbers lie between its elements
template <int APART> FS_INLINE void from_products(const float* from, vf (&out)[4]) {
  vf s[2][4];
#pragma GCC unroll 4
  for (int x = 0; x < 4; ++x) {
    const vf a = load(from + x * APART), b = load(from + (4 + x) * APART), c = load(from + (8 + x) * APART), d = load(from + (12 + x) * APART);
    s[0][x] = a + b + c, s[1][x] = b - c - d;
  }
#pragma GCC unroll 2
  for (int y = 0; y < 2; ++y) out[2 * y] = s[y][0] + s[y][1] + s[y][2], out[2 * y + 1] = s[y][1] - s[y][2] - s[y][3];
}

// Sums of MR tiles over CI channels, which lie side by side, times a panel of weights.
template <int MR, int NV, int CI> FS_INLINE void sum_products(const elem* a, const elem* b, float* to) {
  vf acc[MR][NV] = {};
  for (int k = 0; k < CI; k += TAKEN, b += TAKEN * NV * FS_VL)
    add_step(acc, b, [&](vf sum, Taken w, int m) { return add_products(sum, w, a + m * CI + k); });
#pragma GCC unroll 16
  for (int m = 0; m < MR; ++m)
#pragma GCC unroll 7
    for (int v = 0; v < NV; ++v) store(to + (m * NV + v) * FS_VL, acc[m][v]);
}

// The 16 x segments rows that a tile reads, row by row of its 4x4 cells.
FS_INLINE void read_tile(const ConvArgs& c, int y, int x, const elem* (*rows)[16]) {
  const int32_t *ty = c.ay->tap + y * 3, *tx = c.ax->tap + x * 3;
  const int32_t ys[4] = {ty[0], ty[1], ty[2], y + 1 < c.ay->n_out ? ty[5] : -1};
  const int32_t xs[4] = {tx[0], tx[1], tx[2], x + 1 < c.ax->n_out ? tx[5] : -1};
  for (int s = 0; s < c.ns; ++s)
    for (int a = 0; a < 4; ++a)
      for (int b = 0; b < 4; ++b) rows[s][4 * a + b] = (ys[a] | xs[b]) < 0 ? zero_row : row_of(c.in[s], ys[a], xs[b]);
}

// weights: [Co / NB][16][CI][NB]; `order` and `first` have room for the candidates, and one more
template <int MR, int NV, int CI> static void winograd(const Work& w, const ConvArgs& c, int32_t* order, int32_t* first) {
  constexpr int NB = NV * FS_VL, ROOM = (256 << 10) / (16 * MR * CI * (int)sizeof(elem)), MOST = ROOM < 1 ? 1 : ROOM < 4 ? ROOM : 4;
  // not powers of two: numbers of one cell must not compete for the same lines of the cache
  constexpr int APART = MOST * MR * CI + 64 / sizeof(elem), SUMS_APART = MOST * MR * NB + 16;
  Tiles own{order, first, -1};
  Tiles& tiles = w.together ? w.x.works[w.s.grid].tiles : own;
  if (tiles.n < 0) find_tiles(w, tiles);
  const int threads = (size_t)16 * CI * c.co * tiles.n > 200000 ? w.x.a->threads : 1;
  const int groups = groups_of(tiles.n, MR, threads), chunk = (groups < MOST ? groups : MOST) * MR, chunks = (tiles.n + chunk - 1) / chunk;
  parallel(threads, chunks, 1, [&](int i) {
    const int t0 = i * chunk, n = tiles.n - t0 < chunk ? tiles.n - t0 : chunk, used = (n + MR - 1) / MR;
    alignas(64) elem products[16 * APART];
    alignas(64) float sums[16 * SUMS_APART];
    int32_t picked[8 * chunk];
    const int k0 = tiles.first[t0], cells = tiles.first[t0 + n] - k0;
    alignas(64) float raw[NARROW ? (size_t)4 * chunk * w.s.stride : 1];
    float* out[4 * chunk];
    uint8_t corner[4 * chunk];
    uint16_t needed[MOST] = {};
    Work part = w;
    for (int j = 0; j < cells; ++j) picked[j] = w.list[tiles.order[k0 + j]], picked[4 * chunk + j] = w.rows[tiles.order[k0 + j]];
    part.list = picked, part.rows = picked + 4 * chunk;
    const elem* rows[c.ns][16];
    Place place{w.g.w};
    for (int t = 0; t < n; ++t) {
      int asked = 0;
      for (int j = tiles.first[t0 + t] - k0; j < tiles.first[t0 + t + 1] - k0; ++j) {
        place.go(picked[j]);
        corner[j] = (place.y & 1) << 1 | (place.x & 1);
        asked |= 1 << corner[j];
        out[j] = raw_row(raw, w.s.stride, j, part.fresh(j));
      }
      needed[t / MR] |= needed_products[asked];
      read_tile(c, place.y & ~1, place.x & ~1, rows);
      elem* to = products + (size_t)t * CI;
      for (int s = 0; s < c.ns; to += c.in[s++].n)
        for (int k = 0; k < c.in[s].n; k += FS_VL) to_products<APART>(rows[s], k, to + k);
    }
    for (int q = 0; q < 16; ++q) std::memset(products + q * APART + n * CI, 0, (used * MR - n) * CI * sizeof(elem));
    const elem* weights = c.weights;
    for (int c0 = 0; c0 < c.co; c0 += NB) {
      for (int q = 0; q < 16; ++q, weights += CI * NB)
        for (int g = 0; g < used; ++g)
          if (needed[g] >> q & 1) sum_products<MR, NV, CI>(products + q * APART + g * MR * CI, weights, sums + q * SUMS_APART + g * MR * NB);
      for (int t = 0; t < n; ++t)
        for (int v = 0; v < NB && c0 + v < c.co; v += FS_VL) {
          vf four[4];
          from_products<SUMS_APART>(sums + t * NB + v, four);  // of products that are not needed, what is not asked for
          for (int j = tiles.first[t0 + t] - k0; j < tiles.first[t0 + t + 1] - k0; ++j) store(out[j] + c0 + v, four[corner[j]]);
        }
    }
    c.finish(part, c.e, 0, cells, raw);
  });
}
