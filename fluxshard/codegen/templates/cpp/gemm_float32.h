// A step of a sum takes one channel: packed weights are [Co / NB][tap][segment][channel][NB].
constexpr int TAKEN = 1;
typedef vf Taken;
FS_INLINE Taken weights_at(const float* p) { return load(p); }
FS_INLINE vf add_products(vf sum, Taken weights, const float* input) { return sum + weights * *input; }
FS_INLINE vf add_last(vf sum, Taken weights, const float* input) { return add_products(sum, weights, input); }
