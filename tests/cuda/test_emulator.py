"""The emulator: threads, warps, numbers, tensor cores and asynchronous copies, as on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fluxshard.codegen.cuda.emulate.compiler import Order
from fluxshard.errors import KernelError
from tests.cuda.emulated import ORDERS, REDUCE, Builder, pack

pytestmark = pytest.mark.requires_compiler


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


# ---- threads and blocks


def test_a_grid_stride_loop_visits_everything_once(build: Builder) -> None:
    kernel = build(
        "int *visits, *who; int n;",
        """
        for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < a.n; i += gridDim.x * blockDim.x) {
          atomicAdd(a.visits + i, 1);
          a.who[i] = blockIdx.x * 1000000 + blockDim.x * 1000 + threadIdx.x + threadIdx.y + blockIdx.z + warpSize - 32;
        }""",
    )
    for blocks, threads, n in ((1, 32, 1000), (7, 96, 5000), (300, 64, 1000), (2, 1024, 5000)):
        visits, who = np.zeros(n, np.int32), np.zeros(n, np.int32)
        kernel.launch(blocks, threads, 0, pack(visits, who, n))
        at = np.arange(n)
        assert (visits == 1).all()
        assert (who == at // threads % blocks * 1000000 + threads * 1000 + at % threads).all()


@pytest.mark.parametrize("flags", [(), ("-DFS_EMULATE_UCONTEXT",)], ids=["switch", "ucontext"])
def test_votes_and_shuffles(build: Builder, rng: np.random.Generator, flags: tuple[str, ...]) -> None:
    kernel = build(
        "const int* v; int* out; int n;",
        """
        const int t = threadIdx.x, lane = t & 31, v = a.v[t];
        const float f = __int_as_float(v);
        int* o = a.out + t;
        const auto put = [&](int r) { *o = r; o += a.n; };
        put(__ballot_sync(0xffffffffu, v & 1)); put(__any_sync(~0u, v % 19 == 0)); put(__all_sync(~0u, v % 50 != 7));
        put(__shfl_sync(~0u, v, 5)); put(__shfl_sync(~0u, v, lane * 7 % 32)); put(__shfl_xor_sync(~0u, v, 9));
        put(__shfl_up_sync(~0u, v, 3)); put(__shfl_down_sync(~0u, (unsigned)v, 30)); __syncwarp();
        put(__float_as_int(__shfl_xor_sync(~0u, f, 16))); put(__shfl_up_sync(~0u, v, 0));
        put(__syncthreads_or(v % 97 == 0)); put(__syncthreads_count(v & 1)); put(__syncthreads_and(v % 50 != 7));
        __syncthreads();""",
        flags=flags,
    )
    n = 128
    lanes, base = np.arange(n) % 32, np.arange(n) // 32 * 32
    for _ in range(5):
        v = rng.integers(0, 1 << 20, n).astype(np.int32)
        out = np.zeros((13, n), np.int32)
        kernel.launch(1, n, 0, pack(v, out, n))
        warps = v.reshape(-1, 32)
        each = lambda r: np.repeat(np.asarray(r), 32)  # noqa: E731
        ballot = ((warps & 1).astype(np.uint32) << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)
        expected = [
            each(ballot.view(np.int32)), each((warps % 19 == 0).any(1)), each((warps % 50 != 7).all(1)), v[base + 5],
            v[base + lanes * 7 % 32], v[base + (lanes ^ 9)], v[base + np.where(lanes < 3, lanes, lanes - 3)],
            v[base + np.where(lanes + 30 > 31, lanes, lanes + 30)], v[base + (lanes ^ 16)], v,
            np.full(n, (v % 97 == 0).any()), np.full(n, (v & 1).sum()), np.full(n, (v % 50 != 7).all()),
        ]  # fmt: skip
        assert (out == np.array(expected)).all(1).all(), (out == np.array(expected)).all(1)


@pytest.mark.parametrize("order", ORDERS)
def test_a_reduction_through_static_shared_memory(build: Builder, rng: np.random.Generator, order: Order) -> None:
    kernel = build("const int* v; int* out; int n;", REDUCE, order=order)
    v, out = rng.integers(-1000, 1000, (40, 777)).astype(np.int32), np.zeros(40, np.int32)
    kernel.launch(40, 256, 0, pack(v, out, 777))
    assert (out == v.sum(1)).all()


def test_stream_compaction(build: Builder, rng: np.random.Generator) -> None:
    kernel = build(
        "const unsigned char* keep; int *out, *count; int n;",
        """
        FS_SHARED(int, total);
        __shared__ int base;
        const int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31, w = threadIdx.x >> 5;
        const bool keep = i < a.n && a.keep[i];
        const unsigned vote = __ballot_sync(~0u, keep);
        if (lane == 0) total[w] = __popc(vote);
        __syncthreads();
        if (threadIdx.x == 0) {
          int sum = 0;
          for (int k = 0; k < blockDim.x / 32; ++k) { const int t = total[k]; total[k] = sum; sum += t; }
          base = atomicAdd(a.count, sum);
        }
        __syncthreads();
        if (keep) a.out[base + total[w] + __popc(vote & ((1u << lane) - 1))] = i;""",
    )
    n = 20_000
    keep, out, count = (rng.random(n) < 0.3).astype(np.uint8), np.full(n, -1, np.int32), np.zeros(1, np.int32)
    kernel.launch(-(-n // 256), 256, 32, pack(keep, out, count, n))
    assert (np.sort(out[: count[0]]) == np.flatnonzero(keep)).all()
    assert (out[count[0] :] == -1).all()


def test_atomics_of_many_blocks(build: Builder) -> None:
    kernel = build(
        "int* i; unsigned* u; unsigned long long* l; float* f;",
        """
        const int t = blockIdx.x * blockDim.x + threadIdx.x;
        atomicAdd(a.i, t); atomicAdd(a.u, 3u); atomicAdd(a.l, (uint64_t)1 << 33); atomicAdd(a.f, 0.5f);
        atomicMax(a.i + 1, t); atomicMin(a.i + 2, -t);
        atomicOr(a.i + 3, 1 << t % 31); atomicAnd(a.i + 4, ~(1 << t % 31));
        atomicMax(a.u + 1, 4000000000u + t); atomicMin(a.u + 2, 4000000000u - t);
        atomicOr(a.u + 3, 1u << 31); atomicAnd(a.u + 4, 1u);
        const int got = atomicExch(a.i + 5, t);
        if (got >= 0) atomicAdd(a.i + 6, got);
        for (int seen = a.i[7], old; (old = atomicCAS(a.i + 7, seen, seen + 2)) != seen;) seen = old;
        __threadfence(); __threadfence_block();""",
    )
    n = 200 * 64
    i, u = np.array([0, 0, 0, 0, -1, -1, 0, 0], np.int32), np.array([0, 0, 2**32 - 1, 0, 5], np.uint32)
    l, f = np.zeros(1, np.uint64), np.zeros(1, np.float32)
    kernel.launch(200, 64, 0, pack(i, u, l, f))
    assert i[:5].tolist() == [n * (n - 1) // 2, n - 1, 1 - n, 2**31 - 1, -(2**31)]
    assert i[5] + i[6] == n * (n - 1) // 2
    assert i[7] == 2 * n
    assert u.tolist() == [3 * n, 4_000_000_000 + n - 1, 4_000_000_000 - n + 1, 1 << 31, 1]
    assert l[0] == n << 33
    assert f[0] == n / 2


# ---- numbers


def test_conversions_of_every_half_and_of_many_floats(build: Builder, rng: np.random.Generator) -> None:
    widen = build(
        "float *half, *bf16;",
        """
        for (int i = threadIdx.x; i < 65536; i += blockDim.x) {
          a.half[i] = fs_half_to_float(i);
          a.bf16[i] = fs_bf16_to_float(i);
        }""",
    )
    half, bf16 = np.zeros(65536, np.float32), np.zeros(65536, np.float32)
    widen.launch(1, 64, 0, pack(half, bf16))
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(half, every.view(np.float16).astype(np.float32), equal_nan=True)
    assert np.array_equal(bf16, (every.astype(np.uint32) << 16).view(np.float32), equal_nan=True)
    assert (np.signbit(half) == (every >> 15)).all()

    narrow = build(
        "const float* v; unsigned short *half, *bf16; int n;",
        """
        for (int i = threadIdx.x; i < a.n; i += blockDim.x) {
          a.half[i] = fs_float_to_half(a.v[i]);
          a.bf16[i] = fs_float_to_bf16(a.v[i]);
        }""",
    )
    finite = half[np.isfinite(half)]
    ties = np.concatenate([(finite[:-1] + finite[1:]) / 2, finite])  # and numbers next to them
    ties = np.concatenate([ties, np.nextafter(ties, np.float32(9e9)), np.nextafter(ties, np.float32(-9e9))])
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    spread = (rng.standard_normal(100_000) * 10.0 ** rng.integers(-9, 6, 100_000)).astype(np.float32)
    special = np.array(
        [65504, 65519.99, 65520, 65536, 2**-24, 2**-25, 2**-26, np.inf, -np.inf, np.nan, -0.0], np.float32
    )
    v = np.concatenate([half, bf16, ties, bits, spread, special])
    got_half, got_bf16 = np.zeros(v.size, np.uint16), np.zeros(v.size, np.uint16)
    narrow.launch(1, 64, 0, pack(v, got_half, got_bf16, v.size))
    nan = np.isnan(v)
    for got, dtype in ((got_half, torch.float16), (got_bf16, torch.bfloat16)):
        expected = torch.from_numpy(v).to(dtype)
        assert (got[~nan] == expected.view(torch.int16).numpy().view(np.uint16)[~nan]).all()
        assert torch.from_numpy(got[nan].view(np.int16)).view(dtype).isnan().all()


def test_functions_of_one_number(build: Builder, rng: np.random.Generator) -> None:
    names = (
        "sqrtf",
        "rsqrtf",
        "expf",
        "__expf",
        "logf",
        "log1pf",
        "erff",
        "tanhf",
        "floorf",
        "rintf",
        "fabsf",
        "__frcp_rn",
    )
    lines = "".join(f"a.out[{i} * a.n + t] = {name}(v);" for i, name in enumerate(names))
    kernel = build(
        "const float* v; float* out; int* bits; int n;",
        f"""
        const int t = threadIdx.x;
        const float v = a.v[t];
        const unsigned u = __float_as_uint(v);
        {lines}
        int* o = a.bits + t;
        const auto put = [&](int r) {{ *o = r; o += a.n; }};
        put(__popc(u)); put(__popcll((uint64_t)u << 20 | u));
        put(__ffs(u)); put(__ffs(0)); put(__clz(u)); put(__clz(0)); put(__brev(u));
        put(min((int)u, 5)); put(max(u, 5u)); put((int)min((int64_t)u << 8, (int64_t)1 << 36) >> 4);
        put(isnan(v) + 2 * isnan(NAN) + 4 * isinf(-INFINITY)); put(fmaf(v, 2.0f, 1.0f) == v * 2.0f + 1.0f);
        put(fminf(NAN, v) == v && fmaxf(v, NAN) == v && min(v, -1.0f) == -1.0f && max(NAN, NAN) != 0.0f);
        put(make_float4(1, 2, v, 4).z == v && make_ushort4(1, 2, 3, 4).w == 4);
        put(__uint_as_float(u) == v && __fdividef(v, v) == 1.0f);
        float4 copy; __stcg(&copy, __ldcg((const float4*)(a.v + t / 4 * 4))); put(copy.x == __ldg(a.v + t / 4 * 4));""",
    )
    n = 256
    v = (rng.random(n) * 9 + 0.01).astype(np.float32)
    out, bits = np.zeros((len(names), n), np.float32), np.zeros((16, n), np.int32)
    kernel.launch(1, n, 0, pack(v, out, bits, n))
    x = torch.from_numpy(v).double()
    expected = [
        x.sqrt(),
        x.rsqrt(),
        x.exp(),
        x.exp(),
        x.log(),
        x.log1p(),
        x.erf(),
        x.tanh(),
        x.floor(),
        x.round(),
        x,
        1 / x,
    ]
    np.testing.assert_allclose(out, torch.stack(expected).numpy(), rtol=3e-7, atol=1e-7)
    u = [int(w) for w in v.view(np.uint32)]
    assert bits[0].tolist() == [w.bit_count() for w in u]
    assert bits[1].tolist() == [(w << 20 | w).bit_count() for w in u]
    assert bits[2].tolist() == [(w & -w).bit_length() for w in u]
    assert (bits[3] == 0).all() and (bits[5] == 32).all()
    assert bits[4].tolist() == [32 - w.bit_length() for w in u]
    assert bits[6].view(np.uint32).tolist() == [int(f"{w:032b}"[::-1], 2) for w in u]
    assert (bits[7] == 5).all() and bits[8].tolist() == u
    assert (bits[10] == 6).all() and bits[11:].all()


# ---- tensor cores

A_LANES = """
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const auto pair = [&](const unsigned short* m, int r, int c, int stride) {
    return m[r * stride + c] | (unsigned)m[r * stride + c + 1] << 16;
  };
"""


@pytest.mark.parametrize("kind", ["f16", "bf16", "f16_k8"])
def test_mma_by_the_layout_of_its_fragments(build: Builder, rng: np.random.Generator, kind: str) -> None:
    k, dtype = (8 if kind == "f16_k8" else 16), (torch.bfloat16 if kind == "bf16" else torch.float16)
    call = "fs_mma8_f16(c, fa, fb[0])" if k == 8 else f"fs_mma_{kind}(c, fa, fb)"
    kernel = build(
        "const unsigned short *a, *b; float* c;",  # b is transposed: a row for each column
        f"""{A_LANES}
        unsigned fa[4], fb[2];
        for (int i = 0; i < {k} / 4; ++i) fa[i] = pair(a.a, g + i % 2 * 8, 2 * t + i / 2 * 8, {k});
        for (int i = 0; i < {k} / 8; ++i) fb[i] = pair(a.b, g, 2 * t + i * 8, {k});
        float c[4];
        for (int i = 0; i < 4; ++i) c[i] = a.c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
        {call};
        for (int i = 0; i < 4; ++i) a.c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = c[i];""",
    )
    for scale in (1.0, 1e-6, 1e3):  # subnormal halves; sums that round
        a, b = (torch.from_numpy(rng.standard_normal((r, k)) * scale).to(dtype) for r in (16, 8))
        if scale == 1e3:
            a[3, 1], a[5, 2], b[2, 4] = float("inf"), float("nan"), float("-inf")
        c = rng.standard_normal((16, 8)).astype(np.float32)
        fa, fb, expected = a.float().numpy(), b.float().numpy(), c.copy()
        with np.errstate(invalid="ignore"):
            for i in range(k):
                expected += fa[:, i, None] * fb[None, :, i]
        raw = [m.view(torch.int16).numpy() for m in (a, b)]
        kernel.launch(1, 32, 0, pack(*raw, c))
        assert np.array_equal(c, expected, equal_nan=True)


def test_a_product_of_tiles_through_ldmatrix(build: Builder, rng: np.random.Generator) -> None:
    kernel = build(
        "const unsigned short *a, *b; float* c; int k;",
        """
        FS_SHARED(unsigned short, tile_a);
        unsigned short* const tile_b = tile_a + 16 * 24;  // rows of 16 halves, padded to 24
        const int lane = threadIdx.x;
        float c[4] = {0, 0, 0, 0};
        for (int k0 = 0; k0 < a.k; k0 += 16) {
          fs_cp_async<16>(tile_a + lane / 2 * 24 + lane % 2 * 8, a.a + lane / 2 * a.k + k0 + lane % 2 * 8, true);
          if (lane < 16)
            fs_cp_async<16>(tile_b + lane / 2 * 24 + lane % 2 * 8, a.b + lane / 2 * a.k + k0 + lane % 2 * 8, true);
          fs_cp_commit();
          fs_cp_wait<0>();
          __syncwarp();
          unsigned fa[4], fb[2];
          fs_ldmatrix4(fa, tile_a + (lane % 8 + lane / 8 % 2 * 8) * 24 + lane / 16 * 8);
          fs_ldmatrix2(fb, lane < 16 ? tile_b + lane % 8 * 24 + lane / 8 * 8 : nullptr);
          fs_mma_f16(c, fa, fb);
          __syncwarp();
        }
        for (int i = 0; i < 4; ++i) a.c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];""",
    )
    a, b = (rng.standard_normal((rows, 96)).astype(np.float16) for rows in (16, 8))
    c = np.zeros((16, 8), np.float32)
    kernel.launch(1, 32, 24 * 24 * 2, pack(a, b, c, 96))
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64).T, rtol=0, atol=1e-5)


# ---- asynchronous copies

PIPELINE = """
  FS_SHARED(float4, ring);
  const int t = threadIdx.x, n = blockDim.x, other = (t + 33) % n;
  for (int i = 0; i < 2; ++i) {
    fs_cp_async<16>(ring + i * n + t, a.v + i * n + t, i < a.steps);
    fs_cp_commit();
  }
  float sum = 0.0f;
  for (int step = 0; step < a.steps; ++step) {
    WAIT
    SYNC
    const int ahead = step + 2;
    fs_cp_async<16>(ring + ahead % STAGES * n + t, a.v + ahead * n + t, ahead < a.steps);
    fs_cp_commit();
    const float4 x = ring[step % STAGES * n + other];
    sum += x.x + 2.0f * x.y + 3.0f * x.z + 4.0f * x.w;
  }
  fs_cp_wait<0>();
  a.out[t] = sum;"""
GOOD = {"WAIT": "fs_cp_wait<1>();", "SYNC": "__syncthreads();", "STAGES": "3"}
WRONG = {"no wait": {"WAIT": ""}, "waits too little": {"WAIT": "fs_cp_wait<2>();"}, "no barrier": {"SYNC": ""}}
WRONG["a stage that is still read"] = {"STAGES": "2"}


@pytest.mark.parametrize("wrong", [None, *WRONG])
def test_a_pipeline_of_copies(build: Builder, rng: np.random.Generator, wrong: str | None) -> None:
    body = PIPELINE
    for word, text in (GOOD | (WRONG[wrong] if wrong else {})).items():
        body = body.replace(word, text)
    steps, threads = 7, 96
    v, out = rng.integers(-9, 9, (steps, threads, 4)).astype(np.float32), np.zeros(threads, np.float32)
    expected = np.roll((v * [1, 2, 3, 4]).sum((0, 2)), -33)
    for order in ORDERS if wrong is None else ("alternate",):
        kernel = build("const float4* v; float* out; int steps;", body, order=order)
        kernel.launch(1, threads, 3 * threads * 16, pack(v, out, steps))
        assert (out == expected).all() == (wrong is None)


COPIES = """
  FS_SHARED(char, s);
  const int t = threadIdx.x;
  const auto finish = [] { fs_cp_commit(); fs_cp_wait<0>(); __syncthreads(); };
  switch (a.mode) {
    case 0: fs_cp_async<4>(s + t * 4, a.v + t, t % 3 > 0); finish(); a.out[t] = *(int*)(s + t * 4); break;
    case 1:
      if (t < 16) fs_cp_async<8>(s + t * 8, t % 2 ? a.v + 2 * t : nullptr, t % 2);
      finish();
      a.out[t] = *(int*)(s + t * 4);
      break;
    case 2: fs_cp_async<8>(s + t * 4, a.v, true); finish(); break;
    case 3: fs_cp_async<16>(s + t * 16, a.v + 1, true); finish(); break;
    case 4: fs_cp_async<4>(a.out, a.v, true); finish(); break;
    case 5: if (t == 7) fs_cp_async<4>(s, a.v, true); fs_cp_commit(); break;
    case 6: fs_cp_async<4>(s, a.v, true); fs_cp_wait<0>(); break;
    case 7: { unsigned r[2]; fs_ldmatrix2(r, s + t * 8); break; }
    case 8: { unsigned r[4]; fs_ldmatrix4(r, a.v); break; }
  }"""


def test_copies_of_every_size_zeros_and_mistakes(build: Builder) -> None:
    kernel = build("const int* v; int* out; int mode;", COPIES)
    raw = np.zeros(80, np.int32)
    v = raw[-raw.ctypes.data // 4 % 4 :][:64]
    v[:], out = np.arange(1, 65), np.zeros(32, np.int32)
    kernel.launch(1, 32, 512, pack(v, out, 0))
    assert (out == np.where(np.arange(32) % 3 > 0, v[:32], 0)).all()
    kernel.launch(1, 32, 512, pack(v, out, 1))
    assert (out == np.where(np.arange(32) // 2 % 2, v[:32], 0)).all()
    for mode, message in (
        (2, r"thread 1: fs_cp_async in line \d+: the shared address 0x\w+4 must be a multiple of 8"),
        (3, r"fs_cp_async in line \d+: the global address 0x\w+4 must be a multiple of 16"),
        (4, r"fs_cp_async in line \d+: the address 0x\w+ is not in the shared memory"),
        (5, "kernel k, block 0, thread 7: exits with 1 asynchronous copies in flight; commit them"),
        (6, r"exits with 1 asynchronous copies in flight; commit them and end with fs_cp_wait<0>\(\)"),
        (7, r"thread 1: fs_ldmatrix2 in line \d+: the shared address 0x\w+8 must be a multiple of 16"),
        (8, r"fs_ldmatrix4 in line \d+: the address 0x\w+ is not in the shared memory"),
    ):
        with pytest.raises(KernelError, match=message):
            kernel.launch(1, 32, 512, pack(v, out, mode))
    kernel.launch(1, 32, 512, pack(v, out, 0))
    assert (out == np.where(np.arange(32) % 3 > 0, v[:32], 0)).all()
