// Lags: at some levels content moves by single pixels in the reference, and features by whole cells of what adds up.
// Included by the generated image test. Source of the rules: fluxshard/runtime/planned/lags.py, which defines them.

// What the features of a row of cells do where their content moves by so many pixels.
struct Steps {
  int32_t dy[COLUMNS], dx[COLUMNS];        // displacement of the features
  int32_t lag_y[COLUMNS], lag_x[COLUMNS];  // of the content beyond them, from then on
};

// A lag is stored as dy * 65536 + dx.
static inline int32_t lag_x_of(int32_t lag) { return (int16_t)lag; }
static inline int32_t lag_y_of(int32_t lag) { return (lag - (int16_t)lag) >> 16; }

// The pixel that the features below each cell look their motion up at, which is where they look up their lag, too.
template <class Y, class X, int FEATURES_Y, int FEATURES_X> static void find_points(int32_t* points_y, int32_t* points_x) {
  for (int i = 0; i < ROWS; ++i) points_y[i] = Y::sample(centre(i, H), FEATURES_Y, H);
  for (int i = 0; i < COLUMNS; ++i) points_x[i] = X::sample(centre(i, W), FEATURES_X, W);
}

template <class Y, class X>
static void step_cells(const State& s, int index, int cy, int left, int right, const int32_t* __restrict dy, const int32_t* __restrict dx, Steps& f) {
  const int32_t* __restrict lags = s.lags[index][s.age];
  const int32_t* __restrict points = s.points_x[index];
  const int point = s.points_y[index][cy];
  for (int cx = left; cx < right; ++cx) {
    const uint32_t y = most(least(point - dy[cx], H - 1), 0), x = most(least(points[cx] - dx[cx], W - 1), 0);
    const int32_t lag = lags[y / 8 * COLUMNS + x / 8];
    const int total_y = lag_y_of(lag) + dy[cx], total_x = lag_x_of(lag) + dx[cx];
    f.dy[cx] = Y::move(total_y);
    f.dx[cx] = X::move(total_x);
    f.lag_y[cx] = total_y - f.dy[cx];
    f.lag_x[cx] = total_x - f.dx[cx];
  }
}

// Writes the lags of a row of cells whose content moves as chosen, and what its features move by. Returns whether they
// move otherwise than the hint says.
template <class Y, class X> static bool settle_row(const ShardArgs& a, State& s, int index, int cy) {
  const size_t row = (size_t)cy * COLUMNS;
  int32_t dy[COLUMNS], dx[COLUMNS];
  for (int cx = 0; cx < COLUMNS; ++cx) {
    dy[cx] = s.content[index][row + cx][0];
    dx[cx] = s.content[index][row + cx][1];
  }
  Steps f;
  step_cells<Y, X>(s, index, cy, 0, COLUMNS, dy, dx, f);
  int32_t* __restrict lags = s.lags[index][1 - s.age] + row;
  for (int cx = 0; cx < COLUMNS; ++cx) lags[cx] = f.lag_y[cx] * 65536 + f.lag_x[cx];
  if (!s.tells) return false;
  int16_t* __restrict moved = a.moved + 2 * ((size_t)index * CELLS + row);
  for (int cx = 0; cx < COLUMNS; ++cx) {
    moved[2 * cx] = (int16_t)f.dy[cx];
    moved[2 * cx + 1] = (int16_t)f.dx[cx];
  }
  const int16_t* hint = a.motion + (size_t)s.at_y[index][cy] * a.motion_columns * 2;
  int32_t differ = 0;
  for (int cx = 0; cx < COLUMNS; ++cx) {
    const int at = s.at_x[index][cx];
    differ |= (Y::move(hint[2 * at]) ^ f.dy[cx]) | (X::move(hint[2 * at + 1]) ^ f.dx[cx]);
  }
  return differ != 0;
}

static inline uint8_t older(uint8_t age) { return age < OLDEST ? age + 1 : OLDEST; }

static inline uint8_t age_at(const uint8_t* old, int cy, int cx, Shift shift) {
  return older(old[(centre(cy, H) - shift.dy) / 8 * COLUMNS + (centre(cx, W) - shift.dx) / 8]);
}

// Near objects what lags is also compared with what its features were computed from, and the larger score counts. Not where
// the score of the content is over the limit: then it does not matter how far.
static void score_standing(const State& s, const Level& level, int index, int cy, int left, int right, const int32_t* dy, const int32_t* dx, const Steps& f,
                           int32_t* scores) {
  const int32_t* close = s.close[index] + cy * COLUMNS;
  const uint8_t* now = s.pixels + at(cy * 8, 0);
  const uint8_t* was = s.references[level.slot][s.reference[index]];
  const auto counts = [&](int cx) { return scores[cx] <= close[cx] && (f.lag_y[cx] | f.lag_x[cx]); };
  int32_t standing[COLUMNS];
  for (int cx = left, end; cx < right; cx = end) {
    end = cx + 1;
    if (!counts(cx)) continue;
    const Shift by{dy[cx] - f.lag_y[cx], dx[cx] - f.lag_x[cx]};
    const uint8_t* there = was + at(cy * 8 - by.dy, -by.dx);
    if (kind_of(cy, cx, by.dy, by.dx) == WHOLE) {
      while (end < right && counts(end) && dy[end] - f.lag_y[end] == by.dy && dx[end] - f.lag_x[end] == by.dx && kind_of(cy, end, by.dy, by.dx) == WHOLE) ++end;
      level.score(now + cx * 8, there + cx * 8, end - cx, standing + cx);
    } else {
      standing[cx] = level.score_part(now + cx * 8, there + cx * 8, part_of(cy, cx, by));
    }
    for (int k = cx; k < end; ++k) scores[k] = most(scores[k], standing[k]);
  }
}

// Ages of cells whose content moves so, and what their features add to scores of the content.
static void follow(const State& s, const Level& level, int index, int cy, int left, int right, const int32_t* dy, const int32_t* dx, int32_t* scores, uint8_t* ages) {
  Steps f;
  level.step(s, index, cy, left, right, dy, dx, f);
  const uint8_t* old = s.ages[index][s.age];
  const auto take = [&](int cx, Shift by) {
    const bool lost = scores[cx] == FORCED || kind_of(cy, cx, by.dy, by.dx) == NOWHERE;
    scores[cx] = lost ? FORCED : scores[cx];
    ages[cx] = lost ? OLDEST : age_at(old, cy, cx, by);
  };
  for (int cx = left, end; cx < right; cx = end) {
    const Shift by{f.dy[cx], f.dx[cx]};
    for (end = cx + 1; end < right && f.dy[end] == by.dy && f.dx[end] == by.dx;) ++end;
    const bool rows = kind_of(cy, 0, by.dy, 0) != NOWHERE;
    const int from = rows ? least(most(cx, (most(by.dx, 0) + 7) / 8), end) : end;  // whole cells with whole sources
    const int to = rows ? most(least(end, (W + least(by.dx, 0)) / 8), from) : end;
    for (int k = cx; k < from; ++k) take(k, by);
    for (int k = to; k < end; ++k) take(k, by);
    if (from >= to) continue;
    const uint8_t* __restrict was = old + (centre(cy, H) - by.dy) / 8 * COLUMNS + (from * 8 + 4 - by.dx) / 8;
    const int32_t* __restrict score = scores + from;
    uint8_t* __restrict age = ages + from;
    for (int k = 0; k < to - from; ++k) age[k] = score[k] == FORCED ? OLDEST : older(was[k]);
  }
  score_standing(s, level, index, cy, left, right, dy, dx, f, scores);
}

// The same of cells side by side whose content moves alike.
static void follow_run(const State& s, const Level& level, int index, int cy, int left, int right, Shift by, int32_t* scores, uint8_t* ages) {
  int32_t dy[COLUMNS], dx[COLUMNS];
  for (int cx = left; cx < right; ++cx) {
    dy[cx] = by.dy;
    dx[cx] = by.dx;
  }
  follow(s, level, index, cy, left, right, dy, dx, scores, ages);
}

// What the features of a cell move by whose content moves so and scores no more than its limit; the score is made complete.
static Shift follow_cell(const State& s, const Level& level, int index, int cy, int cx, Shift by, int32_t* scores) {
  int32_t dy[COLUMNS], dx[COLUMNS];
  Steps f;
  dy[cx] = by.dy;
  dx[cx] = by.dx;
  level.step(s, index, cy, cx, cx + 1, dy, dx, f);
  if (kind_of(cy, cx, f.dy[cx], f.dx[cx]) == NOWHERE) {
    scores[cx] = FORCED;
    return by;
  }
  score_standing(s, level, index, cy, cx, cx + 1, dy, dx, f, scores);
  return {f.dy[cx], f.dx[cx]};
}
