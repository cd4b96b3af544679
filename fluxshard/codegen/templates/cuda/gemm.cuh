// Convolution as an indirect GEMM: rows of the A operand are gathered through slot maps, the B operand is packed weights.
// M = candidates, N = output channels, K = window taps x segments x channels, each segment padded to units of VEC numbers.
// Blocks are persistent: they take tiles of BM cells x BN channels until the count on the device is reached.
//
// A cell's sum runs over K in order, cut at the same SPLITS places whatever cells it is computed with, and the parts are
// added in order: it is bit for bit what a frame that recomputes everything gives. Who makes the parts depends on how many
// tiles there are: where they keep all blocks busy, one block makes all parts of a tile in turn; where they do not, several
// blocks do, and the last one to end adds them up. Where few cells are computed, tiles are smaller, too: a kernel has code
// for both (Many, Few).
//
// Shared memory: STAGES x (BM + BN) x BK numbers, reused for the BM x BN sums; then the table of rows, then the cells.

template <class L> struct GemmArgs {
  Out out;
  typename L::In in;
  typename L::Residual residual;
  const int32_t *tap_y, *tap_x;  // (H, TAPS_Y), (W, TAPS_X): input cell, or -1 where zero is read
  const T* weights;              // [Co / PACKED_N][step][PACKED_N][BK]
  float* partial;                // [tile][SPLITS][BM x BN], where SPLITS > 1
  int32_t* counters;             // [tile], zero between launches
  const int32_t* pick;           // null, or the candidates to take
  int32_t early, unused;         // cells, rows and maps were there before the kernel in front of this one began
};

// Where granule g of row r lies in a tile of rows of BK numbers: padded for plain loads, swizzled for ldmatrix. Rows that
// lie 8 apart are swizzled alike.
template <class C> FS_DEVICE unsigned at(unsigned r, unsigned g) {
  if constexpr (C::MATH == 0) return r * (C::BK + LANES) + g * LANES;
  constexpr int GRANULES = C::BK / LANES;
  const unsigned turn = GRANULES >= 8 ? r & 7 : GRANULES == 4 ? (r >> 1) & 3 : (r >> 2) & 1;
  return r * C::BK + (g ^ turn) * LANES;
}

template <class C> struct GemmShape {
  static constexpr int PITCH = C::MATH == 0 ? C::BK + LANES : C::BK;
  static constexpr int STAGE = (C::BM + C::BN) * PITCH;            // numbers
  static constexpr int CP = C::BN + 8;                             // floats between rows of sums: pairs of 4 rows fill all banks
  static constexpr int STAGE_BYTES = C::STAGES * STAGE * (int)sizeof(T), SUM_BYTES = C::BM * CP * 4;
  static constexpr int TABLE_AT = STAGE_BYTES > SUM_BYTES ? STAGE_BYTES : SUM_BYTES;
  static constexpr int KT = C::In::unit_start(C::In::SEGMENTS);    // K of one tap
  static constexpr int TAPS = C::TAPS_Y * C::TAPS_X;
  static constexpr int STEPS = (TAPS * KT + C::BK - 1) / C::BK;
  static constexpr int TILES_N = (C::Epilogue::CHANNELS + C::BN - 1) / C::BN;
  static constexpr int THREADS = C::WM * C::WN * 32;
  static constexpr int TABLE = C::TABLE ? TAPS * C::In::SEGMENTS * C::BM : 0;
};

// What segment s of the cell at y, x of the input has: where its row begins in the pool, in units of VEC numbers.
template <class L> FS_DEVICE int32_t unit_of(const GemmArgs<L>& a, int y, int x, int s) {
  const Seg& seg = a.in.segs[s];
  const int cell = (seg.uy | seg.ux) == 1 ? y * seg.w + x : (y / seg.uy) * seg.w + x / seg.ux;
  return (seg.maps.a ? new_map(seg.maps, a.out.control)[cell] : cell) * (seg.stride / L::In::VEC);
}

// The same for a cell of the output at a tap, or -1 where zero is read.
template <class L> FS_DEVICE int32_t gathered_unit(const GemmArgs<L>& a, int p, int tap, int s) {
  if (p < 0) return -1;
  const int y = a.tap_y[p / a.out.w * L::TAPS_Y + tap / L::TAPS_X], x = a.tap_x[p % a.out.w * L::TAPS_X + tap % L::TAPS_X];
  return y < 0 || x < 0 ? -1 : unit_of(a, y, x, s);
}

template <class C, class L> FS_DEVICE void fill_table(const GemmArgs<L>& a, const int32_t* cells, int32_t* table) {
  using S = GemmShape<C>;
  constexpr int WIDE = C::BM < S::THREADS ? C::BM : S::THREADS, NS = C::In::SEGMENTS;
  for (int m = threadIdx.x % WIDE; m < C::BM; m += WIDE) {
    const int p = cells[m], y = p < 0 ? 0 : p / a.out.w, x = p < 0 ? 0 : p - y * a.out.w;
#pragma unroll 3
    for (int tap = threadIdx.x / WIDE; tap < S::TAPS; tap += S::THREADS / WIDE) {
      const int iy = a.tap_y[y * C::TAPS_Y + tap / C::TAPS_X], ix = a.tap_x[x * C::TAPS_X + tap % C::TAPS_X];
#pragma unroll
      for (int s = 0; s < NS; ++s) table[(tap * NS + s) * C::BM + m] = (p | iy | ix) < 0 ? -1 : unit_of(a, iy, ix, s);
    }
  }
}

// What a thread copies of each step: the same unit of rows that lie ROWS apart, and the same granule of weights.
template <class C, class L> struct Copies {
  using S = GemmShape<C>;
  static constexpr int VEC = C::In::VEC, UNITS = C::BK / VEC, NS = C::In::SEGMENTS;
  static constexpr int ROWS = S::THREADS / UNITS, ROUNDS = (C::BM + ROWS - 1) / ROWS;
  static constexpr int GRANULES = C::BK / LANES, ROWS_B = S::THREADS / GRANULES, ROUNDS_B = (C::BN + ROWS_B - 1) / ROWS_B;
  static constexpr bool ONE_TAP = S::KT % C::BK == 0;  // all of a step lies in one tap
  static_assert(S::THREADS % UNITS == 0 && ROWS_B % 8 == 0, "rows of a thread have to be swizzled alike");
  static constexpr bool one_segment() {
    for (int i = 1; i < NS; ++i) if (C::In::unit_start(i) % C::BK) return false;
    return ONE_TAP;
  }
  const GemmArgs<L>& a;
  const int32_t *table, *cells;
  const T* weights;    // of the next step
  int tap, in_tap, k;  // where the next step of A begins
  FS_DEVICE Copies(const GemmArgs<L>& a, const int32_t* table, const int32_t* cells, int tile_n, int first) : a(a), table(table), cells(cells) {
    const int channel = tile_n * C::BN;
    weights = a.weights + ((size_t)(channel / C::PACKED_N) * S::STEPS + first) * C::PACKED_N * C::BK + channel % C::PACKED_N * C::BK + threadIdx.x * LANES;
    k = first * C::BK;
    tap = k / S::KT;
    in_tap = k % S::KT;
  }
  FS_DEVICE void next_b(T* stage) {
    T* to = stage + C::BM * S::PITCH + at<C>(threadIdx.x / GRANULES, threadIdx.x % GRANULES);
#pragma unroll
    for (int i = 0; i < ROUNDS_B; ++i)
      if (C::BN % ROWS_B == 0 || threadIdx.x / GRANULES + i * ROWS_B < C::BN)
        fs_cp_async<16>(to + i * ROWS_B * S::PITCH, weights + i * S::THREADS * LANES, true);
    weights += C::PACKED_N * C::BK;
  }
  FS_DEVICE void next_a(T* stage) {
    const unsigned m0 = threadIdx.x / UNITS, kk = threadIdx.x % UNITS * VEC;
    int t = tap, q = in_tap + kk;
    if constexpr (!ONE_TAP) { t = (unsigned)(k + kk) / S::KT; q = (unsigned)(k + kk) % S::KT; }
    const int where = one_segment() ? in_tap : q;
    int s = 0, start = 0;
    const T* pool = a.in.segs[0].pool;
#pragma unroll
    for (int j = 1; j < NS; ++j)
      if (where >= C::In::unit_start(j)) { s = j; start = C::In::unit_start(j); pool = a.in.segs[j].pool; }
    const bool inside = S::KT * S::TAPS % C::BK == 0 || t < S::TAPS;  // behind the end there are zeros
    const char* from = fs_opaque((const char*)(pool + (q - start)));
    const int32_t* listed = table + (t * NS + s) * C::BM + m0;
    T* to = stage + at<C>(m0, kk / LANES) + kk % LANES;
    int32_t units[ROUNDS];  // all are read before the first copy: the machine waits between reads and copies
#pragma unroll
    for (int i = 0; i < ROUNDS; ++i) {
      units[i] = -1;
      if (C::BM % ROWS && m0 + i * ROWS >= C::BM) continue;
      if (inside) units[i] = C::TABLE ? listed[i * ROWS] : gathered_unit(a, cells[m0 + i * ROWS], t, s);
    }
#pragma unroll
    for (int i = 0; i < ROUNDS; ++i) {
      if (C::BM % ROWS && m0 + i * ROWS >= C::BM) break;
      T* there = ROWS % 8 == 0 ? to + i * ROWS * S::PITCH : stage + at<C>(m0 + i * ROWS, kk / LANES) + kk % LANES;
      const char* row = from + (int64_t)units[i] * (int)(VEC * sizeof(T));
      if constexpr (VEC * sizeof(T) >= 4) fs_cp_async_row<VEC * sizeof(T)>(there, row, units[i]);
      else *there = units[i] < 0 ? T(0) : *(const T*)row;
    }
    k += C::BK;
    in_tap += C::BK;
    if (in_tap >= S::KT) { in_tap = 0; ++tap; }
  }
};

// Tensor cores: each warp sums MT x NT fragments of 16 x 8.
template <class C> struct Fragments {
  static constexpr int MT = C::BM / C::WM / 16, NT = C::BN / C::WN / 8, N = MT * NT * 4;
  float c[N];
  static FS_DEVICE void multiply(float* c, const unsigned (&a)[4], const unsigned* b) {
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
    const unsigned lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const unsigned row0 = warp / C::WN * MT * 16 + (lane & 15), col0 = warp % C::WN * NT * 8 + (lane & 7);
    // two granules further along K is another bit in the place of a granule, whatever the row's swizzle
    const unsigned of_a = at<C>(row0, lane >> 4) * sizeof(T), of_b = at<C>(col0 + (lane >> 4) * 8, (lane >> 3) & 1) * sizeof(T);
    const unsigned of_last = at<C>(col0 + (NT - 1) * 8, (lane >> 3) & 1) * sizeof(T);
#pragma unroll
    for (int k = 0; k < C::BK / 16; ++k) {
      const char *ak = (const char*)a + (of_a ^ (k * 32)), *bk = (const char*)b + (of_b ^ (k * 32));
      unsigned fa[MT][4], fb[NT + 1][2];
#pragma unroll
      for (int m = 0; m < MT; ++m) fs_ldmatrix4(fa[m], ak + m * 16 * C::BK * sizeof(T));
#pragma unroll
      for (int n = 0; n + 1 < NT; n += 2) fs_ldmatrix4(fb[n], bk + n * 8 * C::BK * sizeof(T));
      if constexpr (NT % 2 == 1) fs_ldmatrix2(fb[NT - 1], (const char*)b + (of_last ^ (k * 32)));
#pragma unroll
      for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int n = 0; n < NT; ++n) multiply(c + (m * NT + n) * 4, fa[m], fb[n]);
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
        const float* v = c + (m * NT + n) * 4;
        *(float2*)t = make_float2(v[0], v[1]);
        *(float2*)(t + 8 * GemmShape<C>::CP) = make_float2(v[2], v[3]);
      }
  }
};

// Multiply-adds: each thread sums TM x TN numbers whose rows and columns lie apart, so that threads read different banks.
template <class C> struct Scalars {
  static constexpr int THREADS = GemmShape<C>::THREADS, TN = C::TN, COLUMNS = C::BN / TN, ROWS = THREADS / COLUMNS, TM = C::BM / ROWS;
  static constexpr int N = TM * TN;
  float c[N];
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
          for (int n = 0; n < TN; ++n) c[m * TN + n] = fmaf(va[m][i], vb[n][i], c[m * TN + n]);
    }
  }
  FS_DEVICE void put(float* sums) const {
    const int y = threadIdx.x / COLUMNS, x = threadIdx.x % COLUMNS;
#pragma unroll
    for (int m = 0; m < TM; ++m)
#pragma unroll
      for (int n = 0; n < TN; ++n) sums[(y + m * ROWS) * GemmShape<C>::CP + x + n * COLUMNS] = c[m * TN + n];
  }
};

// ---- parts of sums

template <class Sums> FS_DEVICE void clear(Sums& sums) {
#pragma unroll
  for (int i = 0; i < Sums::N; ++i) sums.c[i] = 0.0f;
}

// Adds a part that is in registers, and makes room for the next.
template <class Sums> FS_DEVICE void take_part(Sums& total, Sums& part) {
#pragma unroll
  for (int i = 0; i < Sums::N; ++i) total.c[i] += part.c[i];
  clear(part);
}

// Hands a part to the block that adds them up: four sums of each thread side by side.
template <class Sums> FS_DEVICE void give_part(float* to, Sums& part) {
#pragma unroll
  for (int i = 0; i < Sums::N; i += 4)
    *(float4*)(to + (i * blockDim.x + threadIdx.x * 4)) = make_float4(part.c[i], part.c[i + 1], part.c[i + 2], part.c[i + 3]);
  clear(part);
}

// Adds up the parts of a tile in the block that ends last; the others return false.
template <class C, class Sums> FS_DEVICE bool join_parts(const float* parts, int32_t* counter, int groups, Sums& total) {
  __shared__ int last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1) == groups - 1;
    if (last) *counter = 0;
  }
  __syncthreads();
  if (!last) return false;
  __threadfence();
#pragma unroll (Sums::N <= 32 ? 4 : 1)
  for (int s = 0; s < C::SPLITS; ++s)
#pragma unroll
    for (int i = 0; i < Sums::N; i += 4) {
      const float4 v = __ldcg((const float4*)(parts + s * C::BM * C::BN + i * blockDim.x + threadIdx.x * 4));
      total.c[i] += v.x; total.c[i + 1] += v.y; total.c[i + 2] += v.z; total.c[i + 3] += v.w;
    }
  return true;
}

// How many parts of a tile a block makes in turn: fewer while blocks would be idle, and the parts have room.
template <class C> FS_DEVICE int parts_in_turn(int tiles) {
  int turn = C::SPLITS;
  if (tiles * C::SPLITS <= 4 * C::SLOTS)
    while (turn > 1 && tiles * (C::SPLITS / turn) * 2 <= C::SLOTS) turn >>= 1;
  return turn;
}

template <class C, class Sums, class L> FS_DEVICE void tiles(const GemmArgs<L>& a, int n) {
  using S = GemmShape<C>;
  FS_SHARED(unsigned char, shared);
  T* const stages = (T*)shared;
  float* const sums = (float*)shared;
  int32_t* const table = (int32_t*)(shared + S::TABLE_AT);
  int32_t *const cells = table + S::TABLE, *const rows = cells + C::BM, *const cached = rows + C::BM;
  const int count = (n + C::BM - 1) / C::BM * S::TILES_N, turn = parts_in_turn<C>(count), groups = C::SPLITS / turn;
  bool waiting = a.early;
  for (int unit = blockIdx.x; unit < count * groups; unit += gridDim.x) {
    const int group = C::SPLITS > 1 ? unit % groups : 0, tile = C::SPLITS > 1 ? unit / groups : unit;
    const int tile_n = tile % S::TILES_N, m0 = tile / S::TILES_N * C::BM;
    for (int m = threadIdx.x; m < C::BM; m += S::THREADS) {
      const bool used = m0 + m < n;
      const int k = !used ? 0 : a.pick ? a.pick[m0 + m] : m0 + m;
      cells[m] = used ? a.out.list[k] : -1;
      rows[m] = used ? a.out.rows[k] : -1;
      cached[m] = used ? cached_row(a.out, cells[m]) : -1;
    }
    int part = group * turn;
    const int first = S::STEPS * part / C::SPLITS, end = S::STEPS * (part + turn) / C::SPLITS;
    Copies<C, L> copies(a, table, cells, tile_n, first);
#pragma unroll
    for (int i = 0; i < C::STAGES - 1; ++i)
      if (first + i < end) copies.next_b(stages + i * S::STAGE);
    __syncthreads();
    if constexpr (C::TABLE) {
      fill_table<C>(a, cells, table);
      __syncthreads();
    }
    if (waiting) fs_wait_for_kernels_before();
    waiting = false;
    Sums total, now;
    clear(total);
    clear(now);
#pragma unroll
    for (int i = 0; i < C::STAGES - 1; ++i) {
      if (first + i < end) copies.next_a(stages + i * S::STAGE);
      fs_cp_commit();
    }
    int step = first, slot = 0, next = (C::STAGES - 1) * S::STAGE;
#pragma unroll 1
    for (; ; ++part) {
      const int cut = S::STEPS * (part + 1) / C::SPLITS;
#pragma unroll 1
      for (; step < cut; ++step) {
        fs_cp_wait<C::STAGES - 2>();
        __syncthreads();  // this step's stage is there for all, and the slot of the step before is free
        if (step + C::STAGES - 1 < end) {
          copies.next_b(stages + next);
          copies.next_a(stages + next);
        }
        fs_cp_commit();
        now.add(stages + slot, stages + slot + C::BM * S::PITCH);
        next = slot;
        slot = slot == (C::STAGES - 1) * S::STAGE ? 0 : slot + S::STAGE;
      }
      if constexpr (C::SPLITS > 1) {
        if (groups == 1) take_part(total, now);
        else give_part(a.partial + (size_t)(tile * C::SPLITS + part) * C::BM * C::BN, now);
      }
      if (step == end) break;
    }
    fs_cp_wait<0>();
    __syncthreads();
    bool done = true;
    if constexpr (C::SPLITS > 1) {
      if (groups > 1) done = join_parts<C>(a.partial + (size_t)tile * C::SPLITS * C::BM * C::BN, a.counters + tile, groups, total);
      if (done) total.put(sums);
    } else now.put(sums);
    __syncthreads();
    if (done)
      for (int u = threadIdx.x; u < C::BM * (C::BN / LANES); u += S::THREADS) {
        const int m = u / (C::BN / LANES), g = u % (C::BN / LANES) * LANES, c = tile_n * C::BN + g;
        if (cells[m] < 0 || c >= a.out.stride) continue;
        float v[LANES];
        load_vector(sums + m * S::CP + g, v);
        finish<typename C::Epilogue>(a.out, a.residual, cells[m], rows[m], cached[m], c, v);
      }
    __syncthreads();
  }
  if (waiting) fs_wait_for_kernels_before();  // whoever waits for this kernel waits for those, too
}

template <class Many, class SumsOfMany, class Few, class SumsOfFew, class L> FS_DEVICE void gemm(const GemmArgs<L>& a) {
  fs_let_next_kernel_begin();
  if (!a.early) fs_wait_for_kernels_before();
  const int n = *a.out.n;
  if constexpr (L::MOST_FEW > 0) {
    static_assert(GemmShape<Many>::THREADS == GemmShape<Few>::THREADS, "one block runs either");
    if (n <= L::MOST_FEW) return tiles<Few, SumsOfFew>(a, n);
  }
  tiles<Many, SumsOfMany>(a, n);
}
