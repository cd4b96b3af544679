// Which displacement each shard of a level takes, where its hint leaves a residual. Included by the generated image test.
// Source of the rules: fluxshard/runtime/planned/motion_choice.py, which defines them.

struct Trial { Shift shift; int32_t score; bool over; };

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

static inline uint8_t age_at(const uint8_t* old, int cy, int cx, Shift shift) {
  const int from = (centre(cy, H) - shift.dy) / 8 * COLUMNS + (centre(cx, W) - shift.dx) / 8;
  return (uint8_t)least(old[from] + 1, OLDEST);
}

// What a shard would be if all of it moved alike. Given up as soon as its score reaches `bound`: then it is not taken.
static Trial try_shift(const ShardArgs& a, const State& s, int index, int row, int i, uint8_t near, Shift shift, int64_t bound) {
  const Level& level = levels[index];
  const uint8_t* was = s.references[index][s.reference[index]];
  Trial trial{shift, 0, true};
  uint8_t age = 0;
  const int left = i * level.side, right = least(left + level.side, COLUMNS);
  for (int cy = row * level.side; cy < least((row + 1) * level.side, ROWS); ++cy)
    for (int cx = left, end; cx < right; cx = end) {
      end = cx + 1;
      const uint8_t kind = kind_of(cy, cx, shift.dy, shift.dx);
      if (kind == NOWHERE) {
        trial.score = FORCED;
        return trial;
      }
      const uint8_t* here = s.pixels + at(cy * 8, cx * 8);
      const uint8_t* there = was + at(cy * 8 - shift.dy, cx * 8 - shift.dx);
      age = (uint8_t)most(age, age_at(s.ages[index][s.age], cy, cx, shift));
      if (kind == PART) {
        trial.score = most(trial.score, level.score_part(here, there, least(H - cy * 8, 8), least(W - cx * 8, 8)));
        if (trial.score >= bound) return trial;
        continue;
      }
      for (; end < right && kind_of(cy, end, shift.dy, shift.dx) == WHOLE; ++end)
        age = (uint8_t)most(age, age_at(s.ages[index][s.age], cy, end, shift));
      int32_t scores[COLUMNS];
      level.score(here, there, end - cx, scores);
      for (int k = 0; k < end - cx; ++k) trial.score = most(trial.score, scores[k]);
      if (trial.score >= bound) return trial;
    }
  const Taus& tau = a.taus[index];
  trial.over = trial.score > tau.stray || over(a, tau, trial.score, age, near);
  return trial;
}

// The hint of a shard: that of its first cell, in pixels as given and as the level moves.
static void hint_of(const ShardArgs& a, const State& s, int index, int row, int i, Shift& px, Shift& rounded) {
  const Level& level = levels[index];
  row = most(0, least(row, level.rows - 1));
  i = most(0, least(i, level.columns - 1));
  const size_t at = (size_t)s.at_y[index][row * level.side] * a.motion_columns + s.at_x[index][i * level.side];
  px = {a.motion[2 * at], a.motion[2 * at + 1]};
  rounded = level.round(px, {0, 0});
}

static inline int sign(int v) { return (v > 0) - (v < 0); }

// Displacements that a shard has tried: what they leave is known, and is not taken.
struct Tried {
  Shift shifts[10];
  int n = 0;

  bool add(Shift shift) {
    for (int k = 0; k < n; ++k)
      if (shifts[k].dy == shift.dy && shifts[k].dx == shift.dx) return false;
    shifts[n++] = shift;
    return true;
  }
};

// The displacement that fits a shard better than its hint, if there is one. Source of the rules: motion_choice.py.
static Trial choose(const ShardArgs& a, const State& s, int index, int row, int i, uint8_t near, bool known, Trial hint) {
  const Level& level = levels[index];
  const Taus& tau = a.taus[index];
  const int64_t spared = (int64_t)least(tau.stray, limit_of(a, tau, near)) + 1;  // scores from here on are over
  Trial best = hint;
  Tried tried;
  Shift px, own, neighbour, unused;
  hint_of(a, s, index, row, i, px, own);
  if (level.side == 1 && known) tried.add(own);  // the hint of all of the shard
  const Shift common[] = { {0, 0}, level.round({s.dominant_y, s.dominant_x}, {0, 0}) };
  for (const Shift& shift : common) {
    if (!tried.add(shift)) continue;
    const int64_t better = (3LL * best.score + 3) / 4, bound = best.over && spared > better ? spared : better;
    const Trial other = try_shift(a, s, index, row, i, near, shift, bound);
    if ((best.over && !other.over) || (best.over == other.over && 4LL * other.score < 3LL * best.score)) best = other;
  }
  if (!best.over) return best;
  const int beside[4][2] = { {0, -1}, {0, 1}, {-1, 0}, {1, 0} };
  for (const auto& step : beside) {
    hint_of(a, s, index, row + step[0], i + step[1], unused, neighbour);
    if (!tried.add(neighbour)) continue;
    const Trial other = try_shift(a, s, index, row, i, near, neighbour, spared);
    if (!other.over) return other;
  }
  const Shift away = level.round(own, {sign(px.dy - own.dy), sign(px.dx - own.dx)});
  const Shift corners[] = { {away.dy, own.dx}, {own.dy, away.dx}, away };
  for (const Shift& shift : corners) {
    if (!tried.add(shift)) continue;
    const Trial other = try_shift(a, s, index, row, i, near, shift, spared);
    if (!other.over) return other;
  }
  return hint;
}

// Writes what a row of cells moves by as the hint says; the image's, too, beside the finest level.
static void tell_row(const ShardArgs& a, int index, int cy, const Moves& m) {
  const size_t row = (size_t)index * CELLS + cy * COLUMNS, image = (size_t)LEVELS * CELLS + cy * COLUMNS;
  for (int cx = 0; cx < COLUMNS; ++cx) {
    a.moved[2 * (row + cx)] = (int16_t)m.dy[cx];
    a.moved[2 * (row + cx) + 1] = (int16_t)m.dx[cx];
    a.sourced[row + cx] = m.known[cx];
  }
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
