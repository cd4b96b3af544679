#define FS_TYPE 1
#define FS_MATH 0
// prelude.cuh

// epilogue.cuh

// lanes.cuh


struct In0_0 {  // 1 segments
  static constexpr int SEGMENTS = 1, VEC = 8;
  static FS_DEVICE constexpr int start(int i) { constexpr int at[] = {0, 21}; return at[i]; }
  static FS_DEVICE constexpr int unit_start(int i) { constexpr int at[] = {0, 24}; return at[i]; }
  Seg segs[SEGMENTS];
};

struct Args {
  const Control* control;
  const int32_t* key;
  const float* constants[1];
  float* outputs[1];
  In0_0 in0_0;
  int32_t all, unused;  // all: whatever has changed, as the cache does not follow the motion
};
static FS_DEVICE void island(const Args& a) {
  FS_SHARED(float, f);
  for (int tile = blockIdx.x; tile < 6; tile += gridDim.x) {
    int start = 0, n = 0;
    if (tile < 6) {  // 192 cells
      const int cell = (tile - 0) * TILE;
      start = 0 + cell;
      n = min(TILE, 192 - cell);
      bool due = a.all || *a.key;
      if (!due) due = reads_others(a.in0_0, a.control, cell, n, 16);
      if (!__syncthreads_or(due)) continue;
      read_lanes<In0_0, 0, 32>(a.in0_0, a.control, cell, n, 16, f);
    }
    __syncthreads();
    each<1>(n, [&](int r, int lane) { softmax<21, 32, 32, false>(&f[lane + 672], &f[lane]); });
    __syncthreads();
    each<21>(n, [&](int r, int lane) { a.outputs[0][(size_t)r * 192 + start + lane] = f[672 + r * TILE + lane]; });
  }
}
#define FS_CALL FS_AFTER_OTHERS(island(a))

static_assert(sizeof(Args) == 80, "the struct is not what the host writes");
extern "C" __global__ void __launch_bounds__(256, 2) NAME(const __grid_constant__ Args a) { FS_CALL; }
FS_EXPORT(NAME, Args)
