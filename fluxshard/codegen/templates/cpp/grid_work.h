// From the shards of a frame to the cells of every grid that layers recompute, counted. Included by the generated image test.
// Source of the rules: fluxshard/runtime/planned/shard_work.py, which defines them.

struct GridSpec {
  int index, level;     // in the plan; of those of the test, or -1: it is recomputed where any of them is
  int height, width;    // cells
  int64_t y_num, y_den, x_num, x_den;  // pixels per cell
  bool whole;           // cells without a source lie in shards without one
  size_t offset;        // of its cells in `work`
};

static const GridSpec grids[] = {
{% for g in p.grids %}
  { {{- g.index }}, {{ g.level }}, {{ g.height }}, {{ g.width }}, {{ g.stride[0].numerator }}, {{ g.stride[0].denominator }}, {{ g.stride[1].numerator }}, {{ g.stride[1].denominator }}, {{ "true" if g.whole_cells else "false" }}, {{ p.grid_offsets[loop.index0] -}} },
{% endfor %}
};

struct Flow {  // what the cells of a grid move by
  const int16_t* moved;
  const uint8_t* known;
  int cell_px, columns;
};

// The motion of a level, or of the image where it is none.
static Flow flow_of(const ShardArgs& a, int level) {
  if (!a.motion) return {nullptr, nullptr, 8, COLUMNS};
  if (!a.strays) return {a.motion, a.known, a.cell_px, a.motion_columns};
  const size_t first = (size_t)(level < 0 ? LEVELS : level) * CELLS;
  return {a.moved + 2 * first, a.sourced + first, 8, COLUMNS};
}

// The pixel that a cell looks its shard and its motion up at.
static inline int sample_point(int cell, int64_t num, int64_t den, int n_px) {
  return (int)std::min<int64_t>((2 * (int64_t)cell + 1) * num / (2 * den), n_px - 1);
}

static inline int64_t whole_cells(int m, int64_t num, int64_t den) { return floor_div(2 * m * den + num, 2 * num); }

static int64_t count_cells(const uint8_t* row, int n) {
  int count = 0;
  for (int i = 0; i < n; ++i) count += row[i];
  return count;
}

// Whether cells of a grid move, or have no source. `add` takes the latter into the cells to recompute, and looks at all.
static bool cells_move(const GridSpec& g, const Flow& f, uint8_t* add) {
  if (!f.moved) return false;
  std::vector<int> at_x(g.width);
  for (int x = 0; x < g.width; ++x) at_x[x] = sample_point(x, g.x_num, g.x_den, W) / f.cell_px;
  bool moves = false;
  for (int y = 0; y < g.height; ++y) {
    const size_t row = (size_t)(sample_point(y, g.y_num, g.y_den, H) / f.cell_px) * f.columns;
    for (int x = 0; x < g.width; ++x) {
      const size_t i = row + at_x[x];
      if (f.known[i] && f.moved[2 * i] == 0 && f.moved[2 * i + 1] == 0) continue;
      const int64_t dy = whole_cells(f.moved[2 * i], g.y_num, g.y_den), dx = whole_cells(f.moved[2 * i + 1], g.x_num, g.x_den);
      const bool there = f.known[i] && y - dy >= 0 && y - dy < g.height && x - dx >= 0 && x - dx < g.width;
      moves = moves || !there || dy || dx;
      if (!add && moves) return true;
      if (add) add[(size_t)y * g.width + x] |= !there;
    }
  }
  return moves;
}

// Rows of a grid from the shards of its level.
static int64_t grid_rows(const ShardArgs& a, const GridSpec& g) {
  const Level& level = levels[g.level];
  const uint8_t* mask = a.masks + level.offset;
  uint8_t* cells = a.work + g.offset;
  std::vector<int> shard_x(g.width);
  for (int x = 0; x < g.width; ++x) shard_x[x] = sample_point(x, g.x_num, g.x_den, W) / level.shard;
  int64_t count = 0, of_row = 0;
  for (int y = 0, last = -1; y < g.height; ++y) {
    uint8_t* row = cells + (size_t)y * g.width;
    const int shard = sample_point(y, g.y_num, g.y_den, H) / level.shard;
    if (shard == last) {
      std::memcpy(row, row - g.width, g.width);
    } else {
      for (int x = 0; x < g.width; ++x) row[x] = mask[shard * level.columns + shard_x[x]];
      of_row = count_cells(row, g.width);
      last = shard;
    }
    count += of_row;
  }
  return count;
}

static void add_grid(const ShardArgs& a, const State& s, const GridSpec& g) {
  const Flow f = flow_of(a, g.level);
  int64_t count = grid_rows(a, g);
  const bool rests = g.whole && s.still[g.level] && !s.strays[g.level];
  if (f.moved && (!g.whole || f.cell_px % 8)) {
    uint8_t* cells = a.work + g.offset;
    a.moves[g.index] = cells_move(g, f, cells);
    count = count_cells(cells, g.height * g.width);
  } else {
    a.moves[g.index] = !rests && cells_move(g, f, nullptr);
  }
  a.evaluated[g.index] = count;
}

// A row of 8-px cells of the image: pixels that any level recomputes, and those without a source.
static void add_pixels(const ShardArgs& a, int cy) {
  const GridSpec& g = grids[0];
  const Flow f = flow_of(a, g.level);
  uint8_t any[COLUMNS] = {};
  for (const Level& level : levels) {
    const uint8_t* mask = a.masks + level.offset + cy / level.side * level.columns;
    for (int i = 0, cx = 0; i < level.columns; ++i)
      for (const int end = least(cx + level.side, COLUMNS); cx < end; ++cx) any[cx] |= mask[i];
  }
  const int top = cy * 8, bottom = least(top + 8, H);
  uint8_t* first = a.work + g.offset + (size_t)top * W;
  int64_t count = 0;
  for (int cx = 0; cx < COLUMNS; ++cx) {
    const uint64_t eight = any[cx] * 0x0101010101010101ull;
    const int n = least(8, W - cx * 8);
    if (n == 8) std::memcpy(first + cx * 8, &eight, 8);
    else std::memset(first + cx * 8, any[cx], n);
    count += any[cx] ? n * (bottom - top) : 0;
  }
  for (int y = 1; y < bottom - top; ++y) std::memcpy(first + (size_t)y * W, first, W);
  for (int my = top / f.cell_px; f.moved && my * f.cell_px < bottom; ++my)
    for (int mx = 0; mx * f.cell_px < W; ++mx) {
      const size_t cell = (size_t)my * f.columns + mx;
      const int y0 = most(my * f.cell_px, top), y1 = least((my + 1) * f.cell_px, bottom);
      const int x0 = mx * f.cell_px, x1 = least(x0 + f.cell_px, W);
      const int dy = f.moved[2 * cell], dx = f.moved[2 * cell + 1];
      if (f.known[cell] && y0 - dy >= 0 && y1 - dy <= H && x0 - dx >= 0 && x1 - dx <= W) continue;
      for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x) {
          uint8_t& pixel = first[(size_t)(y - top) * W + x];
          const uint8_t lost = !f.known[cell] || y - dy < 0 || y - dy >= H || x - dx < 0 || x - dx >= W;
          count += lost & !pixel;
          pixel |= lost;
        }
    }
  __atomic_fetch_add(a.evaluated + g.index, count, __ATOMIC_RELAXED);
}

// Whether a displacement is one that motion fields do not have: its source counts as unknown.
static bool is_far(const ShardArgs& a) {
  int16_t low = 0;
  for (size_t i = 0; i < 2 * (size_t)CELLS * (LEVELS + 1); ++i) low = a.moved[i] < low ? a.moved[i] : low;
  return low < -INT16_MAX;
}

// Writes the cells that a proposal recomputes, how many they are, and which grids move.
static void plan_grids(const ShardArgs& a, const State& s) {
  constexpr int OTHERS = sizeof grids / sizeof grids[0] - 1;
  a.evaluated[grids[0].index] = 0;
  bool moves = !a.strays && s.tells;
  for (size_t i = LEVELS * (size_t)CELLS; a.strays && !moves && i < (LEVELS + 1) * (size_t)CELLS; ++i)
    moves = !a.sourced[i] || a.moved[2 * i] || a.moved[2 * i + 1];
  a.moves[grids[0].index] = moves;
  parallel(PARALLEL ? a.threads : 1, ROWS + OTHERS, 8, [&](int task) {
    if (task < OTHERS) add_grid(a, s, grids[1 + task]);
    else add_pixels(a, task - OTHERS);
  });
}
