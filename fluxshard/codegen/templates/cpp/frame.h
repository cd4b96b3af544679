// One frame: what a step is given, what it leaves, and the bookkeeping around every layer.
typedef int (*IslandFn)(void* user, int island);

struct StepArgs {          // mirrored by fluxshard/codegen/cpp/library.py
  uint8_t* arena;          // the stream's state, FS_STATE_BYTES, 64-byte aligned
  const float* weights;    // packed, shared by all streams
  const float* image;      // (C, H, W), or null where the image is bytes
  const uint8_t* bytes;
  const float* byte_values;  // (256) what they stand for
  int64_t byte_steps[3];   // from channel to channel, row to row, pixel to pixel
  const int16_t* motion;   // (rows, columns, 2) input pixels (dy, dx), or null: nothing moved
  const uint8_t* motion_valid;
  const int16_t* const* grid_motion;       // per grid, in the place of `motion`, in cells of 8 px; or null: all move by it
  const uint8_t* const* grid_motion_valid;
  int32_t cell_px, motion_columns;
  int32_t keyframe, rfap /* 0 off, 1 compact, 2 per layer */, remap, threads;
  const float* fed;              // (H, W, channels in steps of 4) what an input cache assembled, or null: the image itself
  const uint8_t* input_mask;     // (H, W) S_0 of the input cache
  Field field;                   // displacement of the image's grid, of the input cache
  const float* tau;              // per layer
  const uint8_t* const* work;    // per grid: cells to recompute, or null; null: none at all
  float* const* outputs;         // per plan output that the program has, in order: on a grid (C, H, W); or null
  IslandFn island;
  void* user;
  int64_t input_cells;           // |S_0|: of the input cache, or out
  int64_t* candidates;           // out, per layer
  int64_t* changed;              // out, per layer
  int64_t total_ns, conv_ns, island_ns;  // out
};

struct Maps {              // two slot maps that take turns
  int32_t* map[2];
  int32_t* base;           // which of them the cache is; in the arena
};

struct Store {             // a tensor that is kept: two rows a cell
  elem* pool;
  Maps own;
  uint8_t *mask, *cand;
  uint8_t* shares;         // since the last keyframe all its work was given: it has the maps of its grid; in the arena
  int stride, channels, grid;
  int cur;                 // which map is this frame's
  bool any;                // the mask has a cell
  Maps maps;               // own, or the grid's
};

struct Mask { const uint8_t* cells; bool any; };

// What stores of one grid have in common while all work is given and nothing compared. The first layer of a frame, the
// leader, finds it out; the others take it over.
struct GridWork {
  Maps maps;
  int32_t *list, *rows;    // n cells, and their fresh rows
  const Store* leader;
  int n;
};

struct Ctx {
  const StepArgs* a;
  const Grid* grids;
  Field* fields;
  GridWork* works;        // per grid
  int32_t *list, *rows;   // scratch
  uint8_t* used;
  bool key;
  int64_t conv_ns, island_ns;
};

#include <time.h>
static inline int64_t now_ns() { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }

FS_INLINE Mask mask_of(const Store& s) { return {s.mask, s.any}; }
FS_INLINE Seg seg(const Store& s, int c0, int n, int uy, int ux, int w) { return {s.pool + c0, s.maps.map[s.cur], s.stride, n, uy, ux, w}; }
FS_INLINE Seg old_seg(const Store& s, int c0, int n, int uy, int ux, int w) { return {s.pool + c0, s.maps.map[*s.maps.base], s.stride, n, uy, ux, w}; }

// One layer on one frame: gathers candidates, remaps the cache, hands out rows, compares, counts.
struct Work {
  Ctx& x;
  Store& s;
  const Grid& g;
  const Field& f;
  int layer, cells, n = 0;
  int32_t *list, *rows;  // candidates, and their fresh rows
  bool forced, open;
  bool together = false;  // work, map and rows are those of the grid
  float tau;
  int64_t n_changed = 0;

  Work(Ctx& ctx, Store& store, int index)
      : x(ctx), s(store), g(ctx.grids[store.grid]), f(ctx.fields[store.grid]), layer(index), cells(g.h * g.w),
        list(ctx.list), rows(ctx.rows), forced(ctx.a->work && ctx.a->work[store.grid]), open(!ctx.key && !forced), tau(ctx.a->tau[index]) {
    if (open) std::memset(s.cand, 0, cells);
  }
  void through(Mask m, const Axis& ay, const Axis& ax) { if (open && m.any) spread(m.cells, s.cand, ay, ax); }
  void also(Mask m) { if (open && m.any) for (int p = 0; p < cells; ++p) s.cand[p] |= m.cells[p]; }
  void all_if(bool changed) { if (open && changed) std::memset(s.cand, 1, cells); }
  // Remaps the cache and lists the candidates; false where there is nothing to evaluate.
  bool begin() {
    GridWork& work = x.works[s.grid];
    together = x.key || (!open && *s.shares && x.a->remap);
    if (together) {
      if (x.key) s.maps = work.maps;
      *s.shares = 1;
      list = work.list, rows = work.rows;
      if (!work.leader) lead(work);
      n = work.n;
      s.cur = work.leader->cur;
      s.cand = s.mask = work.leader->cand;  // in this frame
      return n > 0;
    }
    if (*s.shares) {  // it goes its own way from here on
      std::memcpy(s.own.map[0], s.maps.map[*s.maps.base], (size_t)cells * 4);
      *s.own.base = 0;
      s.maps = s.own;
      *s.shares = 0;
    }
    if (!open) std::memcpy(s.cand, x.a->work[s.grid], cells);
    std::memset(s.mask, 0, cells);
    remap();
    return n > 0;
  }
  void lead(GridWork& work) {
    work.leader = &s;
    if (x.key) {
      s.cur = 1 - *s.maps.base;
      int32_t* map = s.maps.map[s.cur];
      for (int p = 0; p < cells; ++p) map[p] = list[p] = rows[p] = p;
      std::memset(s.cand, 1, cells);
      n = cells;
    } else {
      std::memcpy(s.cand, x.a->work[s.grid], cells);
      remap();
      int32_t* map = s.maps.map[s.cur];
      for (int k = 0; k < n; ++k) map[list[k]] = rows[k];
    }
    work.n = n;
  }
  void remap() {
    const int base = *s.maps.base;
    if (!f.still) for (int p = 0; p < cells; ++p) s.cand[p] |= !f.valid[p];
    n = compact(s.cand, cells, list);
    if (f.still && n == 0) { s.cur = base; return; }
    s.cur = 1 - base;
    const int32_t* old = s.maps.map[base];
    int32_t* map = s.maps.map[s.cur];
    if (f.still) std::memcpy(map, old, (size_t)cells * 4);
    else for (int p = 0; p < cells; ++p) map[p] = old[f.src[p]];
    if (n) free_rows(old, cells, x.used, rows, n);
  }
  elem* fresh(int k) const { return s.pool + (size_t)rows[k] * s.stride; }
  // the remapped cached row that a fresh one is compared with, or null where it counts whatever it is
  const elem* cached(int p) const {
    if (x.key || forced) return nullptr;
    const int32_t* old = s.maps.map[*s.maps.base];
    if (f.still) return s.pool + (size_t)old[p] * s.stride;
    return f.valid[p] ? s.pool + (size_t)old[f.src[p]] * s.stride : nullptr;
  }
  void keep(int k) const {
    if (together) return;  // begin() has kept all
    const int p = list[k];
    s.maps.map[s.cur][p] = rows[k];
    s.mask[p] = 1;
  }
  void done() {
    if (together) n_changed = n;
    else if (n) for (int p = 0; p < cells; ++p) n_changed += s.mask[p];
    s.any = n_changed > 0;
    x.a->candidates[layer] = n;
    x.a->changed[layer] = n_changed;
  }
};

// Does the same as the leader of a grid, and before the first layer, where all stores of the grid share its maps and nobody
// asks for its displacement field: of that only `still` is found.
static void move_maps(Ctx& x, Store& s, const int16_t* motion, const uint8_t* known) {
  const Grid& g = x.grids[s.grid];
  GridWork& work = x.works[s.grid];
  const int cells = g.h * g.w, base = *s.maps.base;
  const int32_t* old = s.maps.map[base];
  int32_t* map = s.maps.map[1 - base];
  const uint8_t* given = x.a->work[s.grid];
  const Moves moves{motion, known, x.a->cell_px, x.a->motion_columns};
  int first[g.w + 1], column[g.w];
  Samples samples{0, first, column};
  find_samples(samples, g, x.grids[0], moves.cell);
  std::atomic<bool> moving{false};
  parallel(cells > 20000 ? x.a->threads : 1, g.h, 0, [&](int i) {
    uint8_t* cand = s.cand + (size_t)i * g.w;
    int32_t* row = map + (size_t)i * g.w;
    std::memcpy(cand, given + (size_t)i * g.w, g.w);
    const bool some = each_run(g, x.grids[0], moves, samples, i, [&](int x0, int from, int to, int x1, int dy, int dx) {
      for (int p = x0; p < from; ++p) cand[p] = 1;
      for (int p = to; p < x1; ++p) cand[p] = 1;
      const int32_t* source = old + (ptrdiff_t)(i - dy) * g.w - dx;
      for (int p = from; p < to; ++p) row[p] = source[p];
    });
    if (some) moving.store(true, std::memory_order_relaxed);
  });
  Field& f = x.fields[s.grid];
  f.still = !moving.load(std::memory_order_relaxed);
  work.leader = &s;
  work.n = compact(s.cand, cells, work.list);
  s.cur = f.still && work.n == 0 ? base : 1 - base;
  if (work.n) free_rows(old, cells, x.used, work.rows, work.n);
  for (int k = 0; k < work.n; ++k) map[work.list[k]] = work.rows[k];
}

struct Epilogue {
  const float* bias;     // padded to whole vectors, or null
  const float* slope;
  float p0, p1, q0, q1;  // numbers of the two activations
  const Seg* residual;
  int n_residual;
};

// A row of several segments, gathered; or the row itself where there is one segment.
FS_INLINE const elem* tap_row(const Seg* in, int ns, int y, int x, elem* buffer) {
  if (ns == 1) return row_of(in[0], y, x);
  elem* b = buffer;
  for (int i = 0; i < ns; ++i) {
    std::memcpy(b, row_of(in[i], y, x), (size_t)in[i].n * sizeof(elem));
    b += in[i].n;
  }
  return buffer;
}

template <Act A, Act B> FS_INLINE vf finished(vf v, const Epilogue& e, int c, const elem* residual) {
  if (e.bias) v = v + load(e.bias + c);
  v = activate<A>(v, e.slope + c, e.p0, e.p1);
  if (residual) v = v + load(residual + c);
  return activate<B>(v, e.slope + c, e.q0, e.q1);
}

// bias, activation, residual, activation, comparison with the cached row, and the mask, for candidates [k0, k1)
template <int C, Act A, Act B> static void finish(const Work& w, const Epilogue& e, int k0, int k1, float* raw) {
  constexpr int FULL = C / FS_VL * FS_VL;
  elem gathered[C + FS_VL];
  vi lanes{};
  for (int i = 0; i < FS_VL; ++i) lanes[i] = FULL + i < C ? -1 : 0;
  const vf tau = splat(w.tau);
  if (w.x.key || w.forced) {  // nothing is compared
    for (int k = k0; k < k1; ++k) {
      elem* row = w.fresh(k);
      const float* values = raw_row(raw, w.s.stride, k - k0, row);
      const elem* residual = nullptr;
      if (e.n_residual) residual = tap_row(e.residual, e.n_residual, w.list[k] / w.g.w, w.list[k] % w.g.w, gathered);
      for (int c = 0; c < C; c += FS_VL) store(row + c, finished<A, B>(load(values + c), e, c, residual));
      w.keep(k);
    }
    return;
  }
  for (int k = k0; k < k1; ++k) {
    const int p = w.list[k];
    elem* row = w.fresh(k);
    const float* values = raw_row(raw, w.s.stride, k - k0, row);
    const elem* cached = w.cached(p);
    const elem* residual = e.n_residual ? tap_row(e.residual, e.n_residual, p / w.g.w, p % w.g.w, gathered) : nullptr;
    vi differs{};
    for (int c = 0; c < C; c += FS_VL) {
      const vf v = finished<A, B>(load(values + c), e, c, residual);
      store(row + c, v);
      if (cached) {
        vi d = ~(magnitude((NARROW ? load(row + c) : v) - load(cached + c)) <= tau);
        differs |= c < FULL ? d : d & lanes;
      }
    }
    if (!cached || any(differs)) w.keep(k);
  }
}
