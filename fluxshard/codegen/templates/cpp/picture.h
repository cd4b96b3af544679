// The image as the first layers read it: what an input cache has assembled, or this frame's own pixels.
struct Picture {
  elem* fresh;        // this frame's own pixels
  uint8_t *mask, *flags;
  uint8_t* blocks;    // of FS_BLOCK_H x FS_BLOCK_W pixels: 1 where `fresh` has been filled, while it is filled on demand
  const elem* fed;
  bool on_demand;
  elem values[256];   // of bytes
};

// Pixels [x0, x1) of a row of a planar image, as rows
template <int C, int STRIDE> static void take_floats(const float* image, const Grid& g, int y, int x0, int x1, elem* to) {
  const int cells = g.h * g.w;
  for (int p = y * g.w + x0, end = y * g.w + x1, n; p < end; p += n, to += n * STRIDE) {
    n = end - p >= 4 ? 4 : 1;
{% if t.dtype == "float32" %}
    read_pixels<C, STRIDE>(image, cells, p, n, to);
{% else %}
    float floats[4 * STRIDE];
    read_pixels<C, STRIDE>(image, cells, p, n, floats);
    narrow(floats, to, n * STRIDE);
{% endif %}
  }
}

// The same of bytes. Where STEP is given, pixels are that far apart and their channels side by side.
template <int C, int STRIDE, int STEP> FS_INLINE void take_bytes(const StepArgs& a, const elem* values, int y, int x0, int x1, elem* to) {
  const int64_t channel = STEP ? 1 : a.byte_steps[0], step = STEP ? STEP : a.byte_steps[2];
  const uint8_t* from = a.bytes + y * a.byte_steps[1] + x0 * step;
  if constexpr (sizeof(elem) == 2 && C == 3 && STRIDE == 4) {  // a pixel is one number
    for (int x = x0; x < x1; ++x, from += step, to += STRIDE) {
      const uint64_t pixel = (uint64_t)values[from[0]] | (uint64_t)values[from[channel]] << 16 | (uint64_t)values[from[2 * channel]] << 32;
      std::memcpy(to, &pixel, sizeof pixel);
    }
    return;
  }
  for (int x = x0; x < x1; ++x, from += step, to += STRIDE)
    for (int ch = 0; ch < STRIDE; ++ch) to[ch] = ch < C ? values[from[ch * channel]] : elem{};
}

template <int C, int STRIDE> static void take_run(const StepArgs& a, const Picture& q, const Grid& g, int y, int x0, int x1) {
  elem* to = q.fresh + ((size_t)y * g.w + x0) * STRIDE;
  if (!a.bytes) take_floats<C, STRIDE>(a.image, g, y, x0, x1, to);
  else if (a.byte_steps[0] == 1 && a.byte_steps[2] == C) take_bytes<C, STRIDE, C>(a, q.values, y, x0, x1, to);
  else take_bytes<C, STRIDE, 0>(a, q.values, y, x0, x1, to);
}

// S_0 of given pixels, to which those without a source are added. Returns its size.
static int64_t given_pixels(const Ctx& c, Picture& q) {
  const StepArgs& a = *c.a;
  const Grid& g = c.grids[0];
  const int cells = g.h * g.w;
  std::memcpy(q.mask, a.work[0], cells);
  for (int cy = 0; a.motion && cy * a.cell_px < g.h; ++cy)
    for (int cx = 0; cx * a.cell_px < g.w; ++cx) {
      const size_t cell = (size_t)cy * a.motion_columns + cx;
      const int y0 = cy * a.cell_px, y1 = y0 + a.cell_px < g.h ? y0 + a.cell_px : g.h;
      const int x0 = cx * a.cell_px, x1 = x0 + a.cell_px < g.w ? x0 + a.cell_px : g.w;
      const int dy = a.motion[2 * cell], dx = a.motion[2 * cell + 1];
      const bool known = a.motion_valid[cell];
      if (known && y0 - dy >= 0 && y1 - dy <= g.h && x0 - dx >= 0 && x1 - dx <= g.w) continue;
      for (int y = y0; y < y1; ++y)
        for (int x = x0; x < x1; ++x)
          q.mask[(size_t)y * g.w + x] |= !known || y - dy < 0 || y - dy >= g.h || x - dx < 0 || x - dx >= g.w;
    }
  int64_t count = 0;
  for (int y = 0; y < g.h; ++y) {
    int row = 0;
    for (int x = 0; x < g.w; ++x) row += q.mask[(size_t)y * g.w + x];
    count += row;
  }
  return count;
}

// Puts all pixels of this frame in order.
template <int C, int STRIDE> static void order_pixels(const Ctx& c, Picture& q) {
  const Grid& g = c.grids[0];
  parallel(c.a->threads, g.h, 0, [&](int y) { take_run<C, STRIDE>(*c.a, q, g, y, 0, g.w); });
}

// Takes the frame's input; where pixels may be put in order on demand, layers ask for theirs. Returns |S_0|.
template <int C, int STRIDE> static int64_t take_picture(const Ctx& c, Picture& q, bool on_demand) {
  const StepArgs& a = *c.a;
  const Grid& g = c.grids[0];
  const int cells = g.h * g.w;
  q.fed = q.fresh;
  if (a.fed) {
    q.fed = fed_rows(a.fed, q.fresh, (size_t)cells * STRIDE, a.threads);
    std::memcpy(q.mask, a.input_mask, cells);
    return a.input_cells;
  }
{% if t.dtype == "float32" %}
  if (a.bytes) std::memcpy(q.values, a.byte_values, sizeof q.values);
{% else %}
  if (a.bytes) narrow(a.byte_values, q.values, 256);
{% endif %}
  int64_t count = cells;
  if (c.key) std::memset(q.mask, 1, cells);
  else count = given_pixels(c, q);
  q.on_demand = on_demand && !c.key;
  if (q.on_demand) std::memset(q.blocks, 0, (size_t)((g.h + FS_BLOCK_H - 1) / FS_BLOCK_H) * ((g.w + FS_BLOCK_W - 1) / FS_BLOCK_W));
  else order_pixels<C, STRIDE>(c, q);
  return count;
}

// Puts the pixels in order that a layer's candidates read.
template <int C, int STRIDE> static void feed(const Work& w, Picture& q, const Axis& ay, const Axis& ax) {
  if (!q.on_demand) return;
  const Grid& g = w.x.grids[0];
  const int rows = (g.h + FS_BLOCK_H - 1) / FS_BLOCK_H, columns = (g.w + FS_BLOCK_W - 1) / FS_BLOCK_W;
  uint8_t wanted[columns];
  std::memset(wanted, 0, columns);
  auto end_row = [&](int y) {
    for (int k = 0; k < ay.taps; ++k)
      if (ay.tap[y * ay.taps + k] >= 0) {
        uint8_t* to = q.blocks + (size_t)(ay.tap[y * ay.taps + k] / FS_BLOCK_H) * columns;
        for (int x = 0; x < columns; ++x) to[x] = to[x] == 1 ? 1 : to[x] | wanted[x];  // 2: wanted
      }
    std::memset(wanted, 0, columns);
  };
  for (int y = 0, k = 0; k < w.n; ++y) {
    const int start = y * w.g.w, end = start + w.g.w;
    if (w.list[k] >= end) continue;
    while (k < w.n && w.list[k] < end) {
      const int x0 = w.list[k] - start;
      int x1 = x0 + 1;  // candidates [x0, x1) lie side by side
      for (++k; k < w.n && w.list[k] == start + x1 && x1 < w.g.w; ++k) ++x1;
      if (ax.shifts) {  // the window slides: what is read lies between the first tap and the last
        const int first = x0 * ax.in_step + ax.shifts[0], last = (x1 - 1) * ax.in_step + ax.shifts[ax.taps - 1];
        for (int b = (first < 0 ? 0 : first) / FS_BLOCK_W; b < columns && b * FS_BLOCK_W <= last; ++b) wanted[b] = 2;
        continue;
      }
      for (const int32_t *t = ax.tap + x0 * ax.taps, *to = ax.tap + x1 * ax.taps; t < to; ++t)
        if (*t >= 0) wanted[*t / FS_BLOCK_W] = 2;
    }
    end_row(y);
  }
  parallel(w.x.a->threads, rows, 4, [&](int i) {
    for (int j = 0; j < columns; ++j) {
      uint8_t& block = q.blocks[(size_t)i * columns + j];
      if (block != 2) continue;
      block = 1;
      const int y0 = FS_BLOCK_H * i, y1 = y0 + FS_BLOCK_H < g.h ? y0 + FS_BLOCK_H : g.h;
      const int x0 = FS_BLOCK_W * j, x1 = x0 + FS_BLOCK_W < g.w ? x0 + FS_BLOCK_W : g.w;
      for (int y = y0; y < y1; ++y) take_run<C, STRIDE>(*w.x.a, q, g, y, x0, x1);
    }
  });
}
