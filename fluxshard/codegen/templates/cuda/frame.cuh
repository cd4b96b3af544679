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

struct ImageBeginArgs {
  const Control* control;
  int32_t *key, *count, *still;  // (1), (1), (grids)
  int32_t n_grids, unused;
};

FS_DEVICE void image_begin(const ImageBeginArgs& a) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at == 0) {
    *a.key = a.control->keyframe;
    *a.count = 0;
  }
  for (int i = at; i < a.n_grids; i += gridDim.x * blockDim.x) a.still[i] = 1;
}

struct GridField {       // where a grid's displacement field goes, and how its cells lie on the image
  int16_t *dy, *dx;
  uint8_t* valid;
  int32_t *src, *still;
  int32_t h, w, sy_num, sy_den, sx_num, sx_den;
};
template <int N> struct FieldsArgs {
  const Control* control;
  int32_t image_h, image_w;
  GridField grids[N];
};

FS_DEVICE int64_t floor_div(int64_t a, int64_t b) { const int64_t q = a / b; return q - (a % b != 0 && (a < 0) != (b < 0)); }
FS_DEVICE int sampled(int cell, int num, int den, int pixels) {
  const int64_t centre = (2 * (int64_t)cell + 1) * num / (2 * (int64_t)den);
  return (int)(centre < pixels - 1 ? centre : pixels - 1);
}

// `still` is 1 until a cell moves or has no source; a frame that is run whole, or without motion, leaves it
template <int N> FS_DEVICE void fields(const FieldsArgs<N>& a) {
  const Control& c = *a.control;
  if (c.motion == nullptr || c.keyframe) return;
#pragma unroll 1
  for (int i = 0; i < N; ++i) {
    const GridField& g = a.grids[i];
    const int start = c.motion_starts ? c.motion_starts[i] : 0;
    for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < g.h * g.w; p += gridDim.x * blockDim.x) {
      const int y = p / g.w, x = p % g.w;
      const int m = start + sampled(y, g.sy_num, g.sy_den, a.image_h) / c.cell_px * c.motion_columns + sampled(x, g.sx_num, g.sx_den, a.image_w) / c.cell_px;
      const int dy = (int)floor_div(2 * (int64_t)c.motion[2 * m] * g.sy_den + g.sy_num, 2 * (int64_t)g.sy_num);
      const int dx = (int)floor_div(2 * (int64_t)c.motion[2 * m + 1] * g.sx_den + g.sx_num, 2 * (int64_t)g.sx_num);
      const bool in = c.motion_valid[m] && y - dy >= 0 && y - dy < g.h && x - dx >= 0 && x - dx < g.w;
      g.dy[p] = in ? dy : 0;
      g.dx[p] = in ? dx : 0;
      g.valid[p] = in;
      g.src[p] = in ? (y - dy) * g.w + x - dx : 0;
      if (!in || dy || dx) *g.still = 0;
    }
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
  int32_t cells, w;
};

// 32 cells x 32 channels at a time, turned in shared memory
template <class IN, int C> FS_DEVICE void to_dense(const DenseArgs<IN>& a) {
  __shared__ float tile[32][33];
  float* out = a.dense ? a.dense : (float*)*a.output;
  constexpr int ROWS = 8;  // 256 threads
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32, tiles_c = (C + 31) / 32, tiles = (a.cells + 31) / 32 * tiles_c;
  for (int t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int p0 = t / tiles_c * 32, c = t % tiles_c * 32 + tx;
#pragma unroll 1
    for (int i = ty; i < 32; i += ROWS) {
      const int p = p0 + i;
      if (p >= a.cells || c >= C) continue;
#pragma unroll
      for (int s = 0; s < IN::SEGMENTS; ++s)
        if (c >= IN::start(s) && c < IN::start(s + 1)) tile[i][tx] = to_float(seg_now(a.in.segs[s], a.control, p / a.w, p % a.w)[c - IN::start(s)]);
    }
    __syncthreads();
    for (int i = ty; i < 32; i += ROWS) {
      const int p = p0 + tx, ch = t % tiles_c * 32 + i;
      if (p < a.cells && ch < C) out[(size_t)ch * a.cells + p] = tile[tx][i];
    }
    __syncthreads();
  }
}
