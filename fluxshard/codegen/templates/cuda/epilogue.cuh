// What happens to a row after its raw values: act_after(act(row + bias) + residual), rounding to the stored type, the
// comparison with the remapped cached row, the row itself, and the layer's mask and slot map.

struct Out {
  const Control* control;
  const int32_t *key, *n;      // the frame is run whole; number of candidates
  const int32_t *list, *rows;  // candidate -> cell, row
  T* pool;
  Maps maps;
  uint8_t* mask;               // null: mask and map were decided before the layer, nothing is compared
  const float* tau;
  const uint64_t* work;        // where not zero, cells were given and nothing is compared; may be null
  Field field;
  const float *bias, *slope;   // padded to whole granules
  int32_t stride, w;           // numbers between rows; width of the grid
};

enum Act { NONE, RELU, RELU6, SILU, HARDSWISH, HARDSIGMOID, GELU, GELU_TANH, SIGMOID, TANH, MISH, PRELU, LEAKY_RELU, ELU, CLAMP };

#if FS_TYPE == 0
FS_DEVICE float exp_f(float x) { return expf(x); }
FS_DEVICE float divide(float a, float b) { return a / b; }
#else  // errors far below what the stored type resolves
FS_DEVICE float exp_f(float x) { return __expf(x); }
FS_DEVICE float divide(float a, float b) { return __fdividef(a, b); }
#endif
FS_DEVICE float clamp_f(float x, float low, float high) { x = x < low ? low : x; return x > high ? high : x; }  // NaN stays
FS_DEVICE float sigmoid_f(float x) { return divide(1.0f, 1.0f + exp_f(-x)); }

template <int A> FS_DEVICE float activate(float x, float slope, float p0, float p1) {
  if constexpr (A == RELU) return x < 0.0f ? 0.0f : x;
  else if constexpr (A == RELU6) return clamp_f(x, 0.0f, 6.0f);
  else if constexpr (A == SILU) return divide(x, 1.0f + exp_f(-x));
  else if constexpr (A == HARDSWISH) return x * clamp_f(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f);
  else if constexpr (A == HARDSIGMOID) return clamp_f(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f);
  else if constexpr (A == GELU) return x * 0.5f * (1.0f + erff(x * 0.70710678118654752f));
  else if constexpr (A == GELU_TANH) return x * 0.5f * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  else if constexpr (A == SIGMOID) return sigmoid_f(x);
  else if constexpr (A == TANH) return tanhf(x);
  else if constexpr (A == MISH) {  // x tanh(log(1 + e^x)) with e^x = e: e (e + 2) / (e (e + 2) + 2)
    const float e = exp_f(x > 20.0f ? 20.0f : x), n = e * (e + 2.0f);
    return x * divide(n, n + 2.0f);
  } else if constexpr (A == PRELU) return x < 0.0f ? x * slope : x;
  else if constexpr (A == LEAKY_RELU) return x < 0.0f ? x * p0 : x;
  else if constexpr (A == ELU) return x < 0.0f ? p0 * (exp_f(x) - 1.0f) : x;
  else if constexpr (A == CLAMP) return clamp_f(x, p0, p1);
  else return x;
}

// The remapped cached row of a cell, or -1 where a fresh one counts whatever it is.
FS_DEVICE int32_t cached_row(const Out& o, int p) {
  if (o.mask == nullptr || *o.key || (o.work && *o.work)) return -1;
  const int32_t* old = old_map(o.maps, o.control);
  if (*o.field.still) return old[p];
  return o.field.valid[p] ? old[o.field.src[p]] : -1;
}

FS_DEVICE void keep(const Out& o, int p, int row) {
  if (o.mask == nullptr) return;
  o.mask[p] = 1;
  new_map(o.maps, o.control)[p] = row;
}

// LANES numbers of a float32 vector, from a multiple of LANES
FS_DEVICE void load_vector(const float* from, float* to) {
#pragma unroll
  for (int i = 0; i < LANES; i += 4) {
    const float4 q = *(const float4*)(from + i);
    to[i] = q.x; to[i + 1] = q.y; to[i + 2] = q.z; to[i + 3] = q.w;
  }
}

// Finishes LANES channels from c of candidate k, cell p; v holds raw values. E says what the layer's epilogue is.
template <class E, class R> FS_DEVICE void finish(const Out& o, const R& residual, int p, int row, int32_t cached, int c, float* v) {
  float add[LANES];
  if constexpr (E::RESIDUAL) load_lanes(residual, o.control, p / o.w, p % o.w, c, add);
  float bias[LANES], slope[LANES];
  if constexpr (E::BIAS) load_vector(o.bias + c, bias);
  if constexpr (E::SLOPE) load_vector(o.slope + c, slope);
  Granule fresh;
  for (int i = 0; i < LANES; ++i) {
    float x = v[i];
    if constexpr (E::BIAS) x += bias[i];
    const float s = E::SLOPE ? slope[i] : 0.0f;
    x = activate<E::ACT>(x, s, E::number(0), E::number(1));
    if constexpr (E::RESIDUAL) x += add[i];
    x = activate<E::ACT_AFTER>(x, s, E::number(2), E::number(3));
    fresh.t[i] = c + i < E::CHANNELS ? to_stored(x) : T(0);
  }
  bool differs = cached < 0;
  if (!differs) {
    const float tau = *o.tau;
    Granule old;
    old.q = *(const uint4*)(o.pool + (size_t)cached * o.stride + c);
    for (int i = 0; i < LANES; ++i)
      if (c + i < E::CHANNELS) differs |= !(fabsf(to_float(fresh.t[i]) - to_float(old.t[i])) <= tau);
  }
  *(uint4*)(o.pool + (size_t)row * o.stride + c) = fresh.q;
  if (differs) keep(o, p, row);
}
