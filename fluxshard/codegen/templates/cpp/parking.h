// Numbers of N bytes as N planes, each of one byte of every number, and back. Bytes of a kind repeat: they pack better.
template <int N> static void split_bytes(const uint8_t* numbers, size_t n, uint8_t* planes) {
  for (size_t i = 0; i < n; ++i)
    for (int k = 0; k < N; ++k) planes[k * n + i] = numbers[N * i + k];
}

template <int N> static void join_bytes(uint8_t* numbers, size_t n, const uint8_t* planes) {
  for (size_t i = 0; i < n; ++i)
    for (int k = 0; k < N; ++k) numbers[N * i + k] = planes[k * n + i];
}

extern "C" void fs_split(const uint8_t* numbers, uint64_t n, uint8_t* planes) { split_bytes<sizeof(elem)>(numbers, n, planes); }
extern "C" void fs_join(uint8_t* numbers, uint64_t n, const uint8_t* planes) { join_bytes<sizeof(elem)>(numbers, n, planes); }
