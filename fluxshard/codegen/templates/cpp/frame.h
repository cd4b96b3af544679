// One frame: what a step is given, what it leaves, and the bookkeeping around every layer.
typedef int (*IslandFn)(void* user, int island);

struct StepArgs {          // mirrored by fluxshard/codegen/cpp/library.py
  uint8_t* arena;          // the stream's state, as long as fs_state_bytes(keeps) says, 64-byte aligned
  uint8_t* scratch;        // FS_SCRATCH_BYTES that this step has to itself, from fs_init, 64-byte aligned
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
  int32_t keeps;           // what the state holds: a Keep
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

enum Keep { GIVEN, ALL, UNMOVED };  // mirrored by fluxshard/ir/step_layout.py

struct Store {             // a tensor that is kept: a row a cell; two, where the cache is not moved
  elem* pool;
  int32_t* own_map;
  uint8_t *own_mask, *own_cand;
  int32_t* base;           // UNMOVED: the map of the cache
  elem* before;            // scratch: rows that the last frame left, cell by cell, where upsampling may ask for them; or null
  uint8_t* shares;         // since the last keyframe all its work was given: it has the map and masks of its grid; in the arena
  int stride, channels, grid;
  bool any;                // the mask has a cell
  int32_t* map;            // own, or the grid's
  uint8_t *mask, *cand;    // the same
};

struct Mask { const uint8_t* cells; bool any; };

// Candidates in tiles of 2x2 cells: those of tile t are order[first[t]] to order[first[t + 1] - 1], by rows. `n` < 0: not found yet.
struct Tiles { int32_t *order, *first; int n; };

// What stores of one grid have in common while all work is given and nothing compared. The first layer of a frame, the
// leader, finds it out; the others take it over.
struct GridWork {
  int32_t* map;
  uint8_t* cand;
  int32_t *list, *rows;    // n cells, and their fresh rows
  int32_t* old;            // the map as the last frame left it, where `led` and a map is moved or asked for
  uint8_t* used;           // a byte a row, and one more; two where the cache is not moved
  Tiles tiles;             // of the list
  bool led, moved;         // `moved`: before the first layer, and `old` is there
  int n;
};

struct Ctx {
  const StepArgs* a;
  const Grid* grids;
  Field* fields;
  GridWork* works;         // per grid
  int32_t *list, *rows, *pick, *old;  // scratch
  uint8_t* used;
  elem* fresh;             // rows of one layer
  bool key;
  bool looks_back;         // some mask is found by comparing values: what the last frame left is asked for
  int64_t conv_ns, island_ns;
};

#include <time.h>
static inline int64_t now_ns() { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000LL + t.tv_nsec; }

// Whether cells [cell, cell + n) of a grid may read other rows than they did, but for fresh ones.
FS_INLINE bool moves_in(const Field& f, const GridWork& work, int cell, int n) {
  if (f.still) return false;
  return !work.moved || std::memcmp(work.map + cell, work.old + cell, 4 * (size_t)n) != 0;
}

FS_INLINE Mask mask_of(const Store& s) { return {s.mask, s.any}; }
FS_INLINE Seg seg(const Store& s, int c0, int n, int uy, int ux, int w) { return {s.pool + c0, s.map, s.stride, n, uy, ux, w}; }
FS_INLINE Seg old_seg(const Store& s, int c0, int n, int uy, int ux, int w) { return {s.before + c0, nullptr, s.stride, n, uy, ux, w}; }

// One layer on one frame: gathers candidates, remaps the cache, hands out rows, compares, counts.
//
// A fresh row goes where no cell that keeps its value reads: so a row a cell is enough. Where fresh rows are compared with
// cached ones, they wait in scratch until it is known which of them are kept.
struct Work {
  Ctx& x;
  Store& s;
  const Grid& g;
  const Field& f;
  int layer, cells, n = 0;
  int32_t *list, *rows;    // candidates, and their fresh rows, counted from `to`
  elem* to;
  bool forced, open;
  bool together = false;   // work, map and rows are those of the grid
  bool alone = false;      // of an island: it never shares
  bool compares = false;
  float tau;
  int64_t n_changed = 0;

  Work(Ctx& ctx, Store& store, int index)
      : x(ctx), s(store), g(ctx.grids[store.grid]), f(ctx.fields[store.grid]), layer(index), cells(g.h * g.w),
        list(ctx.list), rows(ctx.rows), to(store.pool), forced(ctx.a->work && ctx.a->work[store.grid]),
        open(!ctx.key && !forced), tau(ctx.a->tau[index]) {
    if (open) std::memset(s.own_cand, 0, cells);
  }
  void through(Mask m, const Axis& ay, const Axis& ax) { if (open && m.any) spread(m.cells, s.own_cand, ay, ax); }
  void also(Mask m) { if (open && m.any) for (int p = 0; p < cells; ++p) s.own_cand[p] |= m.cells[p]; }
  void all_if(bool changed) { if (open && changed) std::memset(s.own_cand, 1, cells); }
  // Remaps the cache and lists the candidates; false where there is nothing to evaluate.
  bool begin() {
    GridWork& work = x.works[s.grid];
    together = !alone && (x.key || (!open && *s.shares && x.a->remap));
    if (together) {
      *s.shares = 1;
      s.map = work.map, s.mask = s.cand = work.cand;
      look_back(work.led ? work.old : work.map);
      if (!work.led) lead(work);
      list = work.list, rows = work.rows, n = work.n;
      return n > 0;
    }
    if (*s.shares) std::memcpy(s.own_map, work.map, (size_t)cells * 4);  // it goes its own way from here on
    if (*s.shares && x.a->keeps == UNMOVED) std::memcpy(s.base, work.map, (size_t)cells * 4);
    *s.shares = 0;
    s.map = s.own_map, s.mask = s.own_mask, s.cand = s.own_cand;
    if (x.key) {
      for (int p = 0; p < cells; ++p) s.map[p] = list[p] = rows[p] = p;
      std::memset(s.cand, 1, cells);
      std::memset(s.mask, 1, cells);
      n = cells;
      return true;
    }
    if (!open) std::memcpy(s.cand, x.a->work[s.grid], cells);
    add_invalid(s.cand);
    const bool moves = x.a->remap;
    look_back(moves ? s.map : s.base);
    n = compact(s.cand, cells, list);
    if (!moves) std::memcpy(x.old, s.base, (size_t)cells * 4);
    else if (!f.still) std::memcpy(x.old, s.map, (size_t)cells * 4);
    if (!moves && f.still) std::memcpy(s.map, x.old, (size_t)cells * 4);
    if (!f.still) move_map(s.map, x.old);
    compares = open;
    if (compares) {
      std::memset(s.mask, 0, cells);
      to = x.fresh;
      for (int k = 0; k < n; ++k) rows[k] = k;
    } else {
      std::memcpy(s.mask, s.cand, cells);
      place(n);
      for (int k = 0; k < n; ++k) s.map[list[k]] = rows[k];
    }
    return n > 0;
  }
  void lead(GridWork& work) {
    work.led = true;
    if (x.key) {
      for (int p = 0; p < cells; ++p) work.map[p] = work.list[p] = work.rows[p] = p;
      std::memset(work.cand, 1, cells);
      work.n = cells;
      return;
    }
    std::memcpy(work.cand, x.a->work[s.grid], cells);
    add_invalid(work.cand);
    work.n = compact(work.cand, cells, work.list);
    if (!f.still || x.looks_back) std::memcpy(work.old, work.map, (size_t)cells * 4);
    if (!f.still) move_map(work.map, work.old);
    rows = work.rows;
    place(work.n);
    for (int k = 0; k < work.n; ++k) work.map[work.list[k]] = rows[k];
  }
  void add_invalid(uint8_t* cand) const { if (!f.still) for (int p = 0; p < cells; ++p) cand[p] |= !f.valid[p]; }
  void move_map(int32_t* map, const int32_t* old) const { for (int p = 0; p < cells; ++p) map[p] = old[f.src[p]]; }
  // rows for `count` cells, which are those of the mask
  void place(int count) {
    if (!count) return;
    const bool both = x.a->keeps == UNMOVED;
    if (both && !x.a->remap) free_rows(s.base, nullptr, cells, 2 * cells, x.used, rows, count);
    else free_rows(s.map, s.mask, cells, both ? 2 * cells : cells, x.used, rows, count);
  }
  void look_back(const int32_t* old) const {
    if (!s.before || !x.looks_back) return;
    for (int p = 0; p < cells; ++p) std::memcpy(s.before + (size_t)p * s.stride, s.pool + (size_t)old[p] * s.stride, s.stride * sizeof(elem));
  }
  elem* fresh(int k) const { return to + (size_t)rows[k] * s.stride; }
  // the remapped cached row that a fresh one is compared with, or null where it counts whatever it is
  const elem* cached(int p) const { return f.still || f.valid[p] ? s.pool + (size_t)s.map[p] * s.stride : nullptr; }
  void keep(int k) const { if (compares) s.mask[list[k]] = 1; }
  void done() {
    if (!compares) n_changed = n;
    else if (n) settle();
    s.any = n_changed > 0;
    x.a->candidates[layer] = n;
    x.a->changed[layer] = n_changed;
  }
  // Rows that are kept leave scratch.
  void settle() {
    int32_t *const kept = x.pick, count = 0;
    for (int k = 0; k < n; ++k) { kept[count] = k; count += s.mask[list[k]]; }
    place(count);
    for (int i = 0; i < count; ++i) s.map[list[kept[i]]] = rows[i];
    constexpr int PART = 128;
    parallel((size_t)count * s.stride > 60000 ? x.a->threads : 1, (count + PART - 1) / PART, 1, [&](int part) {
      for (int i = part * PART; i < count && i < (part + 1) * PART; ++i)
        std::memcpy(s.pool + (size_t)rows[i] * s.stride, x.fresh + (size_t)kept[i] * s.stride, s.stride * sizeof(elem));
    });
    n_changed = count;
  }
};

// Does the same as `Work::lead`, and before the first layer, where all stores of the grid share its map and nobody asks for its
// displacement field: of that only `still` is found. Grids are moved at the same time.
static void move_maps(Ctx& x, int grid, const int16_t* motion, const uint8_t* known) {
  const Grid& g = x.grids[grid];
  GridWork& work = x.works[grid];
  const int cells = g.h * g.w;
  const uint8_t* given = x.a->work[grid];
  const Moves moves{motion, known, x.a->cell_px, x.a->motion_columns};
  int first[g.w + 1], column[g.w];
  Samples samples{0, first, column};
  find_samples(samples, g, x.grids[0], moves.cell);
  std::memcpy(work.old, work.map, (size_t)cells * 4);
  std::atomic<bool> moving{false};
  parallel(cells > 20000 ? x.a->threads : 1, g.h, 0, [&](int i) {
    uint8_t* cand = work.cand + (size_t)i * g.w;
    int32_t* row = work.map + (size_t)i * g.w;
    std::memcpy(cand, given + (size_t)i * g.w, g.w);
    const bool some = each_run(g, x.grids[0], moves, samples, i, [&](int x0, int from, int to, int x1, int dy, int dx) {
      for (int p = x0; p < from; ++p) cand[p] = 1;
      for (int p = to; p < x1; ++p) cand[p] = 1;
      const int32_t* source = work.old + (ptrdiff_t)(i - dy) * g.w - dx;
      for (int p = from; p < to; ++p) row[p] = source[p];
    });
    if (some) moving.store(true, std::memory_order_relaxed);
  });
  x.fields[grid].still = !moving.load(std::memory_order_relaxed);
  work.led = work.moved = true;
  work.n = compact(work.cand, cells, work.list);
  if (work.n) free_rows(work.map, work.cand, cells, x.a->keeps == UNMOVED ? 2 * cells : cells, work.used, work.rows, work.n);
  for (int k = 0; k < work.n; ++k) work.map[work.list[k]] = work.rows[k];
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
  if (!w.compares) {
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
