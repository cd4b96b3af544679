// The image test of planned reuse: pixels of cells, and what moves them. Sizes are constants of shards.cpp.jinja.
static inline int least(int a, int b) { return a < b ? a : b; }
static inline int most(int a, int b) { return a > b ? a : b; }
static inline size_t at(int y, int x) { return (size_t)((ptrdiff_t)y * (ptrdiff_t)ROW + x); }
static inline int centre(int cell, int n_px) { return least(cell * 8 + 4, n_px - 1); }
static constexpr int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

// ---- pixels

// Eight rows as bytes, halves to even; what is not finite becomes 0. Returns whether anything was not finite.
static bool quantise(const float* image, float low, float scale, int cy, uint8_t* pixels) {
  uint32_t odd = 0;
  for (int y = cy * 8; y < least(cy * 8 + 8, H); ++y)
    for (int c = 0; c < C; ++c) {
      const float* __restrict from = image + ((size_t)c * H + y) * W;
      uint8_t* __restrict to = pixels + at(y, 0) + c * PITCH;
#pragma omp simd reduction(| : odd)
      for (int x = 0; x < W; ++x) {
        float v = (from[x] - low) * scale;
        v = v > 0.0f ? v : 0.0f;
        v = v < 255.0f ? v : 255.0f;
        v += 8388608.0f;  // 2^23: adding it rounds to a whole number, which is then in the lowest bits
        uint32_t raw, whole;
        std::memcpy(&raw, from + x, 4);
        std::memcpy(&whole, &v, 4);
        const uint32_t bad = (raw & 0x7f800000u) == 0x7f800000u;
        odd |= bad;
        to[x] = (uint8_t)(bad ? 0u : whole);
      }
    }
  return odd != 0;
}

// The same eight rows where they are bytes already.
static void take_bytes(const uint8_t* image, int cy, uint8_t* pixels) {
  for (int y = cy * 8; y < least(cy * 8 + 8, H); ++y)
    for (int c = 0; c < C; ++c) std::memcpy(pixels + at(y, 0) + c * PITCH, image + ((size_t)c * H + y) * W, W);
}

// 16-bit lanes, one a pixel, of one cell and of as many as a vector of the processor holds.
template <int PIXELS> struct Lanes;
{% for n in [8, 2 * t.vector_floats] | unique %}
template <> struct Lanes<{{ n }}> {
  typedef uint8_t bytes __attribute__((vector_size({{ n }})));
  typedef int16_t words __attribute__((vector_size({{ 2 * n }})));
  typedef uint64_t fours __attribute__((vector_size({{ 2 * n }})));
  static inline words load(const uint8_t* p) {
    bytes b;
    std::memcpy(&b, p, sizeof b);
    return __builtin_convertvector(b, words);
  }
  typedef uint16_t pairs __attribute__((vector_size({{ n }})));
  typedef uint32_t quads __attribute__((vector_size({{ n }})));
  static inline bytes load_bytes(const uint8_t* p) {
    bytes b;
    std::memcpy(&b, p, sizeof b);
    return b;
  }
  template <class V> static inline V larger(V a, V b) { return a > b ? a : b; }
  template <class V> static inline V smaller(V a, V b) { return a > b ? b : a; }
  static inline words magnitude(words a) { return larger(a, -a); }
  // adds to the first of every four lanes the one that is K further: no carry, the sum is one of 16-bit lanes
  template <int K> static inline words fold(words a) { return a + (words)((fours)a >> (16 * K)); }
};
{% endfor %}
constexpr int WIDE = {{ t.vector_floats // 4 }};  // cells in a vector

// Scores of N / 8 cells side by side, where single pixels are compared: their differences fit bytes.
template <int N>
static inline void score_pixels(const uint8_t* now, const uint8_t* was, size_t row, size_t pitch, size_t was_row, size_t was_pitch, int32_t* scores, int32_t bound) {
  using L = Lanes<N>;
  typename L::pairs best{};
#pragma GCC unroll 2
  for (int top = 0; top < 8; top += 4) {
    typename L::pairs block{};
#pragma GCC unroll 4
    for (int y = top; y < top + 4; ++y) {
      typename L::bytes largest{};
      for (int c = 0; c < C; ++c) {
        const typename L::bytes a = L::load_bytes(now + y * row + c * pitch), b = L::load_bytes(was + y * was_row + c * was_pitch);
        largest = L::larger(largest, (typename L::bytes)(L::larger(a, b) - L::smaller(a, b)));
      }
      block += ((typename L::pairs)largest & 255) + ((typename L::pairs)largest >> 8);
    }
    block += (typename L::pairs)((typename L::quads)block >> 16);  // the first of every two is the sum of a block
    best = L::larger(best, block);
    if (N == 8 && !top && bound < INT32_MAX) {
      scores[0] = most(best[0], best[2]);
      if (scores[0] >= bound) return;
    }
  }
  uint16_t lanes[N / 2];
  std::memcpy(lanes, &best, sizeof lanes);
  for (int i = 0; i < N / 8; ++i) scores[i] = most(lanes[4 * i], lanes[4 * i + 2]);
}

// Scores of N / 8 cells side by side. The square of differences that is compared has SIDE px. The score of one cell is not
// finished if half of it reaches `bound`.
template <int SIDE, int N>
static inline void score_cells(const uint8_t* now, const uint8_t* was, size_t row, size_t pitch, size_t was_row, size_t was_pitch, int32_t* scores,
                               int32_t bound = INT32_MAX) {
  if constexpr (SIDE == 1) return score_pixels<N>(now, was, row, pitch, was_row, was_pitch, scores, bound);
  using L = Lanes<N>;
  using words = typename L::words;
  constexpr int BLOCK = SIDE < 4 ? 4 : SIDE;
  words best{};
  int whole[N / 8] = {};
#pragma GCC unroll 2
  for (int top = 0; top < 8; top += BLOCK) {
    words block{};
#pragma GCC unroll 4
    for (int y = top; y < top + BLOCK; y += SIDE) {
      words largest{};  // over the colours
      for (int c = 0; c < C; ++c) {
        words sum{};
#pragma GCC unroll 8
        for (int k = y; k < y + SIDE; ++k)
          sum += L::load(now + k * row + c * pitch) - L::load(was + k * was_row + c * was_pitch);
        sum = L::template fold<1>(sum);
        if (SIDE >= 4) sum = L::template fold<2>(sum);
        if (SIDE == 8) {
          int16_t lanes[N];
          std::memcpy(lanes, &sum, sizeof lanes);
          for (int i = 0; i < N / 8; ++i) {
            const int d = lanes[8 * i] + lanes[8 * i + 4];
            whole[i] = most(whole[i], most(d, -d));
          }
        } else {
          largest = L::larger(largest, L::magnitude(sum));
        }
      }
      block += largest;
    }
    if (SIDE == 2) block = L::template fold<2>(block);
    best = L::larger(best, block);
    if (N == 8 && SIDE < 8 && !top && bound < INT32_MAX) {
      scores[0] = most(best[0], best[4]);
      if (scores[0] >= bound) return;
    }
  }
  int16_t lanes[N];
  std::memcpy(lanes, &best, sizeof lanes);
  for (int i = 0; i < N / 8; ++i) scores[i] = SIDE == 8 ? whole[i] / 4 : most(lanes[8 * i], lanes[8 * i + 4]);
}

// Scores of n whole cells side by side that move alike; the last vector may take cells again, the only one of a short run
// what is behind the cells: rows are not the last of the state.
template <int SIDE> static void score_run(const uint8_t* now, const uint8_t* was, int n, int32_t* scores) {
  int i = 0;
  if (n > 1 && n < WIDE) {
    int32_t some[WIDE];
    score_cells<SIDE, WIDE * 8>(now, was, ROW, PITCH, ROW, PITCH, some);
    std::memcpy(scores, some, n * sizeof *scores);
    return;
  }
  if (n >= WIDE)
    for (; i < n; i += WIDE) {
      i = least(i, n - WIDE);
      score_cells<SIDE, WIDE * 8>(now + i * 8, was + i * 8, ROW, PITCH, ROW, PITCH, scores + i);
    }
  for (; i < n; ++i) score_cells<SIDE, 8>(now + i * 8, was + i * 8, ROW, PITCH, ROW, PITCH, scores + i);
}

// Score of one whole cell, or what is known of it when it has reached `bound`.
template <int SIDE> static int32_t score_one(const uint8_t* now, const uint8_t* was, int32_t bound) {
  int32_t score;
  score_cells<SIDE, 8>(now, was, ROW, PITCH, ROW, PITCH, &score, bound);
  return score;
}

struct Part { int top, left, bottom, right; };  // of a cell, in its pixels

// Score of a cell of which the border cuts something off: pixels outside the part differ by nothing.
template <int SIDE> static int32_t score_part(const uint8_t* now, const uint8_t* was, Part part) {
  if (part.left >= part.right) return 0;
  uint8_t a[8][C][8] = {}, b[8][C][8] = {};
  for (int y = part.top; y < part.bottom; ++y)
    for (int c = 0; c < C; ++c) {
      std::memcpy(&a[y][c][part.left], now + at(y, part.left) + c * PITCH, part.right - part.left);
      std::memcpy(&b[y][c][part.left], was + at(y, part.left) + c * PITCH, part.right - part.left);
    }
  int32_t score;
  score_cells<SIDE, 8>(a[0][0], b[0][0], 8 * C, 8, 8 * C, 8, &score);
  return score;
}

template <int BYTES> static inline void copy_rows(uint8_t* __restrict to, const uint8_t* __restrict from) {
  for (int y = 0; y < 8; ++y)
    for (int c = 0; c < C; ++c) std::memcpy(to + at(y, 0) + c * PITCH, from + at(y, 0) + c * PITCH, BYTES);
}

static void copy_run(uint8_t* to, const uint8_t* from, int n) {
  int i = 0;
  if (n >= 8)
    for (; i < n; i += 8) {
      i = least(i, n - 8);
      copy_rows<64>(to + i * 8, from + i * 8);
    }
  for (; i < n; ++i) copy_rows<8>(to + i * 8, from + i * 8);
}

// ---- motion

enum Kind : uint8_t { NOWHERE, PART, WHOLE };  // no source; all of what the image holds of the cell has one
struct Moves {  // of one row of cells
  int32_t dy[COLUMNS], dx[COLUMNS];
  uint8_t kind[COLUMNS], unknown[COLUMNS];  // unknown: not even where it moves; else its source may lie outside the image
};

static inline uint8_t kind_of(int cy, int cx, int dy, int dx) {
  const int y0 = cy * 8, y1 = least(y0 + 8, H), x0 = cx * 8, x1 = least(x0 + 8, W);
  if (y0 - dy < 0 || y1 - dy > H || x0 - dx < 0 || x1 - dx > W) return NOWHERE;
  return y1 - y0 == 8 && x1 - x0 == 8 ? WHOLE : PART;
}

static inline bool alike(const Moves& m, int i, int j) {
  return m.kind[i] == m.kind[j] && m.dy[i] == m.dy[j] && m.dx[i] == m.dx[j];
}

// Features of NUM / DEN px on one axis.
template <int64_t NUM, int64_t DEN> struct Axis {
  // the pixel whose motion the features below pixel `px` have
  static int sample(int px, int n_features, int n_px) {
    int64_t feature = px * DEN / NUM;
    if (feature > n_features - 1) feature = n_features - 1;
    const int64_t found = (2 * feature + 1) * NUM / (2 * DEN);
    return found < n_px - 1 ? (int)found : n_px - 1;
  }
  // motion in pixels as whole features, halves up, and `more` features; in pixels again
  static int move(int m, int more = 0) {
    if (DEN == 1 && (NUM & (NUM - 1)) == 0) return ((m + (int)NUM / 2) & -(int)NUM) + more * (int)NUM;  // the same, in vectors
    return (int)floor_div(2 * (floor_div(2 * DEN * m + NUM, 2 * NUM) + more) * NUM + DEN, 2 * DEN);
  }
};

struct Shift { int dy, dx; };  // pixels
struct Steps;

// What lies in the image of a cell, and of where it comes from.
static inline Part part_of(int cy, int cx, Shift by) {
  const int y = cy * 8, x = cx * 8;
  return {most(0, by.dy - y), most(0, by.dx - x), least(8, least(H - y, H - y + by.dy)), least(8, least(W - x, W - x + by.dx))};
}

struct Level {
  int shard, side;             // pixels; cells
  int rows, columns, offset;   // of shards; in the masks
  bool (*rests)(int low, int high, bool of_y);
  void (*look_up)(int cell_px, int32_t* at_y, int32_t* at_x);
  void (*move)(const ShardArgs& a, int cy, int at_y, const int32_t* at_x, Moves& m);
  Shift (*round)(Shift px, Shift more);
  void (*hints)(const ShardArgs& a, int at_y, const int32_t* at_x, Shift* shifts);
  void (*score)(const uint8_t* now, const uint8_t* was, int n, int32_t* scores);
  int32_t (*score_one)(const uint8_t* now, const uint8_t* was, int32_t bound);
  int32_t (*score_part)(const uint8_t* now, const uint8_t* was, Part part);
  // where content moves by single pixels, else null: what the features do, and what is written of it
  void (*find_points)(int32_t* points_y, int32_t* points_x);
  void (*step)(const State& s, int index, int cy, int left, int right, const int32_t* dy, const int32_t* dx, Steps& f);
  bool (*settle)(const ShardArgs& a, State& s, int index, int cy);
};

template <class Y, class X> static bool rests(int low, int high, bool of_y) {
  return of_y ? Y::move(low) == 0 && Y::move(high) == 0 : X::move(low) == 0 && X::move(high) == 0;
}

template <class Y, class X, int FEATURES_Y, int FEATURES_X> static void look_up(int cell_px, int32_t* at_y, int32_t* at_x) {
  for (int i = 0; i < ROWS; ++i) at_y[i] = Y::sample(centre(i, H), FEATURES_Y, H) / cell_px;
  for (int i = 0; i < COLUMNS; ++i) at_x[i] = X::sample(centre(i, W), FEATURES_X, W) / cell_px;
}

template <class Y, class X> static void move_row(const ShardArgs& a, int cy, int at_y, const int32_t* at_x, Moves& m) {
  for (int cx = 0; cx < COLUMNS; ++cx) {
    const size_t i = (size_t)at_y * a.motion_columns + at_x[cx];
    const int dy = Y::move(a.motion[2 * i]), dx = X::move(a.motion[2 * i + 1]);
    m.dy[cx] = dy;
    m.dx[cx] = dx;
    m.unknown[cx] = !a.known[i];
    m.kind[cx] = a.known[i] ? kind_of(cy, cx, dy, dx) : (uint8_t)NOWHERE;
  }
}

template <class Y, class X> static Shift round_px(Shift px, Shift more) { return {Y::move(px.dy, more.dy), X::move(px.dx, more.dx)}; }

// The hints of a row of shards: that of the first cell of each.
template <class Y, class X, int SIDE> static void hints_of(const ShardArgs& a, int at_y, const int32_t* at_x, Shift* shifts) {
  const int16_t* row = a.motion + (size_t)at_y * a.motion_columns * 2;
  for (int i = 0; i * SIDE < COLUMNS; ++i) {
    const int at = at_x[i * SIDE];
    shifts[i] = {Y::move(row[2 * at]), X::move(row[2 * at + 1])};
  }
}

static void stay_row(int cy, Moves& m) {
  std::memset(m.dy, 0, sizeof m.dy);
  std::memset(m.dx, 0, sizeof m.dx);
  std::memset(m.unknown, 0, sizeof m.unknown);
  std::memset(m.kind, cy * 8 + 8 <= H ? WHOLE : PART, sizeof m.kind);
  if (W % 8) m.kind[COLUMNS - 1] = PART;
}
