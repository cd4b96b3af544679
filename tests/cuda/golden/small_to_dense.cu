#define FS_TYPE 1
#define FS_MATH 0
// prelude.cuh

// frame.cuh


struct In {  // 1 segments
  static constexpr int SEGMENTS = 1, VEC = 8;
  static FS_DEVICE constexpr int start(int i) { constexpr int at[] = {0, 21}; return at[i]; }
  static FS_DEVICE constexpr int unit_start(int i) { constexpr int at[] = {0, 24}; return at[i]; }
  Seg segs[SEGMENTS];
};

typedef DenseArgs<In> Args;
#define FS_CALL FS_AFTER_OTHERS(to_dense<In, 21>(a))

static_assert(sizeof(Args) == 80, "the struct is not what the host writes");
extern "C" __global__ void __launch_bounds__(256, 2) NAME(const __grid_constant__ Args a) { FS_CALL; }
FS_EXPORT(NAME, Args)
