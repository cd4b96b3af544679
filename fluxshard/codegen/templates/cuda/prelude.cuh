// What every kernel needs: the stored type, 16-byte granules of it, and the instructions that C++ has no word for.
// Under FS_EMULATE the same names come from emulate.h and run on a processor without a GPU.
#ifdef FS_EMULATE
#include "emulate.h"
#else
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fc00000)
#define FS_SHARED(T, name) extern __shared__ __align__(16) unsigned char fs_dynamic[]; T* const name = reinterpret_cast<T*>(fs_dynamic)
#define FS_EXPORT(NAME, ARGS)

__device__ __forceinline__ unsigned fs_shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void fs_mma_f16(float c[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void fs_mma_bf16(float c[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif
#if __CUDA_ARCH__ >= 750
__device__ __forceinline__ void fs_mma8_f16(float c[4], const unsigned a[2], unsigned b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(b));
}
__device__ __forceinline__ void fs_ldmatrix4(unsigned r[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(fs_shared_address(row)) : "memory");
}
__device__ __forceinline__ void fs_ldmatrix2(unsigned r[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(fs_shared_address(row)) : "memory");
}
#endif

// Copies BYTES (4, 8 or 16) to shared memory, or zeros where row < 0; complete for this thread after fs_cp_wait.
template <int BYTES> __device__ __forceinline__ void fs_cp_async_row(void* shared, const void* global, int row) {
#if __CUDA_ARCH__ >= 800
  if constexpr (BYTES == 16)
    asm volatile("{.reg .pred p; setp.lt.s32 p, %2, 0; cp.async.cg.shared.global.L2::128B [%0], [%1], 16, p;}"
                 :: "r"(fs_shared_address(shared)), "l"(global), "r"(row) : "memory");
  else
    asm volatile("{.reg .pred p; setp.lt.s32 p, %3, 0; cp.async.ca.shared.global [%0], [%1], %2, p;}"
                 :: "r"(fs_shared_address(shared)), "l"(global), "n"(BYTES), "r"(row) : "memory");
#else
  if constexpr (BYTES == 16) *(uint4*)shared = row < 0 ? make_uint4(0, 0, 0, 0) : *(const uint4*)global;
  else if constexpr (BYTES == 8) *(uint2*)shared = row < 0 ? make_uint2(0, 0) : *(const uint2*)global;
  else *(unsigned*)shared = row < 0 ? 0u : *(const unsigned*)global;
#endif
}
template <int BYTES> __device__ __forceinline__ void fs_cp_async(void* shared, const void* global, bool valid) {
  fs_cp_async_row<BYTES>(shared, global, valid ? 0 : -1);
}
// Hides from the compiler what a pointer is made of, so that what is added to it stays one multiplication.
template <class P> __device__ __forceinline__ P* fs_opaque(P* p) {
  asm volatile("" : "+l"(p));
  return p;
}
__device__ __forceinline__ void fs_cp_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int N> __device__ __forceinline__ void fs_cp_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
#endif
}

// Kernels may begin before the one in front of them has ended ("programmatic dependent launch"): each waits before it
// reads or writes what others touch. What the kernel in front has waited for has ended as well.
__device__ __forceinline__ void fs_wait_for_kernels_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void fs_let_next_kernel_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ float fs_half_to_float(unsigned short h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
__device__ __forceinline__ unsigned short fs_float_to_half(float f) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
__device__ __forceinline__ float fs_bf16_to_float(unsigned short h) { return __uint_as_float((unsigned)h << 16); }
__device__ __forceinline__ unsigned short fs_float_to_bf16(float f) {
#if __CUDA_ARCH__ >= 800
  unsigned short h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
#else
  const unsigned u = __float_as_uint(f);
  return f != f ? 0x7fff : (unsigned short)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
#endif
}
#endif

#define FS_DEVICE __device__ __forceinline__
#define FS_AFTER_OTHERS(...) (fs_let_next_kernel_begin(), fs_wait_for_kernels_before(), __VA_ARGS__)

// The stored type: FS_TYPE is 0 for float32, 1 for float16, 2 for bfloat16.
#if FS_TYPE == 0
typedef float T;
FS_DEVICE float to_float(T v) { return v; }
FS_DEVICE T to_stored(float v) { return v; }
#elif FS_TYPE == 1
typedef unsigned short T;
FS_DEVICE float to_float(T v) { return fs_half_to_float(v); }
FS_DEVICE T to_stored(float v) { return fs_float_to_half(v); }
#else
typedef unsigned short T;
FS_DEVICE float to_float(T v) { return fs_bf16_to_float(v); }
FS_DEVICE T to_stored(float v) { return fs_float_to_bf16(v); }
#endif
constexpr int LANES = 16 / sizeof(T);  // of a granule: what one instruction copies; rows are whole granules

union Granule { uint4 q; T t[LANES]; };

// VEC consecutive stored numbers as floats; `from` is aligned to VEC of them
template <int VEC> FS_DEVICE void load_unit(const T* from, float* to) {
  if constexpr (VEC * sizeof(T) == 16) {
    Granule g;
    g.q = *(const uint4*)from;
    for (int i = 0; i < VEC; ++i) to[i] = to_float(g.t[i]);
  } else if constexpr (VEC * sizeof(T) == 8) {
    union { uint2 q; T t[VEC]; } g;
    g.q = *(const uint2*)from;
    for (int i = 0; i < VEC; ++i) to[i] = to_float(g.t[i]);
  } else {
    for (int i = 0; i < VEC; ++i) to[i] = to_float(from[i]);
  }
}

// ---- what a frame is given, and what kernels share

struct Control {          // written once a frame, mirrored by fluxshard/codegen/cuda/launches/control_block.py
  const float* image;     // (C, H, W)
  const int16_t* motion;  // (rows, columns, 2) input pixels (dy, dx), or null: nothing moved
  const uint8_t* motion_valid;
  int64_t scene_cut;      // most pixels that may change before the frame is run whole
  int32_t cell_px, motion_columns, keyframe, input_fresh, parity;
  float tau_input;
  const int32_t* motion_starts;  // per grid, the first of its cells in `motion`, or null: all move by the same
};

struct Field {            // displacement of every cell of a grid; nothing is read where it is still
  const int16_t *dy, *dx;
  const uint8_t* valid;
  const int32_t* src;     // flat source cell; 0 where invalid
  const int32_t* still;
};

struct Maps { int32_t *a, *b; };  // two slot maps that take turns: `parity` says which is the last frame's

FS_DEVICE const int32_t* old_map(const Maps& m, const Control* c) { return c->parity ? m.b : m.a; }
FS_DEVICE int32_t* new_map(const Maps& m, const Control* c) { return c->parity ? m.a : m.b; }

struct Seg {              // channels of a stored tensor as another tensor sees them; maps are null for the image
  const T* pool;          // rows, from the first channel seen
  Maps maps;
  int32_t stride, uy, ux, w;  // numbers between rows; nearest upsampling; width of the stored grid
};

FS_DEVICE const T* seg_row(const Seg& s, const int32_t* map, int y, int x) {
  const int cell = (s.uy | s.ux) == 1 ? y * s.w + x : (y / s.uy) * s.w + x / s.ux;
  return s.pool + (size_t)(map ? map[cell] : cell) * s.stride;
}
FS_DEVICE const T* seg_now(const Seg& s, const Control* c, int y, int x) { return seg_row(s, s.maps.a ? new_map(s.maps, c) : nullptr, y, x); }

// Channels [c, c + LANES) of the segments of IN, which stand one after another, in units of IN::VEC; zeros behind the last.
template <class IN> FS_DEVICE void load_lanes(const IN& in, const Control* control, int y, int x, int c, float* v) {
#pragma unroll
  for (int u = 0; u < LANES; u += IN::VEC) {
    const int ch = c + u;
    if (ch >= IN::start(IN::SEGMENTS)) {
      for (int i = 0; i < IN::VEC; ++i) v[u + i] = 0.0f;
      continue;
    }
#pragma unroll
    for (int s = 0; s < IN::SEGMENTS; ++s)
      if (ch >= IN::start(s) && ch < IN::start(s + 1)) load_unit<IN::VEC>(seg_now(in.segs[s], control, y, x) + (ch - IN::start(s)), v + u);
  }
}
