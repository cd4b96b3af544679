// The receptive-field checks, masks of upsampled views, islands, and the cache without remapping.

struct WindowRuleArgs {
  const int32_t* key;
  Field in, out;
  Axis y, x;
  uint8_t* flags;
  int32_t in_w, y_in_step, y_out_step, x_in_step, x_out_step, unused;
};

FS_DEVICE bool step_fits(int d_in, int d_out, int in_step, int out_step) {
  return in_step ? d_in * out_step == d_out * in_step : d_in == 0 && d_out == 0;
}

// Cells whose cached value may not be reused although no tap changed: the rule of docs/exactness.md.
FS_DEVICE void window_rule(const WindowRuleArgs& a) {
  if (*a.key) return;
  const bool in_still = *a.in.still, out_still = *a.out.still;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < a.y.n * a.x.n; p += gridDim.x * blockDim.x) {
    bool fits = true;
    if (!in_still || !out_still) {
      const int y = p / a.x.n, x = p % a.x.n, oy = out_still ? 0 : a.out.dy[p], ox = out_still ? 0 : a.out.dx[p];
      int dy = 0, dx = 0;
      bool found = false;
      for (int i = 0; i < a.y.taps; ++i)
        for (int j = 0; j < a.x.taps; ++j) {
          const int iy = a.y.tap[y * a.y.taps + i], ix = a.x.tap[x * a.x.taps + j];
          if (iy < 0 || ix < 0) continue;
          const int q = iy * a.in_w + ix, ty = in_still ? 0 : a.in.dy[q], tx = in_still ? 0 : a.in.dx[q];
          if (found) fits &= ty == dy && tx == dx;
          else { dy = ty; dx = tx; found = true; }
        }
      fits &= found ? step_fits(dy, oy, a.y_in_step, a.y_out_step) && step_fits(dx, ox, a.x_in_step, a.x_out_step) : oy == 0 && ox == 0;
      const int sy = min(max(y - oy, 0), a.y.n - 1), sx = min(max(x - ox, 0), a.x.n - 1);
      if (a.y.crosses[y] | a.y.crosses[sy]) fits &= oy == 0 && dy == 0;
      if (a.x.crosses[x] | a.x.crosses[sx]) fits &= ox == 0 && dx == 0;
    }
    a.flags[p] = !fits;
  }
}

struct CompactArgs {
  const int32_t* key;
  Field field;
  uint8_t *changes, *flags;  // per pixel: bit 0, a change to the row below within reach; bit 1, to the right
  int32_t h, w, reach, s_max;
};

FS_DEVICE bool moves_apart(const Field& f, int p, int q) { return f.dy[p] != f.dy[q] || f.dx[p] != f.dx[q] || f.valid[p] != f.valid[q]; }

// Changes of motion within reach along x, a block per row: sums over the row, then differences of sums.
// Shared memory: 2 x (w + 1) sums.
FS_DEVICE void compact_along_x(const CompactArgs& a) {
  if (*a.key || *a.field.still) return;
  FS_SHARED(int32_t, sums);
  int32_t *down = sums, *right = sums + a.w + 1;
  for (int y = blockIdx.x; y < a.h; y += gridDim.x) {
    int before_down = 0, before_right = 0;
    for (int x0 = 0; x0 < a.w; x0 += 256) {
      const int x = x0 + threadIdx.x, p = y * a.w + x;
      const int d = x < a.w && y + 1 < a.h && moves_apart(a.field, p, p + a.w), r = x + 1 < a.w && moves_apart(a.field, p, p + 1);
      const int sum_down = before_down + block_scan(d), sum_right = before_right + block_scan(r);
      if (x < a.w) { down[x] = sum_down; right[x] = sum_right; }
      if (x + 1 == a.w) { down[a.w] = sum_down + d; right[a.w] = sum_right + r; }
      before_down += __syncthreads_count(d);
      before_right += __syncthreads_count(r);
    }
    __syncthreads();
    for (int x = threadIdx.x; x < a.w; x += 256) {
      const int x0 = max(x - a.reach, 0), x1 = min(x + a.reach, a.w - 1);
      a.changes[y * a.w + x] = (down[x1 + 1] != down[x0]) | (right[x1] != right[x0]) << 1;
    }
    __syncthreads();
  }
}

// Pixels whose neighbourhood does not move as one, or whose motion s_max does not divide; a thread slides down 32 rows.
FS_DEVICE void compact_along_y(const CompactArgs& a) {
  if (*a.key) return;
  const bool still = *a.field.still;
  constexpr int RUN = 32;
  const int runs = (a.h + RUN - 1) / RUN;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < runs * a.w; i += gridDim.x * blockDim.x) {
    const int x = i % a.w, first = i / a.w * RUN, end = min(first + RUN, a.h);
    int down = 0, right = 0, low = 0, high = -1;  // rows [low, high] are summed into right, [low, high) into down
    for (int y = first; y < end; ++y) {
      bool flag = false;
      if (!still) {
        const int y0 = max(y - a.reach, 0), y1 = min(y + a.reach, a.h - 1);
        if (y == first) { low = y0; high = y0 - 1; }
        for (; high < y1; ++high) {
          if (high >= low) down += a.changes[high * a.w + x] & 1;
          right += a.changes[(high + 1) * a.w + x] >> 1;
        }
        for (; low < y0; ++low) {
          down -= a.changes[low * a.w + x] & 1;
          right -= a.changes[low * a.w + x] >> 1;
        }
        const int p = y * a.w + x;
        flag = down || right || a.field.dy[p] % a.s_max || a.field.dx[p] % a.s_max;
      }
      a.flags[y * a.w + x] = flag;
    }
  }
}

template <class IN, int PARENTS> struct UpsampleMaskArgs {
  const Control* control;
  const int32_t* key;
  Field in, out;
  const uint8_t* parents[PARENTS];
  const uint64_t* work;
  IN segs;
  uint8_t* mask;
  int32_t cells, w, in_w, fy, fx, unused;
};

// A cell of an upsampled view changed if its parent did, or moves otherwise than it, and its value is another.
template <class IN, int PARENTS> FS_DEVICE void upsample_mask(const UpsampleMaskArgs<IN, PARENTS>& a) {
  const bool key = *a.key, in_still = *a.in.still, out_still = *a.out.still;
  const uint8_t* work = (const uint8_t*)*a.work;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < a.cells; p += gridDim.x * blockDim.x) {
    const int y = p / a.w, x = p % a.w, q = y / a.fy * a.in_w + x / a.fx;
    const bool known = out_still || a.out.valid[p];
    bool set = key || !known;
    if (!set && work) set = work[p] != 0;
    else if (!set) {
      const int dy = out_still ? 0 : a.out.dy[p], dx = out_still ? 0 : a.out.dx[p], py = in_still ? 0 : a.in.dy[q], px = in_still ? 0 : a.in.dx[q];
      bool look = dy != py * a.fy || dx != px * a.fx;
      for (int i = 0; i < PARENTS; ++i) look |= a.parents[i][q] != 0;
#pragma unroll 1
      for (int s = 0; look && !set && s < IN::SEGMENTS; ++s) {
        const Seg& seg = a.segs.segs[s];
        const T *now = seg_now(seg, a.control, y, x), *before = seg_row(seg, old_map(seg.maps, a.control), y - dy, x - dx);
        for (int c = 0; c < IN::start(s + 1) - IN::start(s) && !set; ++c) set = !(fabsf(to_float(now[c]) - to_float(before[c])) <= 0.0f);
      }
    }
    a.mask[p] = set;
  }
}

template <int MASKS, int FIELDS, int VECTORS> struct GateArgs {
  const int32_t* key;
  int32_t* run;
  const uint8_t* masks[MASKS ? MASKS : 1];
  const int32_t* still[FIELDS ? FIELDS : 1];
  const int32_t* vectors[VECTORS ? VECTORS : 1];
  int32_t cells[MASKS + MASKS % 2 ? MASKS + MASKS % 2 : 2];
};

// An island runs if anything that it reads changed or moves, or where its outputs' caches would be moved.
template <int MASKS, int FIELDS, int VECTORS> FS_DEVICE void gate(const GateArgs<MASKS, FIELDS, VECTORS>& a) {
  bool run = *a.key;
  for (int i = 0; i < FIELDS; ++i) run |= !*a.still[i];
  for (int i = 0; i < VECTORS; ++i) run |= *a.vectors[i] != 0;
  for (int i = 0; i < MASKS; ++i)
    for (int p = blockIdx.x * blockDim.x + threadIdx.x; !run && p < a.cells[i]; p += gridDim.x * blockDim.x) run = a.masks[i][p];
  if (__syncthreads_or(run) && threadIdx.x == 0) *a.run = 1;
}

struct VectorArgs {
  const int32_t *key, *run;
  const float* fresh;   // (n) what the island gave
  float *cached, *row;  // (n); (width) as layers read it, or null
  const float* tau;
  int32_t* changed;
  int32_t n, width;
};

// A value off the grids: it changed if any of its numbers did. One block.
FS_DEVICE void take_vector(const VectorArgs& a) {
  if (!*a.run) return;
  bool differs = *a.key;
  for (int i = threadIdx.x; i < a.n; i += blockDim.x) differs |= !(fabsf(a.fresh[i] - a.cached[i]) <= *a.tau);
  if (!__syncthreads_or(differs)) return;
  for (int i = threadIdx.x; i < a.n; i += blockDim.x) a.cached[i] = a.fresh[i];
  if (a.row)
    for (int i = threadIdx.x; i < a.width; i += blockDim.x) a.row[i] = a.n == 1 ? a.fresh[0] : i < a.n ? a.fresh[i] : 0.0f;
  if (threadIdx.x == 0) *a.changed = 1;
}

// ---- the cache without remapping: what changed goes back to where it came from, the last in raster order winning

struct CommitArgs {
  const Control* control;
  const int32_t* key;
  Field field;
  const uint8_t* mask;
  Maps maps;
  float *buffer0, *buffer1;  // the image's, where maps are null
  int32_t* winner;           // (cells) zero between frames
  int32_t cells, unused;
};

FS_DEVICE void commit_elect(const CommitArgs& a) {
  if (*a.key || *a.field.still) return;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < a.cells; p += gridDim.x * blockDim.x)
    if (a.mask[p] && a.field.valid[p]) atomicMax(a.winner + a.field.src[p], p + 1);
}

template <int STRIDE> FS_DEVICE void commit(const CommitArgs& a) {
  const bool key = *a.key, still = *a.field.still;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < a.cells; p += gridDim.x * blockDim.x) {
    int from = p;  // of target p
    if (!key && !still) {
      from = a.winner[p] - 1;
      a.winner[p] = 0;
      if (from < 0) continue;
    } else if (!key && !a.mask[p]) continue;
    if (a.maps.a) {
      int32_t* base = a.control->parity ? a.maps.b : a.maps.a;
      base[p] = new_map(a.maps, a.control)[from];
    } else {
      float* base = a.control->parity ? a.buffer1 : a.buffer0;
      const float* now = a.control->parity ? a.buffer0 : a.buffer1;
      for (int c = 0; c < STRIDE; ++c) base[(size_t)p * STRIDE + c] = now[(size_t)from * STRIDE + c];
    }
  }
}
