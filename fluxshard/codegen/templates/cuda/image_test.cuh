// The image test of planned reuse: from an image on the device to the shards of every level that a frame recomputes. Integer
// work that agrees bit for bit with fluxshard/runtime/planned/image_test.py, which defines it. "Cells" are 8-px cells of the
// image; pictures are bytes (H, W, STRIDE), the colours of a pixel side by side in whole words.

constexpr int FORCED = 1 << 30;  // score of what has no source
constexpr int OLDEST = 255;
constexpr int32_t EMPTY = -2147483647 - 1;  // no displacement

struct TestControl {      // written once a proposal, mirrored by fluxshard/codegen/cuda/image_test.py
  const float* image;     // (C, H, W), or null where the image is bytes
  const uint8_t* bytes;
  int64_t steps[3];       // of these, from channel to channel, row to row, pixel to pixel
  const int16_t* motion;  // (rows, columns, 2) pixels (dy, dx), or null: nothing moved
  const uint8_t* known;
  uint8_t* out;           // what is proposed: numbers first, then what TestArgs says
  float low, scale;       // 0..255 is (value - low) * scale
  int32_t cell_px, motion_columns, dominant_y, dominant_x;
  int32_t has_regions, new_regions, hold_frames, margin_cells, wait_frames, refresh_frames;
  int32_t searches;       // displacements other than the hint are tried; the most frequent one is found here, or where 2, given
  int32_t parity;         // which of two pictures, ages and lags are the last frame's
};
struct Taus { int32_t near, elsewhere, near_small, waiting, stray, dilation; };  // the last in shards

enum Number { NOT_FINITE, STRAYS, FAR, UNUSED, EVALUATED };  // first words of `out`; then a count and a flag for each grid

struct TestLevel {
  uint8_t *picture0, *picture1;  // what features stand for
  uint8_t *ages0, *ages1;        // (cells)
  int32_t *lags0, *lags1;        // (cells) dy * 65536 + dx of content in front of its features; null where they move alike
  int16_t* content;              // (cells, 2) pixels that the picture moves by, if the proposal is committed
  uint8_t* over;                 // (shards) before they are dilated
  const int32_t *at_y, *at_x;    // (cells of an axis) pixel whose motion the features below have
  int32_t y_num, y_den, x_num, x_den;  // pixels per feature
  int32_t side, rows, columns;   // of shards: cells; shards
  int32_t offset;                // of its masks among those of all levels
  int32_t low_pass, index;
};
template <int N> struct TestArgs {
  const TestControl* control;
  const Taus* taus;  // (N)
  uint8_t *pixels, *regions, *hold, *held, *near;  // of the frame; (cells) with a bit per kind; (2, cells); (2, cells); (cells) as `regions`
  uint64_t* dominant;  // of the frame's motion: how many cells have it, then the smallest displacement as `ranked`
  int32_t* bins;       // (bin_count) displacements and (bin_count) how many cells have them
  int32_t masks, moved, sourced;  // where they begin in `out`: (shards); (N + 1, cells, 2) of the image and of levels; (N + 1, cells)
  int32_t numbers, bin_count;     // words; a power of two, twice the cells or more
  int32_t unused;
  TestLevel levels[N];
};

template <int H_, int W_, int C_> struct Frame {
  static constexpr int H = H_, W = W_, C = C_, STRIDE = (C_ + 3) / 4 * 4, WORDS = STRIDE / 4;
  static constexpr int ROWS = (H_ + 7) / 8, COLUMNS = (W_ + 7) / 8, CELLS = ROWS * COLUMNS;
};

FS_DEVICE int clipped(int v, int n) { return v < 0 ? 0 : v >= n ? n - 1 : v; }
FS_DEVICE int centre(int cell, int n_px) { return min(cell * 8 + 4, n_px - 1); }
FS_DEVICE int floor_div(int a, int b) { const int q = a / b; return q - (a % b != 0 && a < 0); }
FS_DEVICE int first_thread() { return blockIdx.x * blockDim.x + threadIdx.x; }
FS_DEVICE int all_threads() { return gridDim.x * blockDim.x; }
FS_DEVICE int32_t* numbers_of(const TestControl& c) { return (int32_t*)c.out; }
template <int N> FS_DEVICE const TestLevel& level_of_shard(const TestArgs<N>& a, int shard) {
  int i = 0;
  while (i + 1 < N && shard >= a.levels[i + 1].offset) ++i;
  return a.levels[i];
}
template <int N> FS_DEVICE int shards_of(const TestArgs<N>& a) { return a.levels[N - 1].offset + a.levels[N - 1].rows * a.levels[N - 1].columns; }

// ---- what a frame begins with

// Numbers from zero; regions that came since the last proposal.
template <class F, int N> FS_DEVICE void test_begin(const TestArgs<N>& a) {
  const TestControl& c = *a.control;
  for (int i = first_thread(); i < a.numbers; i += all_threads()) numbers_of(c)[i] = 0;
  if (c.searches == 1) {
    if (first_thread() == 0) *a.dominant = 0;
    for (int i = first_thread(); i < a.bin_count; i += all_threads()) a.bins[i] = EMPTY, a.bins[a.bin_count + i] = 0;
  }
  if (!c.new_regions) return;
  for (int i = first_thread(); i < F::CELLS; i += all_threads())
    for (int k = 0; k < 2; ++k)
      if (a.regions[i] >> k & 1) a.hold[k * F::CELLS + i] = c.hold_frames;
}

// Counts the cells of each displacement; which bin one gets depends on who comes first, how many it holds does not.
template <class F, int N> FS_DEVICE void count_motion(const TestArgs<N>& a) {
  const TestControl& c = *a.control;
  const int n = c.motion_columns * ((F::H + c.cell_px - 1) / c.cell_px);
  for (int i = first_thread(); i < n; i += all_threads()) {
    if (!c.known[i]) continue;
    const int32_t key = c.motion[2 * i] * 65536 + c.motion[2 * i + 1] + 32768;
    unsigned at = (unsigned)key * 2654435761u & (a.bin_count - 1);
    for (int seen; (seen = atomicCAS(a.bins + at, EMPTY, key)) != EMPTY && seen != key;) at = (at + 1) & (a.bin_count - 1);
    atomicAdd(a.bins + a.bin_count + at, 1);
  }
}

// Of equally frequent displacements the smallest has the largest rank.
template <int N> FS_DEVICE void rank_motion(const TestArgs<N>& a) {
  for (int i = first_thread(); i < a.bin_count; i += all_threads())
    if (const unsigned count = a.bins[a.bin_count + i]; count) {
      const uint64_t ranked = (uint64_t)count << 32 | ~((unsigned)a.bins[i] ^ 0x80000000u);
      if (ranked > *a.dominant) atomicMax(a.dominant, ranked);
    }
}

// A word of a pixel's colours as bytes, halves to even; what is not finite becomes 0, and sets `bad`.
template <class F> FS_DEVICE uint32_t quantised(const TestControl& c, int y, int x, int word, bool& bad) {
  uint32_t packed = 0;
  for (int k = 0; k < 4 && word * 4 + k < F::C; ++k) {
    const int channel = word * 4 + k;
    uint32_t byte;
    if (c.image) {
      const float v = c.image[((size_t)channel * F::H + y) * F::W + x];
      const bool odd = (__float_as_uint(v) & 0x7f800000u) == 0x7f800000u;
      const float whole = fminf(fmaxf((v - c.low) * c.scale, 0.0f), 255.0f);
      byte = odd ? 0u : (uint32_t)rintf(whole);
      bad |= odd;
    } else {
      byte = c.bytes[channel * c.steps[0] + y * c.steps[1] + x * c.steps[2]];
    }
    packed |= byte << 8 * k;
  }
  return packed;
}

// The frame as bytes, and where regions are now.
template <class F, int N> FS_DEVICE void test_take(const TestArgs<N>& a) {
  const TestControl& c = *a.control;
  if (c.searches == 1) count_motion<F>(a);
  bool bad = false;
  for (int p = first_thread(); p < F::H * F::W; p += all_threads())
    for (int w = 0; w < F::WORDS; ++w) ((uint32_t*)a.pixels)[p * F::WORDS + w] = quantised<F>(c, p / F::W, p % F::W, w, bad);
  if (bad) atomicOr(numbers_of(c) + NOT_FINITE, 1);
  if (!c.has_regions) return;
  for (int i = first_thread(); i < F::CELLS; i += all_threads()) {
    int y = centre(i / F::COLUMNS, F::H), x = centre(i % F::COLUMNS, F::W);
    if (c.motion) {
      const int m = y / c.cell_px * c.motion_columns + x / c.cell_px;
      y = clipped(y - c.motion[2 * m], F::H);
      x = clipped(x - c.motion[2 * m + 1], F::W);
    }
    for (int k = 0; k < 2; ++k) a.held[k * F::CELLS + i] = a.hold[k * F::CELLS + y / 8 * F::COLUMNS + x / 8];
  }
}

// What is near regions, with a bit for each kind.
template <class F, int N> FS_DEVICE void test_near(const TestArgs<N>& a) {
  const TestControl& c = *a.control;
  if (c.searches == 1) rank_motion(a);
  const int reach = c.margin_cells;
  for (int i = first_thread(); i < F::CELLS; i += all_threads()) {
    const int y = i / F::COLUMNS, x = i % F::COLUMNS;
    uint8_t near = 0;
    if (c.has_regions)
      for (int v = max(y - reach, 0); v <= min(y + reach, F::ROWS - 1); ++v)
        for (int u = max(x - reach, 0); u <= min(x + reach, F::COLUMNS - 1); ++u)
          for (int k = 0; k < 2; ++k) near |= (a.held[k * F::CELLS + v * F::COLUMNS + u] != 0) << k;
    a.near[i] = near;
  }
}

// ---- what comes of it

// Shards and what they take with them.
template <class F, int N> FS_DEVICE void test_masks(const TestArgs<N>& a) {
  uint8_t* masks = a.control->out + a.masks;
  for (int i = first_thread(); i < shards_of(a); i += all_threads()) {
    const TestLevel& l = level_of_shard(a, i);
    const int y = (i - l.offset) / l.columns, x = (i - l.offset) % l.columns, reach = a.taus[l.index].dilation;
    uint8_t any = 0;
    for (int v = max(y - reach, 0); v <= min(y + reach, l.rows - 1); ++v)
      for (int u = max(x - reach, 0); u <= min(x + reach, l.columns - 1); ++u) any |= l.over[v * l.columns + u];
    masks[i] = any;
  }
}

// Takes the proposal: from now on features of its shards stand for the frame.
template <class F, int N> FS_DEVICE void test_keep(const TestArgs<N>& a) {
  const TestControl& c = *a.control;
  const uint8_t* masks = c.out + a.masks;
  for (int p = first_thread(); p < F::H * F::W; p += all_threads()) {
    const int y = p / F::W, x = p % F::W, cell = y / 8 * F::COLUMNS + x / 8;
    const bool first = y % 8 == 0 && x % 8 == 0;
#pragma unroll 1
    for (int i = 0; i < N; ++i) {
      const TestLevel& l = a.levels[i];
      const bool fresh = masks[l.offset + y / 8 / l.side * l.columns + x / 8 / l.side];
      const uint32_t* from = (const uint32_t*)(c.parity ? l.picture1 : l.picture0);
      uint32_t* to = (uint32_t*)(c.parity ? l.picture0 : l.picture1);
      const int source = clipped(y - l.content[2 * cell], F::H) * F::W + clipped(x - l.content[2 * cell + 1], F::W);
      for (int w = 0; w < F::WORDS; ++w)
        to[p * F::WORDS + w] = fresh ? ((const uint32_t*)a.pixels)[p * F::WORDS + w] : from[source * F::WORDS + w];
      if (first && fresh) {
        (c.parity ? l.ages0 : l.ages1)[cell] = 0;
        if (l.lags0) (c.parity ? l.lags0 : l.lags1)[cell] = 0;
      }
    }
    if (first && c.has_regions)
      for (int k = 0; k < 2; ++k) a.hold[k * F::CELLS + cell] = max((int)a.held[k * F::CELLS + cell] - 1, 0);
  }
}

// Takes a frame that was computed whole.
template <class F, int N> FS_DEVICE void test_keyframe(const TestArgs<N>& a) {
  const TestControl& c = *a.control;
  const int period = c.refresh_frames ? c.refresh_frames : c.wait_frames ? c.wait_frames : 1;
  bool bad = false;
  for (int p = first_thread(); p < F::H * F::W; p += all_threads()) {
    for (int w = 0; w < F::WORDS; ++w) {
      const uint32_t word = quantised<F>(c, p / F::W, p % F::W, w, bad);
      for (int i = 0; i < N; ++i) ((uint32_t*)(c.parity ? a.levels[i].picture1 : a.levels[i].picture0))[p * F::WORDS + w] = word;
    }
    if (p >= F::CELLS) continue;
    for (int i = 0; i < N; ++i) {
      const TestLevel& l = a.levels[i];
      // shards start at different ages, or all of them would be due in one frame
      (c.parity ? l.ages1 : l.ages0)[p] = (5 * (p / F::COLUMNS / l.side) + 3 * (p % F::COLUMNS / l.side)) % period;
      if (l.lags0) (c.parity ? l.lags1 : l.lags0)[p] = 0;
    }
  }
  if (bad) atomicOr(numbers_of(c) + NOT_FINITE, 1);
}
