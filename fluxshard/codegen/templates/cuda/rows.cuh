// Everything that is not a GEMM: a thread makes LANES channels of one candidate, the epilogue does the rest.
// L is the layer: its inputs, epilogue, geometry and numbers; a.in and a.other are segments, taps as in gemm.cuh.

template <class L> struct RowArgs {
  Out out;
  typename L::In in;
  typename L::Other other;
  typename L::Residual residual;
  const int32_t *tap_y, *tap_x;
  const T* weights;            // depthwise: [tap][C]; grouped: [tap][Cig][Co]
  const float *one, *two;      // rows of numbers: scale, gamma, beta, a constant operand, shares of bilinear cells
  const int32_t *low, *high;   // (H + W) source cells of bilinear resampling
  const float* dense;          // (C, cells) of an island's output
  const int32_t* pick;
};

template <class L, class F> FS_DEVICE void each_tap(const RowArgs<L>& a, int y, int x, F f) {
  for (int i = 0; i < L::TAPS_Y; ++i)
    for (int j = 0; j < L::TAPS_X; ++j) {
      const int iy = a.tap_y[y * L::TAPS_Y + i], ix = a.tap_x[x * L::TAPS_X + j];
      if (iy >= 0 && ix >= 0) f(i * L::TAPS_X + j, iy, ix);
    }
}

template <class L> FS_DEVICE void max_pool(const RowArgs<L>& a, int y, int x, int c, float* v) {
  for (int i = 0; i < LANES; ++i) v[i] = -INFINITY;
  each_tap<L>(a, y, x, [&](int, int iy, int ix) {
    float r[LANES];
    load_lanes(a.in, a.out.control, iy, ix, c, r);
    for (int i = 0; i < LANES; ++i) v[i] = r[i] > v[i] || r[i] != r[i] ? r[i] : v[i];  // NaN wins, as in torch
  });
}

template <class L> FS_DEVICE void avg_pool(const RowArgs<L>& a, int y, int x, int c, float* v) {
  for (int i = 0; i < LANES; ++i) v[i] = 0.0f;
  each_tap<L>(a, y, x, [&](int, int iy, int ix) {
    float r[LANES];
    load_lanes(a.in, a.out.control, iy, ix, c, r);
    for (int i = 0; i < LANES; ++i) v[i] += r[i];
  });
  int y0 = y * L::SH - L::PH, x0 = x * L::SW - L::PW;
  int y1 = min(y0 + L::KH, L::H + L::PH), x1 = min(x0 + L::KW, L::W + L::PW);
  int count = (y1 - y0) * (x1 - x0);
  if (!L::INCLUDE_PAD) count = (min(y1, L::H) - max(y0, 0)) * (min(x1, L::W) - max(x0, 0));
  if (L::DIVISOR != 0) count = L::DIVISOR;
  for (int i = 0; i < LANES; ++i) v[i] /= (float)count;
}

template <class L> FS_DEVICE void copy_rows(const RowArgs<L>& a, int y, int x, int c, float* v) { load_lanes(a.in, a.out.control, y, x, c, v); }

template <class L> FS_DEVICE void affine(const RowArgs<L>& a, int y, int x, int c, float* v) {
  load_lanes(a.in, a.out.control, y, x, c, v);
  for (int i = 0; i < LANES; ++i) v[i] *= a.one[c + i];
}

template <int KIND> FS_DEVICE float apply(float a, float b) {
  if constexpr (KIND == 0) return a + b;
  else if constexpr (KIND == 1) return a - b;
  else if constexpr (KIND == 2) return a * b;
  else return a / b;
}

// b: another tensor on the grid, or one row for all cells
template <class L> FS_DEVICE void binary(const RowArgs<L>& a, int y, int x, int c, float* v) {
  float b[LANES];
  load_lanes(a.in, a.out.control, y, x, c, v);
  if constexpr (L::CONSTANT) for (int i = 0; i < LANES; ++i) b[i] = a.one[c + i];
  else load_lanes(a.other, a.out.control, y, x, c, b);
  for (int i = 0; i < LANES; ++i) v[i] = L::SWAPPED ? apply<L::KIND>(b[i], v[i]) : apply<L::KIND>(v[i], b[i]);
}

template <class L> FS_DEVICE void bilinear(const RowArgs<L>& a, int y, int x, int c, float* v) {
  const int wx = L::OUT_H + x;
  float p[4][LANES];
  load_lanes(a.in, a.out.control, a.low[y], a.low[wx], c, p[0]);
  load_lanes(a.in, a.out.control, a.low[y], a.high[wx], c, p[1]);
  load_lanes(a.in, a.out.control, a.high[y], a.low[wx], c, p[2]);
  load_lanes(a.in, a.out.control, a.high[y], a.high[wx], c, p[3]);
  const float v1 = a.one[y], v0 = 1.0f - v1, h1 = a.one[wx], h0 = 1.0f - h1;
  for (int i = 0; i < LANES; ++i) v[i] = v0 * (h0 * p[0][i] + h1 * p[1][i]) + v1 * (h0 * p[2][i] + h1 * p[3][i]);
}

// one tap per axis, a constant outside: padding, cropping, nearest resampling
template <class L> FS_DEVICE void gather(const RowArgs<L>& a, int y, int x, int c, float* v) {
  const int iy = a.tap_y[y], ix = a.tap_x[x];
  if (iy < 0 || ix < 0) for (int i = 0; i < LANES; ++i) v[i] = L::outside();
  else load_lanes(a.in, a.out.control, iy, ix, c, v);
}

template <class L> FS_DEVICE void from_dense(const RowArgs<L>& a, int y, int x, int c, float* v) {
  for (int i = 0; i < LANES; ++i) v[i] = c + i < L::Epilogue::CHANNELS ? a.dense[(size_t)(c + i) * L::CELLS + y * a.out.w + x] : 0.0f;
}

template <class L> FS_DEVICE void depthwise(const RowArgs<L>& a, int y, int x, int c, float* v) {
  for (int i = 0; i < LANES; ++i) v[i] = 0.0f;
  each_tap<L>(a, y, x, [&](int tap, int iy, int ix) {
    float r[LANES], w[LANES];
    load_lanes(a.in, a.out.control, iy, ix, c, r);
    load_unit<LANES>(a.weights + (size_t)tap * a.out.stride + c, w);
    for (int i = 0; i < LANES; ++i) v[i] = fmaf(r[i], w[i], v[i]);
  });
}

// any other grouping: scalar loads, as the groups of LANES outputs differ
template <class L> FS_DEVICE void grouped(const RowArgs<L>& a, int y, int x, int c, float* v) {
  for (int i = 0; i < LANES; ++i) v[i] = 0.0f;
  each_tap<L>(a, y, x, [&](int tap, int iy, int ix) {
    for (int q = 0; q < L::CIG; ++q) {
      float w[LANES];
      load_unit<LANES>(a.weights + ((size_t)tap * L::CIG + q) * a.out.stride + c, w);
      for (int i = 0; i < LANES; ++i) {
        const int ch = (c + i) / L::COG * L::CIG + q;
        if (c + i >= L::Epilogue::CHANNELS) continue;
#pragma unroll
        for (int s = 0; s < L::In::SEGMENTS; ++s)
          if (ch >= L::In::start(s) && ch < L::In::start(s + 1))
            v[i] = fmaf(to_float(seg_now(a.in.segs[s], a.out.control, iy, ix)[ch - L::In::start(s)]), w[i], v[i]);
      }
    }
  });
}

template <class L, class F> FS_DEVICE void each_row(const RowArgs<L>& a, F f) {
  constexpr int GRANULES = (L::Epilogue::CHANNELS + LANES - 1) / LANES;
  const int64_t n = (int64_t)*a.out.n * GRANULES;
  for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
    const int at = (int)(i / GRANULES), c = (int)(i % GRANULES) * LANES, k = a.pick ? a.pick[at] : at, p = a.out.list[k];
    float v[LANES];
    f(p / a.out.w, p % a.out.w, c, v);
    finish<typename L::Epilogue>(a.out, a.residual, p, a.out.rows[k], cached_row(a.out, p), c, v);
  }
}

// layer norm over the channels of a cell: one warp for each
template <class L> FS_DEVICE void channel_norm(const RowArgs<L>& a) {
  constexpr int C = L::Epilogue::CHANNELS, GRANULES = (C + LANES - 1) / LANES;
  const int lane = threadIdx.x & 31, n = *a.out.n;
  auto total = [](float v) {
    for (int d = 16; d; d >>= 1) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
  };
  for (int k = (blockIdx.x * blockDim.x + threadIdx.x) / 32; k < n; k += gridDim.x * blockDim.x / 32) {
    const int p = a.out.list[k], y = p / a.out.w, x = p % a.out.w;
    float sum = 0.0f, squares = 0.0f, v[LANES];
    for (int g = lane; g < GRANULES; g += 32) {
      load_lanes(a.in, a.out.control, y, x, g * LANES, v);
      for (int i = 0; i < LANES; ++i) sum += g * LANES + i < C ? v[i] : 0.0f;
    }
    const float mean = total(sum) / C;
    for (int g = lane; g < GRANULES; g += 32) {
      load_lanes(a.in, a.out.control, y, x, g * LANES, v);
      for (int i = 0; i < LANES; ++i) squares += g * LANES + i < C ? (v[i] - mean) * (v[i] - mean) : 0.0f;
    }
    const float scale = 1.0f / sqrtf(total(squares) / C + L::eps());
    const int32_t cached = cached_row(a.out, p);
    for (int g = lane; g < GRANULES; g += 32) {
      load_lanes(a.in, a.out.control, y, x, g * LANES, v);
      for (int i = 0; i < LANES; ++i) v[i] = (v[i] - mean) * scale * a.one[g * LANES + i] + a.two[g * LANES + i];
      finish<typename L::Epilogue>(a.out, a.residual, p, a.out.rows[k], cached, g * LANES, v);
    }
  }
}
