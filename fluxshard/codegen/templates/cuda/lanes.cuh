// Islands that treat every cell alone: a tile of cells, its lanes, goes through all ops in shared memory. A number is
// made by one thread, in one order, so results do not depend on which tiles are computed.

constexpr int TILE = 32;

// what expressions of elementwise ops call: there one number is a vector of one
FS_DEVICE float splat(float x) { return x; }
FS_DEVICE float exp_v(float x) { return exp_f(x); }
FS_DEVICE float sin_v(float x) { return sinf(x); }
FS_DEVICE float cos_v(float x) { return cosf(x); }
FS_DEVICE float sqrt_v(float x) { return sqrtf(x); }
FS_DEVICE float square_v(float x) { return x * x; }
FS_DEVICE float cube_v(float x) { return x * x * x; }
FS_DEVICE float magnitude(float x) { return fabsf(x); }
FS_DEVICE float larger_v(float a, float b) { return a > b || a != a ? a : b; }   // NaN wins, as in torch
FS_DEVICE float smaller_v(float a, float b) { return a < b || a != a ? a : b; }
template <int A> FS_DEVICE float activate(float x, const void*, float p0, float p1) { return activate<A>(x, 0.0f, p0, p1); }

// r in [0, rows) for every lane of n
template <int ROWS, class F> FS_DEVICE void each(int n, F f) {
  for (int u = threadIdx.x; u < ROWS * TILE; u += blockDim.x)
    if (u % TILE < n) f(u / TILE, u % TILE);
}

enum Fold { SUM, MAX, MIN };
template <int K, int N, int STEP> FS_DEVICE float reduce(const float* of) {
  float v = of[0];
  for (int k = 1; k < N; ++k) v = K == SUM ? v + of[k * STEP] : K == MAX ? larger_v(v, of[k * STEP]) : smaller_v(v, of[k * STEP]);
  return v;
}

template <int N, int LEFT, int RIGHT> FS_DEVICE float dot(const float* left, const float* right) {
  float sum = 0.0f;
  for (int k = 0; k < N; ++k) sum = fmaf(left[k * LEFT], right[k * RIGHT], sum);
  return sum;
}

template <int N, int TO, int OF, bool LOG> FS_DEVICE void softmax(float* to, const float* of) {
  const float most = reduce<MAX, N, OF>(of);
  float sum = 0.0f;
  for (int k = 0; k < N; ++k) {
    const float e = exp_v(of[k * OF] - most);
    sum += e;
    if (!LOG) to[k * TO] = e;
  }
  const float share = LOG ? logf(sum) : 1.0f / sum;
  for (int k = 0; k < N; ++k) to[k * TO] = LOG ? of[k * OF] - most - share : to[k * TO] * share;
}

// Whether n cells of a grid read other rows than in the last frame. A row that is written is none that was read then.
template <class IN> FS_DEVICE bool reads_others(const IN& in, const Control* control, int cell, int n, int w) {
  bool others = false;
  for (int u = threadIdx.x; u < IN::SEGMENTS * TILE; u += blockDim.x) {
    const int p = cell + u % TILE;
    const Seg& s = in.segs[u / TILE];
    if (u % TILE >= n) continue;
    const int at = p / w / s.uy * s.w + p % w / s.ux;
    others |= s.maps.a[at] != s.maps.b[at];
  }
  return others;
}

// Channels of n cells, those of a cell TILE floats apart or more.
template <class IN, int TO, int PITCH> FS_DEVICE void read_lanes(const IN& in, const Control* control, int cell, int n, int w, float* f) {
  constexpr int C = IN::start(IN::SEGMENTS);
  each<(C + LANES - 1) / LANES>(n, [&](int granule, int lane) {
    const int p = cell + lane, c = granule * LANES;
    float v[LANES];
    load_lanes(in, control, p / w, p % w, c, v);
#pragma unroll
    for (int j = 0; j < LANES; ++j)
      if (c + j < C) f[TO + (c + j) * PITCH + lane] = v[j];
  });
}
