// Which displacement each shard of a level takes, where its hint leaves a residual. Included by the generated image test.
// Source of the rules: fluxshard/runtime/planned/motion_choice.py, which defines them.

// One row of shards: what their hints leave; once chosen, what is left.
struct Row {
  int32_t score[COLUMNS];
  uint8_t age[COLUMNS], near[COLUMNS], unknown[COLUMNS], over[COLUMNS];
  uint8_t open[COLUMNS];    // other displacements are tried
  uint8_t strays[COLUMNS];  // one of them fits better: `shift`
  Shift shift[COLUMNS];
};

// Largest score that is reused.
static inline int32_t limit_of(const ShardArgs& a, const Taus& tau, uint8_t near) {
  return !a.has_regions ? tau.near : near & 2 ? tau.near_small : near ? tau.near : tau.elsewhere;
}

static bool over(const ShardArgs& a, const Taus& tau, int32_t score, uint8_t age, uint8_t near) {
  bool picked = score > limit_of(a, tau, near);
  if (a.wait_frames) picked |= score > tau.waiting && age >= a.wait_frames;
  if (a.refresh_frames) picked |= age >= a.refresh_frames;
  return picked;
}

static inline bool same(Shift a, Shift b) { return a.dy == b.dy && a.dx == b.dx; }
static inline int sign(int v) { return (v > 0) - (v < 0); }

// Zero or the most frequent motion: all open shards of a row at once, so that neighbours share vectors. A shard takes it
// where it spares it, or leaves less than three quarters of the residual. `own` are the hints of the shards.
static void try_common(const ShardArgs& a, const State& s, int index, int row, Shift shift, const Shift* own, Row& r) {
  const Level& level = levels[index];
  const Taus& tau = a.taus[index];
  int32_t score[COLUMNS] = {}, scores[COLUMNS];
  uint8_t age[COLUMNS] = {}, ages[COLUMNS], wanted[COLUMNS];
  for (int i = 0; i < level.columns; ++i) {
    // what all of a shard has been tried with is not better
    wanted[i] = r.open[i] && !(level.side == 1 && !r.unknown[i] && same(shift, own[i]));
  }
  for (int cy = row * level.side; cy < least((row + 1) * level.side, ROWS); ++cy)
    for (int i = 0, end; i < level.columns; i = end) {
      end = i + 1;
      if (!wanted[i]) continue;
      // a few shards between that are not wanted cost less than another run
      for (int k = end; k < least(end + 4, level.columns); ++k)
        if (wanted[k]) end = k + 1;
      const int left = i * level.side, right = least(end * level.side, COLUMNS);
      test_run(s, index, cy, left, right, shift, scores, ages);
      for (int k = i, cx = left; k < end; ++k) {
        for (const int last = least(cx + level.side, right); cx < last; ++cx) {
          score[k] = most(score[k], scores[cx]);
          age[k] = (uint8_t)most(age[k], ages[cx]);
        }
        if (!wanted[k]) continue;
        const int64_t better = (3LL * r.score[k] + 3) / 4;
        const int64_t spared = (int64_t)least(tau.stray, limit_of(a, tau, r.near[k])) + 1;  // from here on it is over
        if (score[k] >= better && !(r.over[k] && score[k] < spared)) wanted[k] = 0;
      }
    }
  for (int i = 0; i < level.columns; ++i) {
    if (!wanted[i]) continue;
    const bool still = score[i] > tau.stray || over(a, tau, score[i], age[i], r.near[i]);
    if (!(r.over[i] && !still) && !(r.over[i] == still && 4LL * score[i] < 3LL * r.score[i])) continue;
    r.score[i] = score[i];
    r.over[i] = still;
    r.strays[i] = 1;
    r.shift[i] = shift;
  }
}

// Whether a shard would be spared if all of it moved alike.
static bool spares(const ShardArgs& a, const State& s, int index, int row, int i, uint8_t near, Shift shift) {
  const Level& level = levels[index];
  const Taus& tau = a.taus[index];
  const int32_t spared = least(tau.stray, limit_of(a, tau, near)) + 1;  // scores from here on are over
  int32_t score = 0;
  uint8_t age = 0;
  if (level.side == 1 && kind_of(row, i, shift.dy, shift.dx) == WHOLE) {
    const uint8_t* was = s.references[index][s.reference[index]] + at(row * 8 - shift.dy, i * 8 - shift.dx);
    score = level.score_one(s.pixels + at(row * 8, i * 8), was, spared);
    return score < spared && !over(a, tau, score, age_at(s.ages[index][s.age], row, i, shift), near);
  }
  const int left = i * level.side, right = least(left + level.side, COLUMNS);
  for (int cy = row * level.side; cy < least((row + 1) * level.side, ROWS); ++cy) {
    int32_t scores[COLUMNS];
    uint8_t ages[COLUMNS];
    test_run(s, index, cy, left, right, shift, scores, ages);
    for (int cx = left; cx < right; ++cx) {
      score = most(score, scores[cx]);
      age = (uint8_t)most(age, ages[cx]);
    }
    if (score >= spared) return false;
  }
  return !over(a, tau, score, age, near);
}

// Displacements that a shard has tried: what they leave is known, and is not taken.
struct Tried {
  Shift shifts[10];
  int n = 0;

  bool add(Shift shift) {
    for (int k = 0; k < n; ++k)
      if (same(shifts[k], shift)) return false;
    shifts[n++] = shift;
    return true;
  }
};

// The first displacement near its hint that spares a shard, if there is one.
static bool find_beside(const ShardArgs& a, const State& s, int index, int row, int i, const Row& r, Tried tried, const Shift* const* hints, Shift& found) {
  const Level& level = levels[index];
  const Shift own = hints[1][i];
  if (level.side == 1 && !r.unknown[i]) tried.add(own);  // the hint of all of the shard
  const Shift beside[] = {hints[1][most(i - 1, 0)], hints[1][least(i + 1, level.columns - 1)], hints[0][i], hints[2][i]};
  for (const Shift& shift : beside)
    if (tried.add(shift) && spares(a, s, index, row, i, r.near[i], found = shift)) return true;
  const size_t at = (size_t)s.at_y[index][row * level.side] * a.motion_columns + s.at_x[index][i * level.side];
  const Shift away = level.round(own, {sign(a.motion[2 * at] - own.dy), sign(a.motion[2 * at + 1] - own.dx)});
  for (const Shift& shift : {Shift{away.dy, own.dx}, Shift{own.dy, away.dx}, away})
    if (tried.add(shift) && spares(a, s, index, row, i, r.near[i], found = shift)) return true;
  return false;
}

static void stray(const ShardArgs& a, State& s, int index, int row, int i, Shift shift);

// Lets the open shards of a row take displacements that fit better than their hints. Source of the rules: motion_choice.py.
static void choose(const ShardArgs& a, State& s, int index, int row, Row& r) {
  const Level& level = levels[index];
  Shift shifts[3][COLUMNS];  // hints of the rows above and below, and between them of this one
  const Shift* hints[3] = {shifts[0], shifts[1], shifts[2]};
  level.hints(a, s.at_y[index][row * level.side], s.at_x[index], shifts[1]);
  Tried common;
  for (const Shift& shift : {Shift{0, 0}, level.round({s.dominant_y, s.dominant_x}, {0, 0})})
    if (common.add(shift)) try_common(a, s, index, row, shift, shifts[1], r);
  bool looked = false;
  for (int i = 0; i < level.columns; ++i) {
    if (!r.open[i]) continue;
    if (r.over[i]) {
      if (!looked) {
        level.hints(a, s.at_y[index][most(row - 1, 0) * level.side], s.at_x[index], shifts[0]);
        level.hints(a, s.at_y[index][least(row + 1, level.rows - 1) * level.side], s.at_x[index], shifts[2]);
        looked = true;
      }
      r.strays[i] = find_beside(a, s, index, row, i, r, common, hints, r.shift[i]);
      r.over[i] = !r.strays[i];
    }
    if (r.strays[i]) stray(a, s, index, row, i, r.shift[i]);
  }
}

// Writes what a row of cells moves by as the hint says; the image's, too, beside the finest level.
static void tell_row(const ShardArgs& a, int index, int cy, const Moves& m) {
  const size_t row = (size_t)index * CELLS + cy * COLUMNS, image = (size_t)LEVELS * CELLS + cy * COLUMNS;
  int16_t* __restrict moved = a.moved + 2 * row;
  for (int cx = 0; cx < COLUMNS; ++cx) {
    moved[2 * cx] = (int16_t)m.dy[cx];
    moved[2 * cx + 1] = (int16_t)m.dx[cx];
  }
  std::memcpy(a.sourced + row, m.known, COLUMNS);
  if (index) return;
  for (int cx = 0; cx < COLUMNS; ++cx) {
    const size_t i = (size_t)(centre(cy, H) / a.cell_px) * a.motion_columns + centre(cx, W) / a.cell_px;
    a.moved[2 * (image + cx)] = a.motion[2 * i];
    a.moved[2 * (image + cx) + 1] = a.motion[2 * i + 1];
    a.sourced[image + cx] = a.known[i] != 0;
  }
}

// Lets a shard take another displacement than its hint.
static void stray(const ShardArgs& a, State& s, int index, int row, int i, Shift shift) {
  const Level& level = levels[index];
  for (int cy = row * level.side; cy < least((row + 1) * level.side, ROWS); ++cy)
    for (int cx = i * level.side; cx < least((i + 1) * level.side, COLUMNS); ++cx) {
      const int cell = cy * COLUMNS + cx;
      const size_t to = (size_t)index * CELLS + cell, image = (size_t)LEVELS * CELLS + cell;
      s.ages[index][1 - s.age][cell] = age_at(s.ages[index][s.age], cy, cx, shift);
      if (a.sourced[to] && a.moved[2 * to] == shift.dy && a.moved[2 * to + 1] == shift.dx) continue;
      for (const size_t k : {to, image}) {
        if (k == image && index) break;
        a.moved[2 * k] = (int16_t)shift.dy;
        a.moved[2 * k + 1] = (int16_t)shift.dx;
        a.sourced[k] = 1;
      }
      s.strays[index] = 1;
    }
}
