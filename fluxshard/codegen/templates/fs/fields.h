// Displacement fields: the motion of a frame, resampled to each grid. Same integers as fluxshard/runtime/fields.py.
#pragma once
#include "frame.h"

namespace fs {

FS_INLINE int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a ^ b) < 0); }

// Pixels to cells, rounded half up.
FS_INLINE int to_cells(int64_t m, int64_t num, int64_t den) { return (int)floor_div(2 * m * den + num, 2 * num); }

FS_INLINE int sample(int64_t cell, int64_t num, int64_t den, int pixels) {
  int64_t centre = (2 * cell + 1) * num / (2 * den);
  return (int)(centre < pixels - 1 ? centre : pixels - 1);
}

FS_INLINE int32_t pack(int dy, int dx) { return (int32_t)((uint32_t)dy << 16 | (uint16_t)dx); }
FS_INLINE int packed_y(int32_t d) { return d >> 16; }
FS_INLINE int packed_x(int32_t d) { return (int16_t)d; }

// True if no cell of the motion field moves or is invalid.
inline bool motion_is_still(const StepArgs& a) {
  if (!a.motion) return true;
  int n = a.motion_rows * a.motion_columns;
  for (int i = 0; i < 2 * n; i++)
    if (a.motion[i]) return false;
  return !a.motion_valid || !memchr(a.motion_valid, 0, n);
}

// Fills the tables of a grid; returns whether it is still. Runs of cells in one motion cell are filled at once.
inline bool build_field(const Frame& f, const Grid& g, const Grid& image, int32_t* column_of) {
  const StepArgs& a = *f.a;
  int32_t* d_out = f.at<int32_t>(g.d);
  int32_t* s_out = f.at<int32_t>(g.source);
  uint8_t* v_out = f.at<uint8_t>(g.valid);
  for (int x = 0; x < g.w; x++) column_of[x] = sample(x, g.num_x, g.den_x, image.w) / a.cell_px;
  bool still = true;
#pragma omp parallel for schedule(static) reduction(&& : still) num_threads(f.threads) if (g.cells > 16384)
  for (int y = 0; y < g.h; y++) {
    int row = sample(y, g.num_y, g.den_y, image.h) / a.cell_px;
    const int16_t* m = a.motion + (size_t)row * a.motion_columns * 2;
    const uint8_t* known = a.motion_valid ? a.motion_valid + (size_t)row * a.motion_columns : nullptr;
    int32_t* d = d_out + (size_t)y * g.w;
    int32_t* s = s_out + (size_t)y * g.w;
    uint8_t* v = v_out + (size_t)y * g.w;
    for (int x0 = 0; x0 < g.w;) {
      int c = column_of[x0], x1 = x0 + 1;
      while (x1 < g.w && column_of[x1] == c) x1++;
      int dy = to_cells(m[2 * c], g.num_y, g.den_y), dx = to_cells(m[2 * c + 1], g.num_x, g.den_x);
      int from = x0, to = x1; // cells whose source is on the grid
      if (dx > from) from = dx < x1 ? dx : x1;
      if (g.w + dx < to) to = g.w + dx > from ? g.w + dx : from;
      if ((known && !known[c]) || y - dy < 0 || y - dy >= g.h) from = to = x1;
      for (int x = x0; x < from; x++) d[x] = 0, s[x] = 0, v[x] = 0;
      int32_t both = pack(dy, dx), first = (y - dy) * g.w - dx;
      for (int x = from; x < to; x++) d[x] = both, s[x] = first + x, v[x] = 1;
      for (int x = to; x < x1; x++) d[x] = 0, s[x] = 0, v[x] = 0;
      if (from != x0 || to != x1 || both) still = false;
      x0 = x1;
    }
  }
  return still;
}

} // namespace fs
