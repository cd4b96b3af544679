// Which cells a layer evaluates, where their rows go, and how slot maps follow the motion. Integer work; agrees bit for bit
// with fluxshard/runtime/{rfap,slots}.py.

constexpr int CELLS = 1024, WORDS = 256;  // per block of 256 threads: cells of a mask, words of used rows (32 rows each)

struct Axis { const int32_t* tap; const uint8_t* crosses; int32_t taps, n; };  // (n, taps) input cells, or -1; (n); output cells

template <int THROUGH, int ALSO, int VECTORS> struct CandidateArgs {
  const Control* control;
  const int32_t* key;
  Field field;
  Maps maps;
  const uint8_t* through[THROUGH ? THROUGH : 1];  // masks that spread through the window
  const uint8_t* also[ALSO ? ALSO : 1];           // masks of the same cells
  const int32_t* vectors[VECTORS ? VECTORS : 1];  // flags that make every cell a candidate
  const int32_t* run;                             // null, or: every cell where set, none otherwise
  const uint64_t* work;                           // where not zero: the address of the cells to take
  Axis y, x;
  uint8_t *candidates, *mask;
  int32_t* counts;                                // per block
  uint32_t* used;                                 // bit per row that the old map refers to
  int32_t cells, in_w;
};

// new[p] = old[p - d(p)], and marks old's rows as used. Source: Eq. 13 of the paper.
FS_DEVICE void remap(const Maps& maps, const Control* control, const Field& field, bool key, int cells, uint32_t* used, int p) {
  const int32_t* old = old_map(maps, control);
  int32_t* now = new_map(maps, control);
  if (key) {
    if (p < cells) now[p] = p;
    return;
  }
  const int row = p < cells ? old[p] : -1;
  if (p < cells) now[p] = *field.still ? row : old[field.src[p]];
  // rows that follow one another fill a word at once
  const int first = __shfl_sync(0xffffffffu, row, 0);
  const bool whole = __all_sync(0xffffffffu, row == first + (int)(threadIdx.x & 31)) && first % 32 == 0;
  if (whole) { if ((threadIdx.x & 31) == 0) used[row >> 5] = 0xffffffffu; }
  else if (row >= 0) atomicOr(used + (row >> 5), 1u << (row & 31));
}

template <int THROUGH, int ALSO, int VECTORS> FS_DEVICE void candidates(const CandidateArgs<THROUGH, ALSO, VECTORS>& a) {
  const bool key = *a.key, still = *a.field.still;
  const uint8_t* work = a.work ? (const uint8_t*)*a.work : nullptr;
  bool all = key || (a.run && *a.run);
  for (int i = 0; i < VECTORS; ++i) all |= !work && *a.vectors[i] != 0;
  int found = 0;
  for (int i = 0; i < CELLS / 256; ++i) {
    const int p = blockIdx.x * CELLS + i * 256 + threadIdx.x;
    bool take = all;
    if (p < a.cells && !all) {
      take = !still && !a.field.valid[p];
      if (work) take |= work[p] != 0;
      else if (!a.run) {
        for (int j = 0; j < ALSO; ++j) take |= a.also[j][p] != 0;
        if (THROUGH && !take) {
          const int32_t *ty = a.y.tap + p / a.x.n * a.y.taps, *tx = a.x.tap + p % a.x.n * a.x.taps;
          for (int v = 0; v < a.y.taps && !take; ++v)
            for (int u = 0; ty[v] >= 0 && u < a.x.taps; ++u)
              for (int j = 0; tx[u] >= 0 && j < THROUGH; ++j) take |= a.through[j][ty[v] * a.in_w + tx[u]] != 0;
        }
      }
    }
    remap(a.maps, a.control, a.field, key, a.cells, a.used, p);
    if (p < a.cells) {
      a.candidates[p] = take;
      a.mask[p] = key;
    }
    found += __syncthreads_count(p < a.cells && take);
  }
  if (threadIdx.x == 0) a.counts[blockIdx.x] = found;
}

// Sum of f(i) over i < n by all 256 threads of a block.
template <class F> FS_DEVICE int block_sum(int n, F f) {
  __shared__ int parts[8];
  int sum = 0;
  for (int i = threadIdx.x; i < n; i += 256) sum += f(i);
  for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  __syncthreads();
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0;
  for (int i = 0; i < 8; ++i) sum += parts[i];
  return sum;
}

// Sum of the values of the threads before this one.
FS_DEVICE int block_scan(int value) {
  __shared__ int parts[8];
  int sum = value;
  for (int d = 1; d < 32; d <<= 1) {
    const int v = __shfl_up_sync(0xffffffffu, sum, d);
    if ((int)(threadIdx.x & 31) >= d) sum += v;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 31) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  int before = sum - value;
  for (int i = 0; i < (int)threadIdx.x / 32; ++i) before += parts[i];
  return before;
}

struct AssignArgs {
  const int32_t* key;
  const uint8_t* candidates;
  const int32_t* counts;
  const uint32_t* used;
  int32_t *list, *rows, *n;
  int32_t cells, blocks;  // of candidates; those of rows follow
};

// The k-th candidate in raster order gets the k-th smallest row that the old map leaves free.
FS_DEVICE void assign(const AssignArgs& a, int block) {
  const int total = block_sum(a.blocks, [&](int i) { return a.counts[i]; });
  if (block == 0 && threadIdx.x == 0) *a.n = total;
  const bool key = *a.key;
  if (block < a.blocks) {
    const int before = block_sum(block, [&](int i) { return a.counts[i]; }), p0 = block * CELLS + threadIdx.x * 4;
    int mine[4], n = 0;
    for (int i = 0; i < 4; ++i) n += mine[i] = p0 + i < a.cells && a.candidates[p0 + i];
    int k = before + block_scan(n);
    for (int i = 0; i < 4; ++i)
      if (mine[i]) {
        if (key) a.rows[k] = p0 + i;
        a.list[k++] = p0 + i;
      }
    return;
  }
  if (key || total == 0) return;
  const int words = (2 * a.cells + 31) / 32, w = (block - a.blocks) * WORDS + threadIdx.x;
  const int before = block_sum((block - a.blocks) * WORDS, [&](int i) { return __popc(~a.used[i]); });
  if (before >= total) return;
  unsigned bits = w < words ? ~a.used[w] : 0;
  int k = before + block_scan(__popc(bits));
  for (; bits && k < total; bits &= bits - 1) a.rows[k++] = w * 32 + __ffs((int)bits) - 1;
}

// ---- all grids at once, where the work of every level is known before the first layer

struct GridPlan {
  Field field;
  Maps maps;
  const uint64_t* work;
  uint32_t* used;
  int32_t* counts;
  AssignArgs assign;
  uint8_t* candidates;
  int32_t first, first_assign;  // blocks before this grid's, in both launches
};
template <int N> struct PlanArgs {
  const Control* control;
  const int32_t* key;
  GridPlan grids[N];
};

template <int N> FS_DEVICE void plan_candidates(const PlanArgs<N>& a) {
  int i = 0;
  while (i + 1 < N && (int)blockIdx.x >= a.grids[i + 1].first) ++i;
  const GridPlan& g = a.grids[i];
  const bool key = *a.key, still = *g.field.still;
  const uint8_t* work = (const uint8_t*)*g.work;
  int found = 0;
  for (int j = 0; j < CELLS / 256; ++j) {
    const int p = (blockIdx.x - g.first) * CELLS + j * 256 + threadIdx.x;
    const bool take = p < g.assign.cells && (key || work[p] || (!still && !g.field.valid[p]));
    remap(g.maps, a.control, g.field, key, g.assign.cells, g.used, p);
    if (p < g.assign.cells) g.candidates[p] = take;
    found += __syncthreads_count(take);
  }
  if (threadIdx.x == 0) g.counts[blockIdx.x - g.first] = found;
}

template <int N> FS_DEVICE void plan_assign(const PlanArgs<N>& a) {
  int i = 0;
  while (i + 1 < N && (int)blockIdx.x >= a.grids[i + 1].first_assign) ++i;
  assign(a.grids[i].assign, blockIdx.x - a.grids[i].first_assign);
}

template <int N> FS_DEVICE void plan_settle(const PlanArgs<N>& a) {
#pragma unroll 1
  for (int i = 0; i < N; ++i) {
    const GridPlan& g = a.grids[i];
    const int n = *g.assign.n;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < n; k += gridDim.x * blockDim.x)
      new_map(g.maps, a.control)[g.assign.list[k]] = g.assign.rows[k];
  }
}

// ---- transposed convolutions take one output phase at a time

struct PhaseArgs {
  const int32_t *n, *list;
  int32_t *pick, *counts;  // (phases, cells), (phases)
  int32_t cells, w, sy, sx;
};

// The order within a phase may differ from run to run; what is computed for a cell does not depend on it.
FS_DEVICE void phases(const PhaseArgs& a) {
  const int n = *a.n;
  for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < n; k += gridDim.x * blockDim.x) {
    const int p = a.list[k], phase = p / a.w % a.sy * a.sx + p % a.w % a.sx;
    a.pick[(size_t)phase * a.cells + atomicAdd(a.counts + phase, 1)] = k;
  }
}
