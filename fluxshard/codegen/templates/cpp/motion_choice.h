// Which displacement each shard of a level takes, where its hint leaves a residual. Included by the generated image test.
// Source of the rules: fluxshard/runtime/planned/motion_choice.py, which defines them.

// One row of shards, as many as there can be: what their hints leave; once chosen, what is left.
struct Row {
  int32_t score[COLUMNS], limit[COLUMNS];  // limit: the largest score that is reused
  int32_t worst[COLUMNS];                  // of shards of several cells, the one that the hint fits least
  uint8_t age[COLUMNS], near[COLUMNS], unknown[COLUMNS], over[COLUMNS];
  uint8_t open[COLUMNS];    // other displacements are tried
  uint8_t strays[COLUMNS];  // one of them fits better: `shift`
  Shift shift[COLUMNS];
};

// Takes the largest value of the cells of each shard.
template <class T> static inline void add_largest(int side, const T* __restrict cells, T* __restrict shards) {
  if (side == 1) {
    for (int i = 0; i < COLUMNS; ++i) shards[i] = shards[i] > cells[i] ? shards[i] : cells[i];
    return;
  }
  for (int i = 0, cx = 0; cx < COLUMNS; ++i)
    for (const int end = least(cx + side, COLUMNS); cx < end; ++cx) shards[i] = shards[i] > cells[cx] ? shards[i] : cells[cx];
}

static inline void find_worst(int side, int cy, const int32_t* scores, Row& r) {
  for (int i = 0, cx = 0; cx < COLUMNS; ++i) {
    int32_t largest = cy % side ? r.score[i] : -1;
    for (const int end = least(cx + side, COLUMNS); cx < end; ++cx) {
      r.worst[i] = scores[cx] > largest ? cy * COLUMNS + cx : r.worst[i];
      largest = most(largest, scores[cx]);
    }
  }
}

static inline void add_any(int side, const uint8_t* __restrict cells, uint8_t* __restrict shards) {
  if (side == 1) {
    for (int i = 0; i < COLUMNS; ++i) shards[i] |= cells[i];
    return;
  }
  for (int i = 0, cx = 0; cx < COLUMNS; ++i)
    for (const int end = least(cx + side, COLUMNS); cx < end; ++cx) shards[i] |= cells[cx];
}

// Limits of cells whose shard is near an object; without regions, all are.
static void find_close(const ShardArgs& a, int side, const Row& r, int32_t* __restrict close) {
  for (int i = 0, cx = 0; cx < COLUMNS; ++i) {
    const int32_t limit = !a.has_regions || r.near[i] ? r.limit[i] : -1;
    for (const int end = least(cx + side, COLUMNS); cx < end; ++cx) close[cx] = limit;
  }
}

// What the content of a row of cells moves by as the hint says.
static void keep_content(State& s, int index, int cy, const Moves& m) {
  int16_t (*content)[2] = s.content[index] + cy * COLUMNS;
  for (int cx = 0; cx < COLUMNS; ++cx) {
    content[cx][0] = (int16_t)m.dy[cx];
    content[cx][1] = (int16_t)m.dx[cx];
  }
}

static void set_limits(const ShardArgs& a, const Taus& tau, Row& r) {
  const int32_t elsewhere = a.has_regions ? tau.elsewhere : tau.near, small = a.has_regions ? tau.near_small : tau.near;
  for (int i = 0; i < COLUMNS; ++i) r.limit[i] = r.near[i] & 2 ? small : r.near[i] ? tau.near : elsewhere;
}

// Whether a shard has to be recomputed, and for a whole row of them below.
static inline uint8_t is_over(const ShardArgs& a, const Taus& tau, int32_t limit, int32_t score, uint8_t age) {
  const int wait = a.wait_frames ? a.wait_frames : OLDEST + 1, refresh = a.refresh_frames ? a.refresh_frames : OLDEST + 1;
  return (score > limit) | ((score > tau.waiting) & (age >= wait)) | (age >= refresh);
}

static void find_over(const ShardArgs& a, const Taus& tau, const int32_t* limit, const int32_t* score, const uint8_t* age, uint8_t* __restrict over) {
  const Taus taus = tau;
  const int wait = a.wait_frames ? a.wait_frames : OLDEST + 1, refresh = a.refresh_frames ? a.refresh_frames : OLDEST + 1;
  for (int i = 0; i < COLUMNS; ++i)
    over[i] = (score[i] > limit[i]) | ((score[i] > taus.waiting) & (age[i] >= wait)) | (age[i] >= refresh);
}

// Lists the shards that are meant, without a branch on each, which would be mispredicted. Returns how many they are.
template <class F> static inline int list_shards(int n, F meant, int* __restrict list) {
  int found = 0;
  for (int i = 0; i < n; ++i) {
    list[found] = i;
    found += meant(i) != 0;
  }
  return found;
}

static inline int sign(int v) { return (v > 0) - (v < 0); }

// Score of a cell that moves so, or what is known of it when it has reached `bound`.
static inline int32_t score_at(const State& s, int index, int cy, int cx, Shift shift, int32_t bound) {
  if (levels[index].sums) return score_of_sums(s, index, cy, cx, shift);
  const uint8_t kind = kind_of(cy, cx, shift.dy, shift.dx);
  if (kind == NOWHERE) return FORCED;
  const uint8_t* now = s.pixels + at(cy * 8, cx * 8);
  const uint8_t* was = s.references[levels[index].slot][s.reference[index]] + at(cy * 8 - shift.dy, cx * 8 - shift.dx);
  if (kind == WHOLE) return levels[index].score_one(now, was, bound);
  return levels[index].score_part(now, was, part_of(cy, cx, shift));
}

// Zero or the most frequent motion: all open shards of a row at once, so that neighbours share vectors. A shard takes it
// where it spares it, or leaves less than three quarters of the residual. `own` are the hints of the shards.
static void try_common(const ShardArgs& a, const State& s, int index, int row, Shift shift, const Shift* own, Row& r) {
  const Level& level = levels[index];
  const Taus& tau = a.taus[index];
  int32_t score[COLUMNS] = {}, scores[COLUMNS], limit[COLUMNS];
  uint8_t age[COLUMNS] = {}, ages[COLUMNS], wanted[COLUMNS], over[COLUMNS];
  std::memcpy(wanted, r.open, sizeof wanted);
  if (level.side == 1)  // the hint is that of all of a shard: what it leaves is known
    for (int i = 0; i < COLUMNS; ++i) wanted[i] &= r.unknown[i] | (shift.dy != own[i].dy) | (shift.dx != own[i].dx);
  int any = 0;
  for (int i = 0; i < COLUMNS; ++i) any |= wanted[i];
  if (!any) return;
  for (int i = 0; i < COLUMNS; ++i) limit[i] = least(tau.stray, r.limit[i]);
  // Given up where a score says that the shard will not take it. What does not spare a shard may fit better, but is not
  // taken in the end.
  const auto hopes = [&](int i, int32_t score) { return score <= limit[i] && (r.over[i] || 4LL * score < 3LL * r.score[i]); };
  if (level.side > 1)  // mostly, what the hint fits least says all
    for (int i = 0; i < level.columns; ++i)
      if (wanted[i]) wanted[i] = hopes(i, score_at(s, index, r.worst[i] / COLUMNS, r.worst[i] % COLUMNS, shift, INT32_MAX));
  for (int cy = row * level.side; cy < least((row + 1) * level.side, ROWS); ++cy) {
    int list[COLUMNS];
    const int n = list_shards(level.columns, [&](int i) { return wanted[i]; }, list);
    for (int j = 0, next; j < n; j = next) {
      // a few shards between that are not wanted cost less than another run
      for (next = j + 1; next < n && list[next] - list[next - 1] <= 4;) ++next;
      const int i = list[j], end = list[next - 1] + 1;
      int32_t* to = level.side == 1 ? score : scores;
      uint8_t* aged = level.side == 1 ? age : ages;
      test_content(s, index, cy, i * level.side, least(end * level.side, COLUMNS), shift, to, aged);
      if (!level.step) continue;
      for (int k = i; k < end; ++k) {
        const int left = k * level.side, right = least(left + level.side, COLUMNS);
        wanted[k] &= hopes(k, *std::max_element(to + left, to + right));
      }
      for (int k = i, after; k < end; k = after) {  // what features add is looked for where there is hope
        after = k + 1;
        if (!wanted[k]) continue;
        while (after < end && wanted[after]) ++after;
        follow_run(s, level, index, cy, k * level.side, least(after * level.side, COLUMNS), shift, to, aged);
      }
    }
    if (level.side == 1) break;
    for (int i = 0; i < level.columns; ++i) {
      if (!wanted[i]) continue;
      for (int cx = i * level.side; cx < least((i + 1) * level.side, COLUMNS); ++cx) {
        score[i] = most(score[i], scores[cx]);
        age[i] = (uint8_t)most(age[i], ages[cx]);
      }
      wanted[i] = hopes(i, score[i]);
    }
  }
  find_over(a, tau, limit, score, age, over);
  for (int i = 0; i < COLUMNS; ++i) {
    const int32_t most_of = 1 << 28, now = least(score[i], most_of), was = least(r.score[i], most_of);
    const uint8_t takes = wanted[i] & ((r.over[i] & !over[i]) | ((r.over[i] == over[i]) & (4 * now < 3 * was)));
    r.score[i] = takes ? score[i] : r.score[i];
    r.over[i] = takes ? over[i] : r.over[i];
    r.strays[i] |= takes;
    r.shift[i].dy = takes ? shift.dy : r.shift[i].dy;
    r.shift[i].dx = takes ? shift.dx : r.shift[i].dx;
  }
}

// Whether a shard would be spared if all of it moved alike.
static bool spares(const ShardArgs& a, const State& s, int index, int row, int i, const Row& r, Shift shift) {
  const Level& level = levels[index];
  const Taus& tau = a.taus[index];
  const int32_t limit = least(r.limit[i], tau.stray);
  if (level.side == 1) {
    int32_t scores[COLUMNS];
    scores[i] = score_at(s, index, row, i, shift, limit + 1);
    if (scores[i] > limit) return false;
    const Shift features = level.step ? follow_cell(s, level, index, row, i, shift, scores) : shift;
    return scores[i] <= limit && !is_over(a, tau, limit, scores[i], age_at(s.ages[index][s.age], row, i, features));
  }
  int32_t first[COLUMNS];  // of the cell that the hint fits least
  const int worst_y = r.worst[i] / COLUMNS, worst_x = r.worst[i] % COLUMNS;
  first[worst_x] = score_at(s, index, worst_y, worst_x, shift, limit + 1);
  if (first[worst_x] > limit) return false;
  if (level.step) follow_cell(s, level, index, worst_y, worst_x, shift, first);
  if (first[worst_x] > limit) return false;
  const int left = i * level.side, right = least(left + level.side, COLUMNS);
  int32_t score = 0;
  uint8_t age = 0;
  for (int cy = row * level.side; cy < least((row + 1) * level.side, ROWS); ++cy) {
    int32_t scores[COLUMNS];
    uint8_t ages[COLUMNS];
    test_run(s, index, cy, left, right, shift, scores, ages);
    for (int cx = left; cx < right; ++cx) {
      score = most(score, scores[cx]);
      age = (uint8_t)most(age, ages[cx]);
    }
    if (score > limit) return false;
  }
  return !is_over(a, tau, limit, score, age);
}

// Displacements that a shard has tried: what they leave is known, and is not taken.
struct Tried {
  int64_t keys[16];
  int n;

  Tried() : n(0) {
    for (int64_t& key : keys) key = INT64_MAX;  // of no displacement
  }
  bool add(Shift shift) {
    const int64_t key = ((int64_t)shift.dy << 32) + shift.dx;
    int64_t found = 0;
    for (int k = 0; k < 16; ++k) found |= keys[k] == key;  // all: a loop that ends early is mispredicted
    if (found) return false;
    keys[n++] = key;
    return true;
  }
};

// The first displacement near its hint that spares a shard, if there is one. `hints` are those of the rows of shards from
// the one above on.
static bool find_beside(const ShardArgs& a, const State& s, int index, int row, int i, const Row& r, Tried tried, const Shift (*hints)[COLUMNS], Shift& found) {
  const Level& level = levels[index];
  const Shift own = hints[1][i];
  if (level.side == 1 && !r.unknown[i]) tried.add(own);  // the hint of all of the shard
  const Shift beside[] = {hints[1][most(i - 1, 0)], hints[1][least(i + 1, level.columns - 1)], hints[0][i], hints[2][i]};
  for (const Shift& shift : beside)
    if (tried.add(shift) && spares(a, s, index, row, i, r, found = shift)) return true;
  if (level.step) return false;  // `find_next` goes on
  const size_t at = (size_t)s.at_y[index][row * level.side] * a.motion_columns + s.at_x[index][i * level.side];
  const int down = sign(a.motion[2 * at] - own.dy), right = sign(a.motion[2 * at + 1] - own.dx);
  if (level.side == 1 && !down && !right) return false;  // its own hint, tried or zero
  const Shift away = level.round(own, {down, right});
  for (const Shift& shift : {Shift{away.dy, own.dx}, Shift{own.dy, away.dx}, away})
    if (tried.add(shift) && spares(a, s, index, row, i, r, found = shift)) return true;
  return false;
}

// Where content moves by single pixels: shards that are still over take the first displacement a pixel from their hints
// that spares them. A whole row of shards tries one of the displacements at a time, so that neighbours share vectors.
static void find_next(const ShardArgs& a, const State& s, int index, int row, const Shift* own, Row& r) {
  const Level& level = levels[index];
  const uint8_t* now = s.pixels + at(row * 8, 0);
  const uint8_t* was = s.references[level.slot][s.reference[index]];
  for (const Shift& by : {Shift{0, -1}, {0, 1}, {-1, 0}, {1, 0}, {-1, -1}, {-1, 1}, {1, -1}, {1, 1}}) {
    int list[COLUMNS];
    const int n = list_shards(level.columns, [&](int i) { return r.open[i] & r.over[i]; }, list);
    for (int j = 0, next; j < n; j = next) {
      next = j + 1;
      const int i = list[j];
      const Shift shift{own[i].dy + by.dy, own[i].dx + by.dx};
      const auto joins = [&](int k) { return own[k].dy == own[i].dy && own[k].dx == own[i].dx && kind_of(row, k, shift.dy, shift.dx) == WHOLE; };
      int32_t scores[COLUMNS];
      scores[i] = 0;
      if (level.side == 1 && joins(i)) {
        // a few shards between that are not wanted cost less than another run
        while (next < n && list[next] - list[next - 1] <= 4 && joins(list[next])) ++next;
        level.score(now + i * 8, was + (at(row * 8 - shift.dy, -shift.dx) + i * 8), list[next - 1] + 1 - i, scores + i);
      }
      const int32_t stray = a.taus[index].stray;
      for (int m = j; m < next; ++m) {
        const int k = list[m];
        if (scores[k] > least(r.limit[k], stray) || !spares(a, s, index, row, k, r, shift)) continue;
        r.shift[k] = shift;
        r.strays[k] = 1;
        r.over[k] = 0;
      }
    }
  }
}

static void stray(const ShardArgs& a, State& s, int index, int row, int i, Shift shift);

// Lets the open shards of a row take displacements that fit better than their hints. Source of the rules: motion_choice.py.
static void choose(const ShardArgs& a, State& s, int index, int row, Row& r) {
  const Level& level = levels[index];
  Shift hints[3][COLUMNS];  // hints of the rows above and below, and between them of this one
  level.hints(a, s.at_y[index][row * level.side], s.at_x[index], hints[1]);
  Tried common;
  for (const Shift& shift : {Shift{0, 0}, level.round({s.dominant_y, s.dominant_x}, {0, 0})})
    if (common.add(shift)) try_common(a, s, index, row, shift, hints[1], r);
  int list[COLUMNS];
  int n = list_shards(level.columns, [&](int i) { return r.open[i] & r.over[i]; }, list);
  if (n) {
    level.hints(a, s.at_y[index][most(row - 1, 0) * level.side], s.at_x[index], hints[0]);
    level.hints(a, s.at_y[index][least(row + 1, level.rows - 1) * level.side], s.at_x[index], hints[2]);
  }
  for (int j = 0; j < n; ++j) {
    const int i = list[j];
    r.strays[i] = find_beside(a, s, index, row, i, r, common, hints, r.shift[i]);
    r.over[i] = !r.strays[i];
  }
  if (level.step) find_next(a, s, index, row, hints[1], r);
  n = list_shards(level.columns, [&](int i) { return r.open[i] & r.strays[i]; }, list);
  for (int j = 0; j < n; ++j) stray(a, s, index, row, list[j], r.shift[list[j]]);
}

// Writes what a row of cells moves by as the hint says; the image's, too, beside the finest level.
static void tell_row(const ShardArgs& a, int index, int cy, const Moves& m) {
  const size_t row = (size_t)index * CELLS + cy * COLUMNS, image = (size_t)LEVELS * CELLS + cy * COLUMNS;
  int16_t* __restrict moved = a.moved + 2 * row;
  for (int cx = 0; cx < COLUMNS; ++cx) {
    moved[2 * cx] = (int16_t)m.dy[cx];
    moved[2 * cx + 1] = (int16_t)m.dx[cx];
  }
  uint8_t* __restrict sourced = a.sourced + row;
  for (int cx = 0; cx < COLUMNS; ++cx) sourced[cx] = !m.unknown[cx];
  if (index) return;
  if (a.cell_px == 8) {
    std::memcpy(a.moved + 2 * image, a.motion + 2 * (size_t)cy * COLUMNS, COLUMNS * 2 * sizeof(int16_t));
    const uint8_t* __restrict known = a.known + (size_t)cy * COLUMNS;
    uint8_t* __restrict to = a.sourced + image;
    for (int cx = 0; cx < COLUMNS; ++cx) to[cx] = known[cx] != 0;
    return;
  }
  for (int cx = 0; cx < COLUMNS; ++cx) {
    const size_t i = (size_t)(centre(cy, H) / a.cell_px) * a.motion_columns + centre(cx, W) / a.cell_px;
    a.moved[2 * (image + cx)] = a.motion[2 * i];
    a.moved[2 * (image + cx) + 1] = a.motion[2 * i + 1];
    a.sourced[image + cx] = a.known[i] != 0;
  }
}

// Lets a shard take another displacement than its hint. Where content moves by single pixels, `settle` has its features.
static void stray(const ShardArgs& a, State& s, int index, int row, int i, Shift shift) {
  const Level& level = levels[index];
  const int left = i * level.side, right = least(left + level.side, COLUMNS);
  for (int cy = row * level.side; cy < least((row + 1) * level.side, ROWS); ++cy) {
    if (level.step) {
      int32_t scores[COLUMNS];
      std::fill(scores + left, scores + right, FORCED - 1);  // it has sources; only ages are looked for
      follow_run(s, level, index, cy, left, right, shift, scores, s.ages[index][1 - s.age] + cy * COLUMNS);
    }
    if (!s.still[index]) move_cells(s, index, cy, left, right - left, shift);
    for (int cx = left; cx < right; ++cx) {
      const int cell = cy * COLUMNS + cx;
      const size_t to = (size_t)index * CELLS + cell, image = (size_t)LEVELS * CELLS + cell;
      int16_t* moved = level.step ? s.content[index][cell] : a.moved + 2 * to;
      if (!level.step) s.ages[index][1 - s.age][cell] = age_at(s.ages[index][s.age], cy, cx, shift);
      if (a.sourced[to] && moved[0] == shift.dy && moved[1] == shift.dx) continue;
      moved[0] = (int16_t)shift.dy;
      moved[1] = (int16_t)shift.dx;
      if (!index) {
        a.moved[2 * image] = (int16_t)shift.dy;
        a.moved[2 * image + 1] = (int16_t)shift.dx;
        a.sourced[image] = 1;
      }
      // features where content moves by single pixels are compared with their hint when they are known
      if (!level.step || !index || !a.sourced[to]) s.strays[index] = 1;
      a.sourced[to] = 1;
    }
  }
}
