// Features are stored as float32. What a layer computes lies in the row that is kept.
typedef float elem;
constexpr bool NARROW = false;

FS_INLINE float number(elem x) { return x; }
FS_INLINE void widen(const elem* from, float* to, size_t n) { std::memcpy(to, from, n * sizeof *to); }
// Where values of the i-th candidate of some are put before they are finished.
FS_INLINE float* raw_row(float*, int, int, elem* kept) { return kept; }
FS_INLINE const elem* fed_rows(const float* fed, elem*, size_t, int) { return fed; }
