// Convolution as an indirect GEMM: rows of the A operand are gathered through slot maps, the B operand is packed weights.
// M = candidates, N = output channels, K = window taps x segments x channels, each segment padded to units of VEC numbers.
// Blocks are persistent: they take tiles of BM cells x BN channels until the count on the device is reached.
// A cell's sum runs over K in order, cut at the same SPLITS places whatever cells it is computed with, so it is bit for bit
// what a frame that recomputes everything gives.
// Shared memory: STAGES x (BM + BN) x BK numbers, reused for the BM x BN sums; then the table of rows, then the cells.

template <class C> struct GemmArgs {
  Out out;
  typename C::In in;
  typename C::Residual residual;
  const int32_t *tap_y, *tap_x;  // (H, TAPS_Y), (W, TAPS_X): input cell, or -1 where zero is read
  const T* weights;              // [Co / BN][step][BN][BK]
  float* partial;                // [tile][SPLITS][BM x BN], where SPLITS > 1
  int32_t* counters;             // [tile], zero between launches
  const int32_t* pick;           // null, or the candidates to take
};

// Where granule g of row r lies in a tile of rows of BK numbers: padded for plain loads, swizzled for ldmatrix.
template <class C> FS_DEVICE int at(int r, int g) {
  if constexpr (C::MATH == 0) return r * (C::BK + LANES) + g * LANES;
  constexpr int GRANULES = C::BK / LANES;
  const int turn = GRANULES >= 8 ? r & 7 : GRANULES == 4 ? (r >> 1) & 3 : (r >> 2) & 1;
  return r * C::BK + (g ^ turn) * LANES;
}

template <class C> struct GemmShape {
  static constexpr int PITCH = C::MATH == 0 ? C::BK + LANES : C::BK;
  static constexpr int STAGE = (C::BM + C::BN) * PITCH;            // numbers
  static constexpr int CP = C::BN + 8;                             // floats between rows of sums: pairs of 4 rows fill all banks
  static constexpr int STAGE_BYTES = C::STAGES * STAGE * (int)sizeof(T), SUM_BYTES = C::BM * CP * 4;
  static constexpr int TABLE_AT = STAGE_BYTES > SUM_BYTES ? STAGE_BYTES : SUM_BYTES;
  static constexpr int KT = C::In::unit_start(C::In::SEGMENTS);    // K of one tap
  static constexpr int STEPS = (C::TAPS_Y * C::TAPS_X * KT + C::BK - 1) / C::BK;
  static constexpr int TILES_N = (C::Epilogue::CHANNELS + C::BN - 1) / C::BN;
  static constexpr int THREADS = C::WM * C::WN * 32;
  static constexpr int TABLE = C::TABLE ? C::TAPS_Y * C::TAPS_X * C::In::SEGMENTS * C::BM : 0;
};

// Row of the pool that segment s of a cell reads at a tap, or -1.
template <class C> FS_DEVICE int32_t gathered_row(const GemmArgs<C>& a, int p, int tap, int s) {
  if (p < 0) return -1;
  const int y = a.tap_y[p / a.out.w * C::TAPS_Y + tap / C::TAPS_X], x = a.tap_x[p % a.out.w * C::TAPS_X + tap % C::TAPS_X];
  if (y < 0 || x < 0) return -1;
  const Seg& seg = a.in.segs[s];
  const int cell = (seg.uy | seg.ux) == 1 ? y * seg.w + x : (y / seg.uy) * seg.w + x / seg.ux;
  return seg.maps.a ? new_map(seg.maps, a.out.control)[cell] : cell;
}

template <class C> FS_DEVICE void load_stage(const GemmArgs<C>& a, T* stage, const int32_t* table, const int32_t* cells, int tile_n, int step) {
  using S = GemmShape<C>;
  constexpr int VEC = C::In::VEC, UNITS = C::BK / VEC, NS = C::In::SEGMENTS, TAPS = C::TAPS_Y * C::TAPS_X;
  for (int u = threadIdx.x; u < C::BM * UNITS; u += S::THREADS) {
    const int m = u / UNITS, kk = u % UNITS * VEC, k = step * C::BK + kk, tap = k / S::KT, in_tap = k % S::KT;
    T* to = stage + at<C>(m, kk / LANES) + kk % LANES;
    int s = 0, start = 0;
#pragma unroll
    for (int i = 1; i < NS; ++i)
      if (in_tap >= C::In::unit_start(i)) { s = i; start = C::In::unit_start(i); }
    int32_t row = -1;
    if (tap < TAPS) row = C::TABLE ? table[(tap * NS + s) * C::BM + m] : gathered_row(a, cells[m], tap, s);
    const T* from = nullptr;
    int stride = 0;
#pragma unroll
    for (int i = 0; i < NS; ++i)
      if (s == i) { from = a.in.segs[i].pool; stride = a.in.segs[i].stride; }
    from += row < 0 ? 0 : (size_t)row * stride + (in_tap - start);
    if constexpr (VEC * sizeof(T) >= 4) fs_cp_async<VEC * sizeof(T)>(to, from, row >= 0);
    else *to = row < 0 ? T(0) : *from;
  }
  const T* b = a.weights + ((size_t)tile_n * S::STEPS + step) * C::BN * C::BK;
#pragma unroll (C::BM * C::BN > 96 * 128 ? 1 : 4)  // the largest sums leave no register for addresses
  for (int u = threadIdx.x; u < C::BN * C::BK / LANES; u += S::THREADS) {
    const int r = u / (C::BK / LANES), g = u % (C::BK / LANES);
    fs_cp_async<16>(stage + C::BM * S::PITCH + at<C>(r, g), b + u * LANES, true);
  }
}

// Tensor cores: each warp sums MT x NT fragments of 16 x 8.
template <class C> struct Fragments {
  static constexpr int MT = C::BM / C::WM / 16, NT = C::BN / C::WN / 8;
  float c[MT][NT][4];
  FS_DEVICE void clear() {
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
      for (int n = 0; n < NT; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) c[m][n][i] = 0.0f;
  }
  static FS_DEVICE void multiply(float (&c)[4], const unsigned (&a)[4], const unsigned* b) {
#if FS_TYPE == 2
    fs_mma_bf16(c, a, b);
#elif FS_MATH == 2
    fs_mma8_f16(c, a, b[0]);
    fs_mma8_f16(c, a + 2, b[1]);
#else
    fs_mma_f16(c, a, b);
#endif
  }
  FS_DEVICE void add(const T* a, const T* b) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, row0 = warp / C::WN * MT * 16, col0 = warp % C::WN * NT * 8;
#pragma unroll
    for (int k = 0; k < C::BK / 16; ++k) {
      unsigned fa[MT][4], fb[NT + 1][2];
#pragma unroll
      for (int m = 0; m < MT; ++m)
        fs_ldmatrix4(fa[m], a + at<C>(row0 + m * 16 + (lane & 7) + ((lane >> 3) & 1) * 8, k * 2 + (lane >> 4)));
#pragma unroll
      for (int n = 0; n + 1 < NT; n += 2)
        fs_ldmatrix4(fb[n], b + at<C>(col0 + n * 8 + (lane & 7) + (lane >> 4) * 8, k * 2 + ((lane >> 3) & 1)));
      if constexpr (NT % 2 == 1) fs_ldmatrix2(fb[NT - 1], b + at<C>(col0 + (NT - 1) * 8 + (lane & 7), k * 2 + ((lane >> 3) & 1)));
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int n = 0; n < NT; ++n) multiply(c[m][n], fa[m], fb[n]);
    }
  }
  FS_DEVICE void put(float* sums) const {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float* to = sums + (warp / C::WN * MT * 16 + (lane >> 2)) * GemmShape<C>::CP + warp % C::WN * NT * 8 + 2 * (lane & 3);
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
      for (int n = 0; n < NT; ++n) {
        float* t = to + m * 16 * GemmShape<C>::CP + n * 8;
        *(float2*)t = make_float2(c[m][n][0], c[m][n][1]);
        *(float2*)(t + 8 * GemmShape<C>::CP) = make_float2(c[m][n][2], c[m][n][3]);
      }
  }
};

// Multiply-adds: each thread sums TM x TN numbers whose rows and columns lie apart, so that threads read different banks.
template <class C> struct Scalars {
  static constexpr int THREADS = GemmShape<C>::THREADS, TN = C::TN, COLUMNS = C::BN / TN, ROWS = THREADS / COLUMNS, TM = C::BM / ROWS;
  float c[TM][TN];
  FS_DEVICE void clear() {
#pragma unroll
    for (int m = 0; m < TM; ++m)
#pragma unroll
      for (int n = 0; n < TN; ++n) c[m][n] = 0.0f;
  }
  FS_DEVICE void add(const T* a, const T* b) {
    const int y = threadIdx.x / COLUMNS, x = threadIdx.x % COLUMNS;
#pragma unroll 2
    for (int k = 0; k < C::BK; k += 4) {
      float va[TM][4], vb[TN][4];
#pragma unroll
      for (int m = 0; m < TM; ++m) load_unit<4>(a + at<C>(y + m * ROWS, 0) + k, va[m]);
#pragma unroll
      for (int n = 0; n < TN; ++n) load_unit<4>(b + at<C>(x + n * COLUMNS, 0) + k, vb[n]);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int m = 0; m < TM; ++m)
#pragma unroll
          for (int n = 0; n < TN; ++n) c[m][n] = fmaf(va[m][i], vb[n][i], c[m][n]);
    }
  }
  FS_DEVICE void put(float* sums) const {
    const int y = threadIdx.x / COLUMNS, x = threadIdx.x % COLUMNS;
#pragma unroll
    for (int m = 0; m < TM; ++m)
#pragma unroll
      for (int n = 0; n < TN; ++n) sums[(y + m * ROWS) * GemmShape<C>::CP + x + n * COLUMNS] = c[m][n];
  }
};

// Adds up the parts of a tile in the block that brings the last one; the others return false.
template <class C> FS_DEVICE bool join_parts(const GemmArgs<C>& a, float* sums, int tile, int split) {
  using S = GemmShape<C>;
  __shared__ int last;
  float* parts = a.partial + (size_t)tile * C::SPLITS * C::BM * C::BN;
  for (int i = threadIdx.x; i < C::BM * C::BN; i += S::THREADS)
    parts[(size_t)split * C::BM * C::BN + i] = sums[i / C::BN * S::CP + i % C::BN];
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(a.counters + tile, 1) == C::SPLITS - 1;
    if (last) a.counters[tile] = 0;
  }
  __syncthreads();
  if (!last) return false;
  __threadfence();
  for (int i = threadIdx.x; i < C::BM * C::BN; i += S::THREADS) {
    float sum = 0.0f;
    for (int s = 0; s < C::SPLITS; ++s) sum += __ldcg(parts + (size_t)s * C::BM * C::BN + i);
    sums[i / C::BN * S::CP + i % C::BN] = sum;
  }
  __syncthreads();
  return true;
}

template <class C, class Sums> FS_DEVICE void gemm(const GemmArgs<C>& a) {
  using S = GemmShape<C>;
  FS_SHARED(unsigned char, shared);
  T* const stages = (T*)shared;
  float* const sums = (float*)shared;
  int32_t* const table = (int32_t*)(shared + S::TABLE_AT);
  int32_t *const cells = table + S::TABLE, *const rows = cells + C::BM, *const cached = rows + C::BM;
  const int n = *a.out.n, units = (n + C::BM - 1) / C::BM * S::TILES_N * C::SPLITS;
  for (int unit = blockIdx.x; unit < units; unit += gridDim.x) {
    const int split = unit % C::SPLITS, tile = unit / C::SPLITS, tile_n = tile % S::TILES_N, m0 = tile / S::TILES_N * C::BM;
    for (int m = threadIdx.x; m < C::BM; m += S::THREADS) {
      const bool used = m0 + m < n;
      const int k = !used ? 0 : a.pick ? a.pick[m0 + m] : m0 + m;
      cells[m] = used ? a.out.list[k] : -1;
      rows[m] = used ? a.out.rows[k] : -1;
      cached[m] = used ? cached_row(a.out, cells[m]) : -1;
    }
    __syncthreads();
    if constexpr (C::TABLE) {
      for (int i = threadIdx.x; i < S::TABLE; i += S::THREADS)
        table[i] = gathered_row(a, cells[i % C::BM], i / C::BM / C::In::SEGMENTS, i / C::BM % C::In::SEGMENTS);
      __syncthreads();
    }
    const int first = S::STEPS * split / C::SPLITS, end = S::STEPS * (split + 1) / C::SPLITS;
    Sums total;
    total.clear();
#pragma unroll
    for (int i = 0; i < C::STAGES - 1; ++i) {
      if (first + i < end) load_stage(a, stages + i * S::STAGE, table, cells, tile_n, first + i);
      fs_cp_commit();
    }
    for (int step = first, slot = 0; step < end; ++step) {
      fs_cp_wait<C::STAGES - 2>();
      __syncthreads();  // this step's stage is there for all, and the slot of the step before is free
      const int ahead = step + C::STAGES - 1, next = slot == 0 ? C::STAGES - 1 : slot - 1;
      if (ahead < end) load_stage(a, stages + next * S::STAGE, table, cells, tile_n, ahead);
      fs_cp_commit();
      total.add(stages + slot * S::STAGE, stages + slot * S::STAGE + C::BM * S::PITCH);
      slot = slot + 1 == C::STAGES ? 0 : slot + 1;
    }
    fs_cp_wait<0>();
    __syncthreads();
    total.put(sums);
    __syncthreads();
    bool done = true;
    if constexpr (C::SPLITS > 1) done = join_parts(a, sums, tile, split);
    if (done)
      for (int u = threadIdx.x; u < C::BM * (C::BN / LANES); u += S::THREADS) {
        const int m = u / (C::BN / LANES), g = u % (C::BN / LANES) * LANES, c = tile_n * C::BN + g;
        if (cells[m] < 0 || c >= a.out.stride) continue;
        float v[LANES];
        for (int i = 0; i < LANES; ++i) v[i] = sums[m * S::CP + g + i];
        finish<typename C::Epilogue>(a.out, a.residual, cells[m], rows[m], cached[m], c, v);
      }
    __syncthreads();
  }
}
