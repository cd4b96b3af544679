// Cells against what their features stand for. Included by the generated image test.

// Scores and ages of cells of a row that move alike; they are written where those of the whole row would be. Where content
// moves by single pixels, `follow` has the rest.
static void test_content(const State& s, int index, int cy, int left, int right, Shift by, int32_t* scores, uint8_t* ages) {
  const Level& level = levels[index];
  if (level.sums) return test_sums(s, index, cy, left, right, by, scores, ages);
  const uint8_t* now = s.pixels + at(cy * 8, 0);
  const uint8_t* was = s.references[level.slot][s.reference[index]];
  const size_t there = at(cy * 8 - by.dy, -by.dx);
  const uint8_t* old = s.ages[index][s.age];
  const bool full = cy * 8 + 8 <= H && kind_of(cy, 0, by.dy, 0) == (W < 8 ? PART : WHOLE);
  const int from = full ? least(most(left, (most(by.dx, 0) + 7) / 8), right) : right;  // whole cells with whole sources
  const int to = full ? most(least(right, (W + least(by.dx, 0)) / 8), from) : right;
  for (int cx = left; cx < right; ++cx) {
    if (cx == from) cx = to;
    if (cx == right) break;
    scores[cx] = FORCED;
    ages[cx] = OLDEST;
    if (kind_of(cy, cx, by.dy, by.dx) == NOWHERE) continue;
    scores[cx] = level.score_part(now + cx * 8, was + (there + cx * 8), part_of(cy, cx, by));
    ages[cx] = age_at(old, cy, cx, by);
  }
  if (from >= to) return;
  level.score(now + from * 8, was + (there + from * 8), to - from, scores + from);
  const uint8_t* __restrict was_old = old + (cy * 8 + 4 - by.dy) / 8 * COLUMNS + (from * 8 + 4 - by.dx) / 8;
  uint8_t* __restrict older_now = ages + from;
  for (int k = 0; k < to - from; ++k) older_now[k] = older(was_old[k]);
}

static void test_run(const State& s, int index, int cy, int left, int right, Shift by, int32_t* scores, uint8_t* ages) {
  test_content(s, index, cy, left, right, by, scores, ages);
  if (levels[index].step) follow_run(s, levels[index], index, cy, left, right, by, scores, ages);
}

// Gives n cells of a row of one of a level's pictures this frame's pixels.
static void renew_cells(State& s, int index, int picture, int cy, int cx, int n) {
  const size_t here = at(cy * 8, cx * 8);
  copy_run(s.references[levels[index].slot][picture] + here, s.pixels + here, n);
  std::memset(s.same[index] + cy * COLUMNS + cx, 0, n);
}

// Moves n cells of a row of a level's reference. What they hold behind the border of the image is zero, as in all pictures.
static void move_cells(State& s, int index, int cy, int cx, int n, Shift by) {
  const int old = s.reference[index], slot = levels[index].slot;
  if (levels[index].sums)
    return copy_sums(s.sums[slot][1 - old], cy * COLUMNS + cx, s.sums[slot][old], (cy - by.dy / 8) * COLUMNS + cx - by.dx / 8, n);
  uint8_t* to = s.references[slot][1 - old];
  std::memset(s.same[index] + cy * COLUMNS + cx, by.dy == 0 && by.dx == 0, n);
  copy_run(to + at(cy * 8, cx * 8), s.references[slot][old] + at(cy * 8 - by.dy, cx * 8 - by.dx), n);
  if (H % 8 && cy == ROWS - 1)
    for (int y = H; y < ROWS * 8; ++y)
      for (int c = 0; c < C; ++c) std::memset(to + at(y, cx * 8) + c * PITCH, 0, n * 8);
  if (W % 8 && cx + n == COLUMNS)
    for (int y = cy * 8; y < cy * 8 + 8; ++y)
      for (int c = 0; c < C; ++c) std::memset(to + at(y, W) + c * PITCH, 0, COLUMNS * 8 - W);
}

// The same as the hint says: where nothing moves and the other picture holds the same already, nothing is copied.
static void follow_hint(State& s, int index, int cy, int cx, int n, Shift by) {
  if (levels[index].sums || by.dy || by.dx) return move_cells(s, index, cy, cx, n, by);
  const uint8_t* same = s.same[index] + cy * COLUMNS;
  for (int at = cx, to; at < cx + n; at = to) {
    to = at + 1;
    while (to < cx + n && same[to] == same[at]) ++to;
    if (!same[at]) move_cells(s, index, cy, at, to - at, by);
  }
}

// Scores and ages of a row of cells that move as the hint says. The reference is moved first, if it moves, to where it will
// be if the proposal is committed; so vectors are full however cells move.
static void test_row(State& s, int index, int cy, const Moves& m, int32_t* scores, uint8_t* ages) {
  const Level& level = levels[index];
  const bool still = s.still[index];
  const uint8_t* old = s.ages[index][s.age];
  for (int cx = 0, end; cx < COLUMNS; cx = end) {
    end = cx + 1;
    while (end < COLUMNS && alike(m, cx, end)) ++end;
    if (m.kind[cx] == NOWHERE) {
      std::memset(ages + cx, OLDEST, end - cx);
      continue;
    }
    const Shift by{m.dy[cx], m.dx[cx]};
    if (!still) follow_hint(s, index, cy, cx, end - cx, by);
    if (level.sums) {
      score_sums(s, index, cy * COLUMNS + cx, (cy - by.dy / 8) * COLUMNS + cx - by.dx / 8, end - cx, scores + cx, ages + cx);
      continue;
    }
    if (level.step) continue;  // `follow` has the ages
    if (m.kind[cx] == PART) {
      for (int k = cx; k < end; ++k) ages[k] = age_at(old, cy, k, by);
      continue;
    }
    const uint8_t* __restrict was = old + (cy * 8 + 4 - by.dy) / 8 * COLUMNS + (cx * 8 + 4 - by.dx) / 8;
    uint8_t* __restrict now = ages + cx;
    for (int k = 0; k < end - cx; ++k) now[k] = older(was[k]);
  }
  if (!level.sums) {
    const uint8_t* there = s.references[level.slot][still ? s.reference[index] : 1 - s.reference[index]];
    level.score(s.pixels + at(cy * 8, 0), there + at(cy * 8, 0), COLUMNS, scores);
  }
  for (int cx = 0; cx < COLUMNS; ++cx) scores[cx] = m.kind[cx] == NOWHERE ? FORCED : scores[cx];
  if (level.step) follow(s, level, index, cy, 0, COLUMNS, m.dy, m.dx, scores, ages);
}
