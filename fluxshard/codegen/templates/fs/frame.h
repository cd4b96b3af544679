// What every part of a step sees: storages, views, grids, masks, and the loop over cells.
#pragma once
#include <omp.h>
#include <time.h>

#include "abi.h"
#include "vec.h"

namespace fs {

typedef uint8_t Mask; // 1: recompute

// Constants of one axis of a window; tables of its taps are filled by fs_init.
struct Window {
  int n_in, n_out, in_step, out_step;
  int taps;           // the most that a phase has
  int edge;           // 0 constant, 1 replicate, 2 reflect, 3 circular
  int margin;         // reach outside the input, if shifts of whole rows do; -1: only the table does
  const int* offsets; // (out_step, taps) raw; FS_ABSENT where a phase has fewer
  size_t table;       // arena offset of int32 (n_out, taps): input cell, or -1 where a constant is read
  size_t crosses;     // arena offset of uint8 (n_out): some raw tap is outside the input
};
constexpr int FS_ABSENT = 0x7fffffff;

struct Seg { // channels of a view that come from one storage
  int storage, offset, length;
  int up_y, up_x; // each row stands for up_y x up_x cells
};

struct View {
  const Seg* segs;
  int n_segs, channels;
};

struct Grid {
  int h, w, cells;
  int64_t num_y, den_y, num_x, den_x; // input pixels per cell
  size_t d, source, valid;            // arena: int32 packed (dy, dx), int32, uint8, all (cells)
  bool wanted;                        // something reads its tables
};

struct StorageSpec {
  int grid, channels, stride, w; // stride: floats from row to row
  size_t rows, maps[2], free, mask, candidates;
};

struct StateHeader {
  uint64_t magic;
  int32_t has_cache;
  int32_t image_buffer; // which of the two holds the cached input
};

struct StorageState { // in the arena, one per storage
  int32_t current;    // map that the next frame reads as old
  int32_t shown;      // map that the last frame assembled
  int32_t dirty;      // mask or candidates are not all zero
  int32_t reserved;
};

// During a frame.
struct Storage {
  float* rows;
  const float* old_rows; // the same, but for the image
  int stride, channels, w;
  int32_t* now;        // NULL: row = cell
  const int32_t* old;
  const int32_t* free; // rows that `old` does not refer to, ascending
  bool prepared;
};

struct Field { // displacement of one grid in this frame
  bool still;  // nothing moves, all valid: the tables are not filled
  const int32_t* d;
  const int32_t* source;
  const uint8_t* valid;
};

struct MaskRef {
  const Mask* m;
  bool any;
};

struct Frame {
  StepArgs* a;
  char* arena;
  const float* weights;
  const Grid* grids;
  const StorageSpec* specs;
  StorageState* states;
  Storage* st;
  Field* field;
  MaskRef* mask;        // per value
  int32_t* vector_changed; // per value off the grids
  int n_grids, n_storages, threads;
  bool keyframe;
  int32_t* list;      // candidates of the current layer
  float* shared;      // one block that threads share
  char* scratch;      // per thread
  size_t scratch_bytes;
  const Mask* compact; // flags on the image, or NULL
  bool* geo_done;
  int64_t conv_ns;

  template <class T> T* at(size_t offset) const { return (T*)(arena + offset); }
  char* mine() const { return scratch + scratch_bytes * omp_get_thread_num(); }
  const Mask* work(int grid) const { return a->work ? a->work[grid] : nullptr; }
};

inline int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

// Row of one segment at cell (y, x) of its view.
FS_INLINE const float* seg_row(const Frame& f, const Seg& s, int y, int x) {
  const Storage& st = f.st[s.storage];
  int cell = s.up_y * s.up_x == 1 ? y * st.w + x : (y / s.up_y) * st.w + x / s.up_x;
  return st.rows + (size_t)(st.now ? st.now[cell] : cell) * st.stride + s.offset;
}

// The same in the cache that the frame started from.
FS_INLINE const float* old_seg_row(const Frame& f, const Seg& s, int y, int x) {
  const Storage& st = f.st[s.storage];
  int cell = s.up_y * s.up_x == 1 ? y * st.w + x : (y / s.up_y) * st.w + x / s.up_x;
  return st.old_rows + (size_t)(st.old ? st.old[cell] : cell) * st.stride + s.offset;
}

// All channels of a view at a cell, one after another; `buffer` is used where they come from several storages.
FS_INLINE const float* view_row(const Frame& f, const View& v, int y, int x, float* buffer) {
  if (v.n_segs == 1) return seg_row(f, v.segs[0], y, x);
  float* to = buffer;
  for (int i = 0; i < v.n_segs; i++) {
    memcpy(to, seg_row(f, v.segs[i], y, x), sizeof(float) * v.segs[i].length);
    to += v.segs[i].length;
  }
  return buffer;
}

// Calls body(begin, end) for parts of [0, n) on all threads; serially if the work is worth no thread.
template <class Body> FS_INLINE void parallel(const Frame& f, int n, int64_t work, int part, const Body& body) {
  if (f.threads == 1 || work < 100000 || n <= part) {
    for (int i = 0; i < n; i += part) body(i, i + part < n ? i + part : n);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(f.threads)
  for (int i = 0; i < n; i += part) body(i, i + part < n ? i + part : n);
}

} // namespace fs
