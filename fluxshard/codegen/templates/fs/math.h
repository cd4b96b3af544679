// Activations on vectors, and exp, tanh and erf by polynomials (relative error below 1e-6).
#pragma once
#include "vec.h"

namespace fs {

// e^x = 2^n e^r with |r| <= ln(2)/2; Cephes' polynomial for e^r. Saturates where float32 would overflow or vanish.
FS_INLINE V exponential(V x) {
  x = at_most(at_least(x, -87.3f), 88.3f);
  V shifted = fma(x, all(1.44269504f), all(12582912.f)); // the magic number rounds to an integer in the low bits
  VI n = (VI)shifted;
  V whole = shifted - all(12582912.f);
  V r = fma(whole, all(-0.693359375f), x);
  r = fma(whole, all(2.12194440e-4f), r);
  V p = all(1.9875691500e-4f);
  p = fma(p, r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  p = fma(p, r * r, r) + all(1.f);
  return (V)((VI)p + (n << 23));
}

// what does not keep x in its result has to keep NaN itself
FS_INLINE V sigmoid(V x) { return select(x == x, all(1.f) / (all(1.f) + exponential(-x)), x); }

// Near 0 the odd series keeps the relative error small; elsewhere 1 - 2 / (e^2x + 1).
FS_INLINE V hyperbolic_tangent(V x) {
  V q = x * x;
  V p = all(-5.70498872745e-3f);
  p = fma(p, q, all(2.06390887954e-2f));
  p = fma(p, q, all(-5.37397155531e-2f));
  p = fma(p, q, all(1.33314422036e-1f));
  p = fma(p, q, all(-3.33332819422e-1f));
  V near = fma(p * q, x, x);
  V size = select(x < all(0.f), -x, x);
  V far = all(1.f) - all(2.f) / (exponential(size + size) + all(1.f));
  far = select(x < all(0.f), -far, far);
  return select(size < all(0.625f), near, select(x == x, far, x));
}

// Near 0 the Taylor series; elsewhere 1 - t e^(-x^2 + P(t)), t = 1 / (1 + x/2), the Chebyshev fit of Numerical Recipes 6.2.
FS_INLINE V error_function(V x) {
  V q = x * x;
  V p = all(-8.5483270e-4f);
  p = fma(p, q, all(5.2239776e-3f));
  p = fma(p, q, all(-2.6866171e-2f));
  p = fma(p, q, all(1.1283792e-1f));
  p = fma(p, q, all(-3.7612639e-1f));
  p = fma(p, q, all(1.1283792f));
  V near = p * x;
  V size = select(x < all(0.f), -x, x);
  V t = all(1.f) / fma(size, all(0.5f), all(1.f));
  V e = all(0.17087277f);
  e = fma(e, t, all(-0.82215223f));
  e = fma(e, t, all(1.48851587f));
  e = fma(e, t, all(-1.13520398f));
  e = fma(e, t, all(0.27886807f));
  e = fma(e, t, all(-0.18628806f));
  e = fma(e, t, all(0.09678418f));
  e = fma(e, t, all(0.37409196f));
  e = fma(e, t, all(1.00002368f));
  e = fma(e, t, all(-1.26551223f));
  V far = all(1.f) - t * exponential(e - q);
  far = select(x < all(0.f), -far, far);
  return select(size < all(0.5f), near, far);
}

// Every activation is called with the vector, its numbers a and b, and the slopes of these channels (PReLU).
struct ActNone {
  static FS_INLINE V call(V x, float, float, V) { return x; }
};
struct ActRelu {
  static FS_INLINE V call(V x, float, float, V) { return at_least(x, 0.f); }
};
struct ActRelu6 {
  static FS_INLINE V call(V x, float, float, V) { return at_most(at_least(x, 0.f), 6.f); }
};
struct ActSilu {
  static FS_INLINE V call(V x, float, float, V) { return x / (all(1.f) + exponential(-x)); }
};
struct ActHardswish {
  static FS_INLINE V call(V x, float, float, V) {
    return x * at_most(at_least(x + all(3.f), 0.f), 6.f) * all(1.f / 6.f);
  }
};
struct ActHardsigmoid {
  static FS_INLINE V call(V x, float, float, V) {
    return at_most(at_least(x + all(3.f), 0.f), 6.f) * all(1.f / 6.f);
  }
};
struct ActGelu {
  static FS_INLINE V call(V x, float, float, V) {
    return x * all(0.5f) * (all(1.f) + error_function(x * all(0.70710678f)));
  }
};
struct ActGeluTanh {
  static FS_INLINE V call(V x, float, float, V) {
    V inner = all(0.79788456f) * fma(x * x * x, all(0.044715f), x);
    return x * all(0.5f) * (all(1.f) + hyperbolic_tangent(inner));
  }
};
struct ActSigmoid {
  static FS_INLINE V call(V x, float, float, V) { return sigmoid(x); }
};
struct ActTanh {
  static FS_INLINE V call(V x, float, float, V) { return hyperbolic_tangent(x); }
};
struct ActMish { // tanh(log(1 + e)) = (e^2 + 2 e) / (e^2 + 2 e + 2), and 1 from 20 on
  static FS_INLINE V call(V x, float, float, V) {
    V e = exponential(at_most(x, 20.f));
    V n = e * (e + all(2.f));
    return x * (n / (n + all(2.f)));
  }
};
struct ActPrelu {
  static FS_INLINE V call(V x, float, float, V slope) { return select(x < all(0.f), x * slope, x); }
};
struct ActLeakyRelu {
  static FS_INLINE V call(V x, float a, float, V) { return select(x < all(0.f), x * all(a), x); }
};
struct ActElu {
  static FS_INLINE V call(V x, float a, float, V) {
    V e = (exponential(x) - all(1.f)) * all(a);
    return select(x < all(0.f), e, x);
  }
};
struct ActClamp {
  static FS_INLINE V call(V x, float a, float b, V) { return at_most(at_least(x, a), b); }
};

} // namespace fs
