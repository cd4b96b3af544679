// Which displacement each shard takes, and whether it is recomputed: a warp for each. Included behind image_test.cuh. Source of
// the rules: fluxshard/runtime/planned/{image_test,motion_choice,lags,hints}.py, which define them.

struct Move { int y, x; bool known; };                // pixels that the content of a cell moves by
struct Followed { int y, x, lag_y, lag_x; };          // its features, and what the content is in front of them from then on
struct Trial { int score; bool over, known; };        // what comes of displacements of a shard; known: all cells move somewhere

// A displacement in pixels as the nearest one in whole features, and `more` of them; in pixels again.
FS_DEVICE int whole(int px, int num, int den, int more = 0) {
  return floor_div(2 * (floor_div(2 * px * den + num, 2 * num) + more) * num + den, 2 * den);
}
FS_DEVICE int whole_y(const TestLevel& l, int px, int more = 0) { return whole(px, l.y_num, l.y_den, more); }
FS_DEVICE int whole_x(const TestLevel& l, int px, int more = 0) { return whole(px, l.x_num, l.x_den, more); }

// Not all of what the image holds of a cell has a source.
template <class F> FS_DEVICE bool nowhere(int cy, int cx, int dy, int dx) {
  return cy * 8 - dy < 0 || min(cy * 8 + 8, F::H) - dy > F::H || cx * 8 - dx < 0 || min(cx * 8 + 8, F::W) - dx > F::W;
}

// The motion that features below a cell are given, before it is rounded.
FS_DEVICE Move hinted(const TestControl& c, const TestLevel& l, int cy, int cx) {
  if (!c.motion) return {0, 0, true};
  const int i = l.at_y[cy] / c.cell_px * c.motion_columns + l.at_x[cx] / c.cell_px;
  return {c.motion[2 * i], c.motion[2 * i + 1], c.known[i] != 0};
}
FS_DEVICE Move in_features(const TestLevel& l, const Move& m) { return {m.known ? whole_y(l, m.y) : 0, m.known ? whole_x(l, m.x) : 0, m.known}; }
// What the content of a cell moves by as the hint says.
FS_DEVICE Move hint_of(const TestControl& c, const TestLevel& l, int cy, int cx) {
  const Move m = hinted(c, l, cy, cx);
  if (!l.lags0) return in_features(l, m);
  return {m.known ? m.y : 0, m.known ? m.x : 0, m.known};
}

// How the features of a cell follow its content: they look up their lag where the centre of the feature comes from.
template <class F> FS_DEVICE Followed followed(const TestControl& c, const TestLevel& l, int cy, int cx, const Move& m) {
  if (!l.lags0) return {m.y, m.x, 0, 0};
  const int from = clipped(l.at_y[cy] - m.y, F::H) / 8 * F::COLUMNS + clipped(l.at_x[cx] - m.x, F::W) / 8;
  const int32_t lag = (c.parity ? l.lags1 : l.lags0)[from];
  const int y = ((lag - (int16_t)lag) >> 16) + m.y, x = (int16_t)lag + m.x;
  const int by_y = whole_y(l, y), by_x = whole_x(l, x);
  return {by_y, by_x, y - by_y, x - by_x};
}

template <class F> FS_DEVICE int age_of(const TestControl& c, const TestLevel& l, int cy, int cx, bool known, const Followed& f) {
  if (!known) return OLDEST;
  const int y = clipped(centre(cy, F::H) - f.y, F::H) / 8, x = clipped(centre(cx, F::W) - f.x, F::W) / 8;
  return min((c.parity ? l.ages1 : l.ages0)[y * F::COLUMNS + x] + 1, OLDEST);
}

FS_DEVICE int over_lanes(int v, int bits) { return __shfl_xor_sync(0xffffffffu, v, bits); }
FS_DEVICE int magnitude(int v) { return v < 0 ? -v : v; }

// Score of a cell, by a warp: eight lanes for each 4x4 block, with two pixels each. What lies outside the image, here or
// where it comes from, differs by nothing.
template <class F> FS_DEVICE int cell_score(const uint8_t* now, const uint8_t* was, int cy, int cx, int dy, int dx, int low_pass) {
  const int lane = threadIdx.x & 31;
  const int y = cy * 8 + (lane >> 4) * 4 + (lane >> 1 & 3), x = cx * 8 + (lane >> 3 & 1) * 4 + (lane & 1) * 2;
  bool in[2];
  for (int i = 0; i < 2; ++i) in[i] = y < F::H && x + i < F::W && y - dy >= 0 && y - dy < F::H && x + i - dx >= 0 && x + i - dx < F::W;
  int sum = 0, one = 0, two = 0;  // of the block; of the pixels
  for (int w = 0; w < F::WORDS; ++w) {
    uint32_t a[2] = {0, 0}, b[2] = {0, 0};
    for (int i = 0; i < 2; ++i)
      if (in[i]) {
        a[i] = ((const uint32_t*)now)[(y * F::W + x + i) * F::WORDS + w];
        b[i] = ((const uint32_t*)was)[((y - dy) * F::W + x + i - dx) * F::WORDS + w];
      }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (w * 4 + k >= F::C) break;
      const int first = (int)(a[0] >> 8 * k & 255) - (int)(b[0] >> 8 * k & 255), second = (int)(a[1] >> 8 * k & 255) - (int)(b[1] >> 8 * k & 255);
      if (low_pass == 1) {
        one = max(one, magnitude(first));
        two = max(two, magnitude(second));
        continue;
      }
      int square = first + second;
      square += over_lanes(square, 2);
      if (low_pass >= 4) square += over_lanes(square, 1), square += over_lanes(square, 4);
      if (low_pass == 8) square += over_lanes(square, 8), square += over_lanes(square, 16);
      sum = max(sum, magnitude(square));
    }
  }
  if (low_pass == 8) return sum / 4;  // of four times as many pixels
  if (low_pass == 1) sum = one + two, sum += over_lanes(sum, 2);
  if (low_pass <= 2) sum += over_lanes(sum, 1), sum += over_lanes(sum, 4);
  sum = max(sum, over_lanes(sum, 8));
  return max(sum, over_lanes(sum, 16));
}

struct Limits { int limit; bool near, close; };  // of a shard: the largest score that is reused

template <int N> FS_DEVICE bool is_over(const TestArgs<N>& a, const TestLevel& l, int limit, int score, int age) {
  const TestControl& c = *a.control;
  return score > limit || (c.wait_frames && score > a.taus[l.index].waiting && age >= c.wait_frames) || (c.refresh_frames && age >= c.refresh_frames);
}

// What comes of displacements of a shard's cells, `move(cy, cx)`; given up, as if nothing had a source, where the score is
// larger than `most`.
template <class F, int N, class M> FS_DEVICE Trial attempt(const TestArgs<N>& a, const TestLevel& l, int row, int column, const Limits& s, int most, M move) {
  const TestControl& c = *a.control;
  const uint8_t* was = c.parity ? l.picture1 : l.picture0;
  int score = 0, age = 0;
  bool all_known = true;
  for (int cy = row * l.side; cy < min((row + 1) * l.side, F::ROWS); ++cy)
    for (int cx = column * l.side; cx < min((column + 1) * l.side, F::COLUMNS); ++cx) {
      const Move m = move(cy, cx);
      const Followed f = followed<F>(c, l, cy, cx, m);
      all_known &= m.known;
      age = max(age, age_of<F>(c, l, cy, cx, m.known, f));
      if (!m.known || nowhere<F>(cy, cx, m.y, m.x) || (l.lags0 && nowhere<F>(cy, cx, f.y, f.x))) score = FORCED;
      if (score < FORCED) score = max(score, cell_score<F>(a.pixels, was, cy, cx, m.y, m.x, l.low_pass));
      // near objects what lags is also compared with what its features were computed from
      if (score <= min(s.limit, most) && s.close && (f.lag_y | f.lag_x))
        score = max(score, cell_score<F>(a.pixels, was, cy, cx, m.y - f.lag_y, m.x - f.lag_x, l.low_pass));
      if (score > most) return {FORCED, true, all_known};
    }
  return {score, is_over(a, l, s.limit, score, age), all_known};
}

template <class F, int N> FS_DEVICE Limits limits_of(const TestArgs<N>& a, const TestLevel& l, int row, int column) {
  const TestControl& c = *a.control;
  const Taus& tau = a.taus[l.index];
  if (!c.has_regions) return {tau.near, false, true};
  int near = 0;
  for (int cy = row * l.side; cy < min((row + 1) * l.side, F::ROWS); ++cy)
    for (int cx = column * l.side; cx < min((column + 1) * l.side, F::COLUMNS); ++cx) near |= a.near[cy * F::COLUMNS + cx];
  return {near & 2 ? tau.near_small : near ? tau.near : tau.elsewhere, near != 0, near != 0};
}

// What is tried beside zero and the most frequent motion: hints of the neighbours, then what is next to the own hint.
template <int N> FS_DEVICE int n_beside(const TestArgs<N>&, const TestLevel& l) { return l.lags0 ? 12 : 7; }
template <int N> FS_DEVICE Move beside(const TestArgs<N>& a, const TestLevel& l, int row, int column, int number) {
  const TestControl& c = *a.control;
  if (number < 4) {
    const int r = clipped(row + (number == 3) - (number == 2), l.rows), k = clipped(column + (number == 1) - (number == 0), l.columns);
    return hint_of(c, l, r * l.side, k * l.side);
  }
  const Move own = hint_of(c, l, row * l.side, column * l.side);
  number -= 4;
  if (l.lags0) {  // left, right, up, down; then across, the upper two first
    if (number < 4) return {own.y + (number == 3) - (number == 2), own.x + (number == 1) - (number == 0), true};
    return {own.y + (number >= 6 ? 1 : -1), own.x + (number % 2 ? 1 : -1), true};
  }
  const Move exact = hinted(c, l, row * l.side, column * l.side);
  const int by_y = exact.known ? exact.y - own.y : 0, by_x = exact.known ? exact.x - own.x : 0;
  const int y = whole_y(l, own.y, (by_y > 0) - (by_y < 0)), x = whole_x(l, own.x, (by_x > 0) - (by_x < 0));
  return {number == 1 ? own.y : y, number == 0 ? own.x : x, true};
}

// Writes what a shard's cells move by, and what they will be if the proposal is committed.
template <class F, int N, class M> FS_DEVICE void settle(const TestArgs<N>& a, const TestLevel& l, int row, int column, M move) {
  const TestControl& c = *a.control;
  int16_t* moved = (int16_t*)(c.out + a.moved);
  uint8_t* sourced = c.out + a.sourced;
  const int width = min((column + 1) * l.side, F::COLUMNS) - column * l.side, height = min((row + 1) * l.side, F::ROWS) - row * l.side;
  bool strays = false, far = false;
  for (int k = threadIdx.x & 31; k < width * height; k += 32) {
    const int cy = row * l.side + k / width, cx = column * l.side + k % width, cell = cy * F::COLUMNS + cx;
    const Move m = move(cy, cx), hint = hint_of(c, l, cy, cx), in = in_features(l, hinted(c, l, cy, cx));
    const Followed f = followed<F>(c, l, cy, cx, m);
    l.content[2 * cell] = (int16_t)m.y;
    l.content[2 * cell + 1] = (int16_t)m.x;
    (c.parity ? l.ages0 : l.ages1)[cell] = age_of<F>(c, l, cy, cx, m.known, f);
    if (l.lags0) (c.parity ? l.lags0 : l.lags1)[cell] = f.lag_y * 65536 + f.lag_x;
    if (!c.motion) continue;
    const int to = (l.index + 1) * F::CELLS + cell;
    const bool fits = min(f.y, f.x) >= -32767 && max(f.y, f.x) <= 32767;  // whole features may be more than fields hold
    moved[2 * to] = fits ? f.y : -32768;
    moved[2 * to + 1] = fits ? f.x : -32768;
    sourced[to] = m.known;
    strays |= m.known != in.known || f.y != in.y || f.x != in.x;
    far |= !fits;
    if (l.index) continue;
    const bool other = m.known != hint.known || m.y != hint.y || m.x != hint.x;  // the image goes with the finest level
    const int i = centre(cy, F::H) / c.cell_px * c.motion_columns + centre(cx, F::W) / c.cell_px;
    const bool holds = !other || (min(m.y, m.x) >= -32767 && max(m.y, m.x) <= 32767);
    moved[2 * cell] = !holds ? -32768 : other ? m.y : c.motion[2 * i];
    moved[2 * cell + 1] = !holds ? -32768 : other ? m.x : c.motion[2 * i + 1];
    sourced[cell] = other ? m.known : c.known[i] != 0;
    strays |= other;
    far |= !holds;
  }
  if (strays) numbers_of(c)[STRAYS] = 1;
  if (far) numbers_of(c)[FAR] = 1;
}

// The most frequent displacement (dy, dx) of the frame's motion; zero where none is known.
template <int N> FS_DEVICE Move most_frequent(const TestArgs<N>& a) {
  const TestControl& c = *a.control;
  if (c.searches == 2) return {c.dominant_y, c.dominant_x, true};
  const uint64_t ranked = *a.dominant;
  const int32_t key = (int32_t)(~(unsigned)ranked ^ 0x80000000u);
  return {ranked ? key >> 16 : 0, ranked ? (key & 65535) - 32768 : 0, true};
}

template <class F, int N> FS_DEVICE void test_shards(const TestArgs<N>& a) {
  const TestControl& c = *a.control;
  for (int i = first_thread() / 32; i < shards_of(a); i += all_threads() / 32) {
    const TestLevel& l = level_of_shard(a, i);
    const int row = (i - l.offset) / l.columns, column = (i - l.offset) % l.columns, stray = a.taus[l.index].stray;
    const Limits s = limits_of<F>(a, l, row, column);
    const auto as_hinted = [&](int cy, int cx) { return hint_of(c, l, cy, cx); };
    const Trial hint = attempt<F>(a, l, row, column, s, FORCED, as_hinted);
    int score = hint.score;
    bool over = hint.over, other = false;
    Move takes = {0, 0, true};
    if (c.searches && (over || score > s.limit / 2) && !(s.near && !hint.known)) {
      const int n = 2 + n_beside(a, l);
#pragma unroll 1
      for (int k = 0; k < n; ++k) {
        const bool common = k < 2;  // zero, the most frequent motion: those may also fit better
        if (!common && !over) break;
        Move m = {0, 0, true};
        if (k == 1) m = most_frequent(a);
        if (k == 1 && !l.lags0) m = in_features(l, m);
        if (k > 1) m = beside(a, l, row, column, k - 2);
        m.known = true;
        // with a larger score it neither spares the shard nor fits better
        const int most = max(min(s.limit, stray), common ? (int)(3LL * score / 4) : 0);
        const Trial t = attempt<F>(a, l, row, column, s, most, [&](int, int) { return m; });
        const bool still = t.over || t.score > stray;
        if (!(over && !still) && !(common && over == still && 4LL * t.score < 3LL * score)) continue;
        score = t.score;
        over = still;
        takes = m;
        other = true;
      }
    }
    if (over || !other) settle<F>(a, l, row, column, as_hinted);  // what nothing spares keeps its hint
    else settle<F>(a, l, row, column, [&](int, int) { return takes; });
    if ((threadIdx.x & 31) == 0) l.over[i - l.offset] = over;
  }
}
