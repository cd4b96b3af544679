// One frame: what a step is given, what it leaves, and the bookkeeping around every layer.
typedef int (*IslandFn)(void* user, int island);

struct StepArgs {          // mirrored by fluxshard/codegen/library.py
  uint8_t* arena;          // the stream's state, FS_STATE_BYTES, 64-byte aligned
  const float* weights;    // packed, shared by all streams
  const float* image;      // (C, H, W)
  const int16_t* motion;   // (rows, columns, 2) input pixels (dy, dx), or null: nothing moved
  const uint8_t* motion_valid;
  int32_t cell_px, motion_columns;
  int32_t keyframe, rfap /* 0 off, 1 compact, 2 per layer */, remap, input_fresh;
  float tau_input, scene_cut;
  const float* tau;              // per layer
  const uint8_t* const* work;    // per grid: cells to recompute, or null; null: none at all
  float* const* outputs;         // per plan output on a grid: (C, H, W), or null
  IslandFn island;
  void* user;
  int32_t threads;
  int32_t took_keyframe;         // out
  int64_t input_cells;           // out
  int64_t* candidates;           // out, per layer
  int64_t* changed;              // out, per layer
  int64_t total_ns, conv_ns, island_ns;  // out
};

struct Store {             // a tensor that is kept: two rows a cell, and two maps that take turns
  float* pool;
  int32_t* maps[2];
  uint8_t *mask, *cand;
  int32_t* base;           // which map the cache is; lives in the arena
  int stride, channels, grid;
  int cur;                 // which map is this frame's
  bool any;                // the mask has a cell
};

struct Mask { const uint8_t* cells; bool any; };

struct Ctx {
  const StepArgs* a;
  const Grid* grids;
  Field* fields;
  int32_t *list, *rows;   // scratch
  uint8_t* used;
  bool key;
  int64_t conv_ns, island_ns;
};

#include <time.h>
static inline int64_t now_ns() { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }

FS_INLINE Mask mask_of(const Store& s) { return {s.mask, s.any}; }
FS_INLINE Seg seg(const Store& s, int c0, int n, int uy, int ux, int w) { return {s.pool + c0, s.maps[s.cur], s.stride, n, uy, ux, w}; }
FS_INLINE Seg old_seg(const Store& s, int c0, int n, int uy, int ux, int w) { return {s.pool + c0, s.maps[*s.base], s.stride, n, uy, ux, w}; }

// One layer on one frame: gathers candidates, remaps the cache, hands out rows, compares, counts.
struct Work {
  Ctx& x;
  Store& s;
  const Grid& g;
  const Field& f;
  int layer, cells, n = 0;
  bool forced, open;
  float tau;
  int64_t n_changed = 0;

  Work(Ctx& ctx, Store& store, int index)
      : x(ctx), s(store), g(ctx.grids[store.grid]), f(ctx.fields[store.grid]), layer(index), cells(g.h * g.w),
        forced(ctx.a->work && ctx.a->work[store.grid]), open(!ctx.key && !forced), tau(ctx.a->tau[index]) {
    if (open) std::memset(s.cand, 0, cells);
    else if (!x.key) std::memcpy(s.cand, x.a->work[store.grid], cells);
  }
  void through(Mask m, const Axis& ay, const Axis& ax) { if (open && m.any) spread(m.cells, s.cand, ay, ax); }
  void also(Mask m) { if (open && m.any) for (int p = 0; p < cells; ++p) s.cand[p] |= m.cells[p]; }
  void all_if(bool changed) { if (open && changed) std::memset(s.cand, 1, cells); }
  // Remaps the cache and lists the candidates; false where there is nothing to evaluate.
  bool begin() {
    if (x.key) {
      s.cur = 1 - *s.base;
      int32_t* map = s.maps[s.cur];
      for (int p = 0; p < cells; ++p) map[p] = x.list[p] = x.rows[p] = p;
      std::memset(s.cand, 1, cells);
      std::memset(s.mask, 1, cells);
      n = cells;
      return true;
    }
    if (!f.still) for (int p = 0; p < cells; ++p) s.cand[p] |= !f.valid[p];
    n = compact(s.cand, cells, x.list);
    std::memset(s.mask, 0, cells);
    if (f.still && n == 0) { s.cur = *s.base; return false; }
    s.cur = 1 - *s.base;
    const int32_t* old = s.maps[*s.base];
    int32_t* map = s.maps[s.cur];
    if (f.still) std::memcpy(map, old, (size_t)cells * 4);
    else for (int p = 0; p < cells; ++p) map[p] = old[f.src[p]];
    if (n) free_rows(old, cells, x.used, x.rows, n);
    return n > 0;
  }
  float* fresh(int k) const { return s.pool + (size_t)x.rows[k] * s.stride; }
  // the remapped cached row that a fresh one is compared with, or null where it counts whatever it is
  const float* cached(int p) const {
    if (x.key || forced) return nullptr;
    if (f.still) return s.pool + (size_t)s.maps[*s.base][p] * s.stride;
    return f.valid[p] ? s.pool + (size_t)s.maps[*s.base][f.src[p]] * s.stride : nullptr;
  }
  void keep(int k) const { int p = x.list[k]; s.maps[s.cur][p] = x.rows[k]; s.mask[p] = 1; }
  void done() {
    if (x.key) n_changed = cells;
    else if (n) for (int p = 0; p < cells; ++p) n_changed += s.mask[p];
    s.any = n_changed > 0;
    x.a->candidates[layer] = n;
    x.a->changed[layer] = n_changed;
  }
};

struct Epilogue {
  const float* bias;     // padded to whole vectors, or null
  const float* slope;
  float p0, p1, q0, q1;  // numbers of the two activations
  const Seg* residual;
  int n_residual;
};

// A row of several segments, gathered; or the row itself where there is one segment.
FS_INLINE const float* tap_row(const Seg* in, int ns, int y, int x, float* buffer) {
  if (ns == 1) return row_of(in[0], y, x);
  float* b = buffer;
  for (int i = 0; i < ns; ++i) {
    std::memcpy(b, row_of(in[i], y, x), (size_t)in[i].n * 4);
    b += in[i].n;
  }
  return buffer;
}

// bias, activation, residual, activation, comparison with the cached row, and the mask, for candidates [k0, k1)
template <int C, Act A, Act B> static void finish(const Work& w, const Epilogue& e, int k0, int k1) {
  constexpr int FULL = C / FS_VL * FS_VL;
  float gathered[C + FS_VL];
  vi lanes{};
  for (int i = 0; i < FS_VL; ++i) lanes[i] = FULL + i < C ? -1 : 0;
  const vf tau = splat(w.tau);
  for (int k = k0; k < k1; ++k) {
    const int p = w.x.list[k];
    float* row = w.fresh(k);
    const float* cached = w.cached(p);
    const float* residual = e.n_residual ? tap_row(e.residual, e.n_residual, p / w.g.w, p % w.g.w, gathered) : nullptr;
    vi differs{};
    for (int c = 0; c < C; c += FS_VL) {
      vf v = load(row + c);
      if (e.bias) v = v + load(e.bias + c);
      v = activate<A>(v, e.slope + c, e.p0, e.p1);
      if (residual) v = v + load(residual + c);
      v = activate<B>(v, e.slope + c, e.q0, e.q1);
      store(row + c, v);
      if (cached) {
        vi d = ~(magnitude(v - load(cached + c)) <= tau);
        differs |= c < FULL ? d : d & lanes;
      }
    }
    if (!cached || any(differs)) w.keep(k);
  }
}
