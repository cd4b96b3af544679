// Where objects are, and what moves most. Included by the generated image test.

// Sets every cell that has a set one at most `reach` away, on the rows and then on the columns.
static void dilate(const uint8_t* from, int rows, int columns, int reach, uint8_t* swept, uint8_t* to) {
  const int down = least(reach, rows), right = least(reach, columns);
  for (int y = 0; y < rows; ++y) {
    uint8_t* row = swept + y * columns;
    std::memset(row, 0, columns);
    for (int k = most(y - down, 0); k <= least(y + down, rows - 1); ++k)
      for (int x = 0; x < columns; ++x) row[x] |= from[k * columns + x] != 0;
  }
  for (int y = 0; y < rows; ++y) {
    int last = -right - 1;  // the last set cell up to x + right
    for (int x = -right; x < columns; ++x) {
      if (x + right < columns && swept[y * columns + x + right]) last = x + right;
      if (x >= 0) to[y * columns + x] = last >= x - right;
    }
  }
}

// Regions where their content is now, in `held`, and what is near them.
static void move_regions(const ShardArgs& a, State& s) {
  for (int cy = 0; cy < ROWS; ++cy)
    for (int cx = 0; cx < COLUMNS; ++cx) {
      int y = centre(cy, H), x = centre(cx, W);
      if (a.motion) {
        const size_t i = (size_t)(y / a.cell_px) * a.motion_columns + x / a.cell_px;
        y = most(0, least(y - a.motion[2 * i], H - 1));
        x = most(0, least(x - a.motion[2 * i + 1], W - 1));
      }
      for (int k = 0; k < KINDS; ++k) s.held[k][cy * COLUMNS + cx] = a.hold[k * CELLS + y / 8 * COLUMNS + x / 8];
    }
  std::memset(s.near, 0, CELLS);
  for (int k = 0; k < KINDS; ++k) {
    dilate(s.held[k], ROWS, COLUMNS, a.margin_cells, s.swept, s.spread);
    for (int i = 0; i < CELLS; ++i) {
      s.near[i] |= s.spread[i] << k;
      s.held[k][i] -= s.held[k][i] > 0;
    }
  }
}

// The most frequent motion of cells where it is known; of equally frequent ones the smallest, by dy and then dx.
static void find_dominant(const ShardArgs& a, State& s) {
  struct Bin { int32_t key, count; };
  const int n = a.motion_rows * a.motion_columns;
  uint32_t size = 64;
  while (size < 2u * n) size *= 2;
  std::vector<Bin> bins(size);
  Bin best{0, 0};
  for (int i = 0, end; i < n; i = end) {
    end = i + 1;
    if (!a.known[i]) continue;
    const int16_t dy = a.motion[2 * i], dx = a.motion[2 * i + 1];
    while (end < n && a.known[end] && a.motion[2 * end] == dy && a.motion[2 * end + 1] == dx) ++end;
    const int32_t key = dy * 65536 + dx + 32768;
    uint32_t at = (uint32_t)key * 2654435761u & (size - 1);
    while (bins[at].count && bins[at].key != key) at = (at + 1) & (size - 1);
    bins[at].key = key;
    const int32_t count = bins[at].count += end - i;
    if (count > best.count || (count == best.count && key < best.key)) best = bins[at];
  }
  s.dominant_y = best.count ? (int32_t)floor_div(best.key, 65536) : 0;
  s.dominant_x = best.count ? best.key - s.dominant_y * 65536 - 32768 : 0;
}
