// From the shards of a frame to the cells of every grid that layers recompute, counted. Included behind image_test.cuh. Source
// of the rules: fluxshard/runtime/planned/shard_work.py, which defines them.

struct TestGrid {
  int32_t index, level;  // in the plan; of the test, or -1: it is recomputed where any of them is
  int32_t height, width, y_num, y_den, x_num, x_den;
  int32_t whole;         // cells without a source lie in shards without one
  int32_t offset;        // of its cells among those of all grids
  int32_t first;         // blocks before its own
  int32_t unused;
};
template <int N, int G> struct WorkArgs {
  TestArgs<N> test;
  TestGrid grids[G];
  int32_t cells, moves;  // where cells begin in `out`; where flags of grids do, in numbers
};

// The pixel that a cell looks its shard and its motion up at. (2 cell + 1) num fits 32 bits: it is below 2 n_px den.
FS_DEVICE int sample_point(int cell, int num, int den, int n_px) { return min((2 * cell + 1) * num / (2 * den), n_px - 1); }

template <class F, int N, int G> FS_DEVICE void test_work(const WorkArgs<N, G>& w) {
  const TestArgs<N>& a = w.test;
  const TestControl& c = *a.control;
  int i = 0;
  while (i + 1 < G && (int)blockIdx.x >= w.grids[i + 1].first) ++i;
  const TestGrid& g = w.grids[i];
  const uint8_t* masks = c.out + a.masks;
  const bool strays = numbers_of(c)[STRAYS];
  const int16_t* moved = strays ? (const int16_t*)(c.out + a.moved) + 2 * (g.level + 1) * F::CELLS : c.motion;
  const uint8_t* sourced = strays ? c.out + a.sourced + (g.level + 1) * F::CELLS : c.known;
  const int cell_px = strays ? 8 : c.cell_px, columns = strays ? F::COLUMNS : c.motion_columns;
  const bool adds = c.motion && (g.level < 0 || !g.whole || cell_px % 8);
  int count = 0;
  bool moves = false;
  for (int j = 0; j < 4; ++j) {
    const int p = (blockIdx.x - g.first) * 1024 + j * 256 + threadIdx.x;
    bool take = false;
    if (p < g.height * g.width) {
      const int y = p / g.width, x = p % g.width;
      const int py = sample_point(y, g.y_num, g.y_den, F::H), px = sample_point(x, g.x_num, g.x_den, F::W);
      for (int n = max(g.level, 0); n < (g.level < 0 ? N : g.level + 1); ++n) {
        const TestLevel& l = a.levels[n];
        take |= masks[l.offset + py / 8 / l.side * l.columns + px / 8 / l.side] != 0;
      }
      if (c.motion) {
        const int m = py / cell_px * columns + px / cell_px;
        const int dy = floor_div(2 * moved[2 * m] * g.y_den + g.y_num, 2 * g.y_num), dx = floor_div(2 * moved[2 * m + 1] * g.x_den + g.x_num, 2 * g.x_num);
        const bool there = sourced[m] && y - dy >= 0 && y - dy < g.height && x - dx >= 0 && x - dx < g.width;
        moves |= !there || dy || dx;
        take |= adds && !there;
      }
      (c.out + w.cells)[g.offset + p] = take;
    }
    count += __syncthreads_count(take);
  }
  const bool any = __syncthreads_or(moves);
  if (threadIdx.x) return;
  if (count) atomicAdd(numbers_of(c) + EVALUATED + g.index, count);
  if (any) numbers_of(c)[w.moves + g.index] = 1;
}
