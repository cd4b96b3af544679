// Levels whose cells are squares: they compare means over 8 px, move by whole cells, and the image is whole cells. Of what
// their features stand for they keep the sums of cells, a sixty-fourth of the pixels. Included by the generated image test.

template <int N> static inline void sum_some(const uint8_t* line, uint16_t* sums) {
  using L = Lanes<N>;
  typename L::pairs sum{};
#pragma GCC unroll 8
  for (int y = 0; y < 8; ++y) sum += L::add_pairs(L::load(line + y * ROW));
  sum = L::fold_twice(L::fold(sum));
  uint16_t lanes[N / 2];
  std::memcpy(lanes, &sum, sizeof lanes);
  for (int i = 0; i < N / 8; ++i) sums[i] = lanes[4 * i];
}

static void sum_cells(State& s, int cy) {
  for (int c = 0; c < C; ++c) {
    const uint8_t* line = s.pixels + at(cy * 8, 0) + c * PITCH;
    uint16_t* sums = s.cell_sums[c] + cy * COLUMNS;
    int i = 0;
    for (; i + WIDE <= COLUMNS; i += WIDE) sum_some<WIDE * 8>(line + i * 8, sums + i);
    for (; i < COLUMNS; ++i) sum_some<8>(line + i * 8, sums + i);
  }
}

static void copy_sums(uint16_t (*to)[CELLS], int to_cell, const uint16_t (*from)[CELLS], int from_cell, int n) {
  for (int c = 0; c < C; ++c) std::memcpy(to[c] + to_cell, from[c] + from_cell, n * sizeof(uint16_t));
}

// Scores of n cells side by side, and ages of what they come from.
static void score_sums(const State& s, int index, int cell, int from, int n, int32_t* __restrict scores, uint8_t* __restrict ages) {
  const uint16_t (*was)[CELLS] = s.sums[levels[index].slot][s.reference[index]];
  for (int k = 0; k < n; ++k) scores[k] = 0;
  for (int c = 0; c < C; ++c) {
    const uint16_t* __restrict a = s.cell_sums[c] + cell;
    const uint16_t* __restrict b = was[c] + from;
    for (int k = 0; k < n; ++k) {
      const int difference = a[k] - b[k];
      scores[k] = most(scores[k], most(difference, -difference));
    }
  }
  for (int k = 0; k < n; ++k) scores[k] /= 4;  // of four times as many pixels as blocks have
  const uint8_t* __restrict old = s.ages[index][s.age] + from;
  for (int k = 0; k < n; ++k) ages[k] = older(old[k]);
}

// The same of cells of a row of which some may have no source.
static void test_sums(const State& s, int index, int cy, int left, int right, Shift by, int32_t* scores, uint8_t* ages) {
  const int from_y = cy - by.dy / 8, right_by = by.dx / 8;
  const bool rows = from_y >= 0 && from_y < ROWS;
  const int from = rows ? least(most(left, right_by), right) : right, to = rows ? most(least(right, COLUMNS + right_by), from) : right;
  std::fill(scores + left, scores + from, FORCED);
  std::fill(ages + left, ages + from, OLDEST);
  std::fill(scores + to, scores + right, FORCED);
  std::fill(ages + to, ages + right, OLDEST);
  if (from < to) score_sums(s, index, cy * COLUMNS + from, from_y * COLUMNS + from - right_by, to - from, scores + from, ages + from);
}

static int32_t score_of_sums(const State& s, int index, int cy, int cx, Shift by) {
  if (kind_of(cy, cx, by.dy, by.dx) == NOWHERE) return FORCED;
  const int cell = cy * COLUMNS + cx, from = cell - by.dy / 8 * COLUMNS - by.dx / 8;
  int largest = 0;
  for (int c = 0; c < C; ++c) {
    const int difference = s.cell_sums[c][cell] - s.sums[levels[index].slot][s.reference[index]][c][from];
    largest = most(largest, most(difference, -difference));
  }
  return largest / 4;
}
