// The start and the end of a frame: displacement fields, the image and its recompute set S_0, outputs. All of it is integer
// work or comparisons of float32 and agrees bit for bit with fluxshard/runtime/reuse/{displacement,input_cache}.py, which define it.

struct BeginArgs {
  const int32_t *input_key, *input_count;  // of the input cache, which may propose the next frame before this one is read
  const uint8_t* input_mask;
  int32_t *key, *count;
  uint8_t* mask;
  uint32_t* zero;  // what every frame starts from zero: counts, flags, used rows
  int32_t n_words, pixels;
};

FS_DEVICE void begin(const BeginArgs& a) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at == 0) {
    *a.key = *a.input_key;
    *a.count = *a.input_count;
  }
  for (int i = at; i < a.n_words; i += gridDim.x * blockDim.x) a.zero[i] = 0;
  for (int p = at; p < a.pixels; p += gridDim.x * blockDim.x) a.mask[p] = a.input_mask[p];
}

struct GridAxis {         // how the cells of one axis of a grid lie on the image
  int32_t* cell;         // (n) the motion's cell of each, in units of the motion's array
  int32_t n, pixels, num, den, shift, unused;  // shift: num = 1 << shift, or -1 where it is no power of two
};
template <int N> struct ImageBeginArgs {
  const Control* control;
  int32_t *key, *count, *still;  // (1), (1), (N)
  GridAxis axes[2 * N];          // y, x of each grid
};

FS_DEVICE int sampled(int cell, int num, int den, int pixels) {
  const int64_t centre = (2 * (int64_t)cell + 1) * num / (2 * (int64_t)den);
  return (int)(centre < pixels - 1 ? centre : pixels - 1);
}

// Where cells find their motion is a sum of one number for the row and one for the column: divisions are made here.
template <int N> FS_DEVICE void image_begin(const ImageBeginArgs<N>& a) {
  const Control& c = *a.control;
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at == 0) {
    *a.key = c.keyframe;
    *a.count = 0;
  }
  for (int i = at; i < N; i += gridDim.x * blockDim.x) a.still[i] = 1;
  if (c.motion == nullptr || c.keyframe) return;
#pragma unroll 1
  for (int i = 0; i < 2 * N; ++i) {
    const GridAxis& g = a.axes[i];
    for (int p = at; p < g.n; p += gridDim.x * blockDim.x)
      g.cell[p] = sampled(p, g.num, g.den, g.pixels) / c.cell_px * (i % 2 ? 1 : c.motion_columns);
  }
}

struct GridField {       // where a grid's displacement field goes
  int16_t *dy, *dx;
  uint8_t* valid;
  int32_t *src, *still;
  GridAxis y, x;
};
template <int N> struct FieldsArgs {
  const Control* control;
  GridField grids[N];
};

// floor((2 v den + num) / (2 num)): a displacement in pixels as the nearest one in cells. 2 v den + num fits 32 bits.
FS_DEVICE int in_cells(int v, const GridAxis& g) {
  const int a = 2 * v * g.den + g.num, b = 2 * g.num;
  if (g.shift >= 0) return a >> (g.shift + 1);
  const int q = a / b;
  return q - (a % b != 0 && a < 0);
}

// `still` is 1 until a cell moves or has no source; a frame that is run whole, or without motion, leaves it
template <int N> FS_DEVICE void fields(const FieldsArgs<N>& a) {
  const Control& c = *a.control;
  if (c.motion == nullptr || c.keyframe) return;
#pragma unroll 1
  for (int i = 0; i < N; ++i) {
    const GridField& g = a.grids[i];
    const int start = c.motion_starts ? c.motion_starts[i] : 0, w = g.x.n, h = g.y.n;
    bool moves = false;
    for (unsigned p = blockIdx.x * blockDim.x + threadIdx.x; p < (unsigned)(h * w); p += gridDim.x * blockDim.x) {
      const int y = (int)(p / (unsigned)w), x = (int)p - y * w, m = start + g.y.cell[y] + g.x.cell[x];
      const int dy = in_cells(c.motion[2 * m], g.y), dx = in_cells(c.motion[2 * m + 1], g.x);
      const bool in = c.motion_valid[m] && y - dy >= 0 && y - dy < h && x - dx >= 0 && x - dx < w;
      g.dy[p] = in ? dy : 0;
      g.dx[p] = in ? dx : 0;
      g.valid[p] = in;
      g.src[p] = in ? (y - dy) * w + x - dx : 0;
      moves |= !in || dy || dx;
    }
    if (moves) *g.still = 0;
  }
}

struct ImageArgs {
  const Control* control;
  int32_t *key, *count;
  Field field;
  float *buffer0, *buffer1;  // (cells, stride) the assembled image, taking turns
  T* fed;                    // (cells, fed stride) what the first layers read
  uint8_t* mask;
  const uint64_t* given;  // where the address of the pixels to recompute stands, or 0
  int32_t cells, unused;
};

// S_0: pixels that differ from the aligned cached ones, or have none. Source: Eq. 16 of the paper.
template <int C, int STRIDE> FS_DEVICE void image_compare(const ImageArgs& a) {
  const Control& c = *a.control;
  if (c.keyframe) return;
  const float* old = c.parity ? a.buffer1 : a.buffer0;
  const uint8_t* given = (const uint8_t*)*a.given;
  const bool still = *a.field.still;
  for (int base = blockIdx.x * blockDim.x; base < a.cells; base += gridDim.x * blockDim.x) {
    const int p = base + threadIdx.x;
    bool taken = false;
    if (p < a.cells) {
      taken = !still && !a.field.valid[p];
      const float* cached = old + (size_t)(still ? p : a.field.src[p]) * STRIDE;
      if (given) taken |= given[p] != 0;
      else for (int ch = 0; ch < C; ++ch) taken |= !(fabsf(c.image[(size_t)ch * a.cells + p] - cached[ch]) <= c.tau_input);
      a.mask[p] = taken;
    }
    const int n = __syncthreads_count(taken);
    if (threadIdx.x == 0 && n) atomicAdd(a.count, n);
  }
}

// The assembled image; decides whether the frame is run whole.
template <int C, int STRIDE, int FED> FS_DEVICE void image_take(const ImageArgs& a) {
  const Control& c = *a.control;
  const bool key = c.keyframe || *a.count > c.scene_cut, still = *a.field.still;
  if (key && blockIdx.x == 0 && threadIdx.x == 0) *a.key = 1;
  const float* old = c.parity ? a.buffer1 : a.buffer0;
  float* now = c.parity ? a.buffer0 : a.buffer1;
  for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < a.cells; p += gridDim.x * blockDim.x) {
    const bool fresh = key || a.mask[p];
    if (key) a.mask[p] = 1;
    const float* cached = old + (size_t)(still ? p : a.field.src[p]) * STRIDE;
    for (int ch = 0; ch < FED; ++ch) {
      const float in = ch < C ? c.image[(size_t)ch * a.cells + p] : 0.0f;
      const float kept = ch < C ? (fresh ? in : cached[ch]) : 0.0f;
      if (ch < STRIDE) now[(size_t)p * STRIDE + ch] = kept;
      a.fed[(size_t)p * FED + ch] = to_stored(c.input_fresh ? in : kept);
    }
  }
}

// ---- tensors as the rest of the world has them: (C, H, W) of float32, for islands and the caller

template <class IN> struct DenseArgs {
  const Control* control;
  IN in;
  float* dense;            // where it goes, or null:
  const uint64_t* output;  // where the address of where it goes stands
  const int32_t* run;      // null, or a flag: where it is zero, what was copied last is still right
  int32_t cells, w;
};

// 64 cells x 32 channels at a time, read in granules and turned in shared memory
template <class IN, int C> FS_DEVICE void to_dense(const DenseArgs<IN>& a) {
  if (a.run && !*a.run) return;
  constexpr int CELLS = 64, CHANNELS = 32, GRANULES = CHANNELS / LANES, TILES_C = (C + CHANNELS - 1) / CHANNELS;
  __shared__ float tile[CHANNELS][CELLS + 1];
  float* out = a.dense ? a.dense : (float*)*a.output;
  const int tiles = (a.cells + CELLS - 1) / CELLS * TILES_C;
  for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int p0 = t / TILES_C * CELLS, c0 = t % TILES_C * CHANNELS;
    for (int u = threadIdx.x; u < CELLS * GRANULES; u += blockDim.x) {
      const int i = u / GRANULES, c = u % GRANULES * LANES, p = p0 + i;
      if (p >= a.cells || c0 + c >= C) continue;
      float v[LANES];
      load_lanes(a.in, a.control, p / a.w, p % a.w, c0 + c, v);
#pragma unroll
      for (int j = 0; j < LANES; ++j) tile[c + j][i] = v[j];
    }
    __syncthreads();
    for (int u = threadIdx.x; u < CELLS * CHANNELS; u += blockDim.x) {
      const int i = u % CELLS, c = u / CELLS, p = p0 + i;
      if (p < a.cells && c0 + c < C) out[(size_t)(c0 + c) * a.cells + p] = tile[c][i];
    }
    __syncthreads();
  }
}
