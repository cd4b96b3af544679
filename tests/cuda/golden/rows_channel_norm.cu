#define FS_TYPE 0
#define FS_MATH 0
// prelude.cuh

// epilogue.cuh

// rows.cuh


struct Segments {  // 1 segments
  static constexpr int SEGMENTS = 1, VEC = 4;
  static FS_DEVICE constexpr int start(int i) { constexpr int at[] = {0, 21}; return at[i]; }
  static FS_DEVICE constexpr int unit_start(int i) { constexpr int at[] = {0, 24}; return at[i]; }
  Seg segs[SEGMENTS];
};


struct Others {  // 0 segments
  static constexpr int SEGMENTS = 0, VEC = 1;
  static FS_DEVICE constexpr int start(int) { return 0; }
  const void* none;
};


struct Added {  // 0 segments
  static constexpr int SEGMENTS = 0, VEC = 1;
  static FS_DEVICE constexpr int start(int) { return 0; }
  const void* none;
};


struct Finish {
  static constexpr int CHANNELS = 21, ACT = NONE, ACT_AFTER = NONE;
  static constexpr bool BIAS = 0, SLOPE = 0, RESIDUAL = 0;
  static FS_DEVICE float number(int i) { return i == 0 ? 0 : i == 1 ? 0 : i == 2 ? 0 : 0; }
};

struct Layer {
  using In = Segments;
  using Other = Others;
  using Residual = Added;
  using Epilogue = Finish;
  static constexpr int TAPS_Y = 1, TAPS_X = 1;
  static FS_DEVICE float eps() { return 0x1.0624de0000000p-10f; }
};
typedef RowArgs<Layer> Args;
#define FS_CALL FS_AFTER_OTHERS(channel_norm<Layer>(a))

static_assert(sizeof(Args) == 280, "the struct is not what the host writes");
extern "C" __global__ void __launch_bounds__(128, 2) NAME(const __grid_constant__ Args a) { FS_CALL; }
FS_EXPORT(NAME, Args)
