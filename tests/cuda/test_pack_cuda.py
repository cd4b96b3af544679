"""Packed weights of CUDA kernels, read back by the index that kernels compute."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.cuda.launches.kernels import Finish, Gemm, GemmTile, Inputs, Rows
from fluxshard.codegen.cuda.launches.launch import Launch
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.launches.memory import Constants, Packed
from fluxshard.codegen.cuda.launches.pack import gemm_tiles, pack_all, phase_weight, to_stored
from fluxshard.codegen.cuda.program import DEFAULT_ORDERS
from fluxshard.geometry import transposed_taps
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.options import DType
from fluxshard.testing.plan_builder import PlanBuilder

F32, F16, BF16 = (CudaTarget(arch="sm_80", dtype=dtype) for dtype in ("float32", "float16", "bfloat16"))
TARGETS = pytest.mark.parametrize("target", [F32, F16, BF16], ids=lambda target: target.dtype)
TORCH = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def packed(b: PlanBuilder, target: CudaTarget, **options: object) -> tuple[list[tuple[Launch, Packed]], NDArray]:
    """Kernels of the last layer with the weights that they read, in order, and the bytes that all streams share."""
    plan = b.finish()
    describer = Describer(plan, target, **options)  # type: ignore[arg-type]
    constants = describer.memory.constants
    blob = pack_all(constants, {name: tensor.numpy() for name, tensor in b.weights.items()}, target.dtype)
    assert blob.size == constants.size and blob.dtype == np.uint8
    used = [(offset, len(content)) for content, offset in constants.tables.items()]
    used += [(item.offset, item.n_bytes) for item in constants.packed]
    assert all(offset % 64 == 0 for offset, _ in used)
    for (offset, n_bytes), (after, _) in itertools.pairwise(sorted(used)):
        assert offset + n_bytes <= after and not blob[offset + n_bytes : after].any()
    items = [item for item in constants.packed if item.weight == f"{plan.layers[-1].name}.weight"]
    launches = [
        step
        for step in describer.order(DEFAULT_ORDERS[1])
        if isinstance(step, Launch) and step.layer == plan.layers[-1].name and isinstance(step.kernel, Gemm | Rows)
    ]
    return list(zip(launches, items, strict=True)), blob


def numbers(blob: NDArray, item: Packed, target: CudaTarget) -> NDArray[np.float32]:
    """A packed weight as float32."""
    raw = torch.from_numpy(blob[item.offset : item.offset + item.n_bytes].copy())
    return raw.view(TORCH[target.dtype]).float().numpy()


def rounded(weight: torch.Tensor, target: CudaTarget) -> NDArray[np.float32]:
    return weight.to(TORCH[target.dtype]).float().numpy()


def positions(gemm: Gemm) -> Iterator[tuple[int, int, int | None]]:
    """Of every packed number in order: output, tap, and input channel or None, as gemm.cuh reads it."""
    inputs, t = gemm.inputs, gemm.tile
    depth = inputs.unit_starts[-1]
    for tile_n, step, row, column in itertools.product(
        range(gemm.tiles_n), range(gemm.steps), range(t.bn), range(t.bk)
    ):
        tap, in_tap = divmod(step * t.bk + column, depth)
        segment = max(s for s, start in enumerate(inputs.unit_starts[:-1]) if start <= in_tap)
        channel = in_tap - inputs.unit_starts[segment]
        real = tap < gemm.taps_y * gemm.taps_x and channel < inputs.counts[segment]
        yield tile_n * t.bn + row, tap, inputs.starts[segment] + channel if real else None


def direct(weight: NDArray[np.float32], gemm: Gemm) -> list[float]:
    """`(Co, Ci, kh, kw)` in the order of `positions`."""
    return [
        float(weight[output, channel, tap // gemm.taps_x, tap % gemm.taps_x])
        if channel is not None and output < weight.shape[0]
        else 0.0
        for output, tap, channel in positions(gemm)
    ]


@pytest.mark.parametrize("outputs", [1, 16, 40])
@pytest.mark.parametrize(
    ("counts", "vec", "taps", "bn", "bk"),
    [
        ((16,), 8, (3, 3), 16, 32),
        ((5,), 1, (2, 3), 32, 16),
        ((3,), 4, (1, 1), 16, 16),
        ((12, 7, 9), 8, (3, 1), 48, 64),
        ((8, 4), 4, (1, 2), 32, 16),
    ],
)
def test_gemm_tiles(outputs: int, counts: tuple[int, ...], vec: int, taps: tuple[int, int], bn: int, bk: int) -> None:
    """`[Co / BN][step][BN][BK]`, zeros behind segments, taps and channels."""
    gemm = Gemm(
        dtype="float16", math="m16n8k16", tile=GemmTile(bm=64, bn=bn, bk=bk, stages=3, wm=4, wn=1), taps_y=taps[0],
        taps_x=taps[1], inputs=Inputs(counts=counts, vec=vec), finish=Finish(channels=outputs),
    )  # fmt: skip
    weight = np.random.default_rng(0).normal(size=(outputs, sum(counts), *taps)).astype(np.float32)
    flat = gemm_tiles(weight, gemm).reshape(-1)
    assert flat.size == round_up(outputs, bn) * round_up(gemm.depth, bk)
    assert flat.tolist() == direct(weight, gemm)
    assert np.count_nonzero(flat) == weight.size, "every number is there once"


@TARGETS
@pytest.mark.parametrize("channels", [3, 40, 130])
def test_convolutions(channels: int, target: CudaTarget) -> None:
    b = PlanBuilder(5, 6, 7)
    both = b.add(P.Cat(), b.conv("image", 11), b.conv("image", 8), b.conv("image", 2))
    b.conv(both, channels, (3, 2))
    ((launch, item),), blob = packed(b, target)
    gemm = launch.kernel
    assert isinstance(gemm, Gemm) and gemm.inputs.counts == (11, 8, 2)
    assert item.offset in [getattr(value, "offset", None) for _, value in launch.args.fields]
    weight = rounded(b.weights[item.weight], target)
    assert numbers(blob, item, target).tolist() == direct(weight, gemm)


@TARGETS
@pytest.mark.parametrize("channels", [7, 16, 33])
def test_depthwise(channels: int, target: CudaTarget) -> None:
    """`[tap][C rounded up]`."""
    b = PlanBuilder(channels, 6, 7)
    b.conv("image", channels, (3, 2), groups=channels)
    ((launch, item),), blob = packed(b, target)
    assert isinstance(launch.kernel, Rows) and launch.kernel.op == "depthwise"
    weight, row = rounded(b.weights[item.weight], target), round_up(channels, target.lanes)
    found = numbers(blob, item, target).reshape(6, row)
    for c, y, x in itertools.product(range(row), range(3), range(2)):
        assert found[y * 2 + x, c] == (weight[c, 0, y, x] if c < channels else 0)


@TARGETS
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(6, 10, 2), (8, 66, 2), (6, 12, 6)])
def test_grouped(inputs: int, outputs: int, groups: int, target: CudaTarget) -> None:
    """`[tap][Cig][Co rounded up]`."""
    b = PlanBuilder(inputs, 6, 7)
    b.conv("image", outputs, (2, 3), groups=groups)
    ((launch, item),), blob = packed(b, target)
    assert isinstance(launch.kernel, Rows) and launch.kernel.op == "grouped"
    assert dict(launch.kernel.numbers) == {"CIG": inputs // groups, "COG": outputs // groups}
    weight, row = rounded(b.weights[item.weight], target), round_up(outputs, target.lanes)
    found = numbers(blob, item, target).reshape(6, inputs // groups, row)
    for o, q, tap in itertools.product(range(row), range(inputs // groups), range(6)):
        assert found[tap, q, o] == (weight[o, q, tap // 3, tap % 3] if o < outputs else 0)


@TARGETS
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [
        ((4, 4), (2, 2), (1, 1), (1, 1), 1),
        ((3, 2), (2, 3), (1, 0), (1, 1), 1),
        ((3, 3), (2, 2), (0, 1), (2, 1), 2),
        ((2, 3), (2, 1), (0, 1), (1, 1), 4),
    ],
)
def test_transposed(
    kernel: P.Pair, stride: P.Pair, padding: P.Pair, dilation: P.Pair, groups: int, target: CudaTarget
) -> None:
    """Each output phase is a convolution of its own, with as many taps as the largest phase, the rest zero."""
    b = PlanBuilder(4, 6, 7)
    x = b.conv("image", 8)
    b.transposed(x, 20, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    made, blob = packed(b, target)
    weight = rounded(b.weights[made[0][1].weight], target)
    tables = [transposed_taps(k, s, pad, d) for k, s, pad, d in zip(kernel, stride, padding, dilation, strict=True)]
    taps = [max(1, *(len(phase) for phase in table)) for table in tables]
    cig, cog = 8 // groups, 20 // groups
    assert len(made) == stride[0] * stride[1]
    seen = np.zeros(weight.shape, np.int64)
    for phase, (launch, item) in enumerate(made):
        rows, columns = tables[0][phase // stride[1]], tables[1][phase % stride[1]]
        ordinary = np.zeros((20, cig, *taps), np.float32)
        for o, q, (ty, (ky, _)), (tx, (kx, _)) in itertools.product(
            range(20), range(cig), enumerate(rows), enumerate(columns)
        ):
            index = (o // cog * cig + q, o % cog, ky, kx)
            ordinary[o, q, ty, tx] = weight[index]
            seen[index] += 1
        found = numbers(blob, item, target)
        if isinstance(launch.kernel, Gemm):
            assert groups == 1 and found.tolist() == direct(ordinary, launch.kernel)
        else:
            row = round_up(20, target.lanes)
            expected = np.zeros((taps[0] * taps[1], cig, row), np.float32)
            expected[:, :, :20] = ordinary.reshape(20, cig, -1).transpose(2, 1, 0)
            assert groups > 1 and found.tolist() == expected.reshape(-1).tolist()
    assert (seen == 1).all(), "every weight belongs to one phase"


def test_phases_of_a_transposed_weight() -> None:
    weight = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2) + 1
    chosen = phase_weight(weight, 1, (1, None), (0,))
    assert chosen.shape == (3, 2, 2, 1)
    assert (chosen[:, :, 0, 0] == weight[:, :, 1, 0].T).all() and not chosen[:, :, 1].any()


@TARGETS
def test_vectors_are_padded_rows_of_float32(target: CudaTarget) -> None:
    b = PlanBuilder(21, 6, 7)
    b.conv("image", 21, act=("prelu",))
    made = b.layers[-1].name
    b.add(P.Binary(kind="add", operand="weight"), "image", operand=b.draw(1, 1, 1, 1))
    plan = b.finish()
    constants = Describer(plan, target).memory.constants
    blob = pack_all(constants, {name: tensor.numpy() for name, tensor in b.weights.items()}, target.dtype)
    width = round_up(21, target.lanes)
    vectors = {item.weight: item for item in constants.packed if item.kind == "vector"}
    assert set(vectors) == {f"{made}.bias", f"{made}.slope", f"{plan.layers[-1].name}.operand"}
    for name, item in vectors.items():
        row = blob[item.offset : item.offset + item.n_bytes].view(np.float32)
        assert row.size == width and not row[21:].any()
        assert (row[:21] == b.weights[name].numpy().reshape(-1)).all(), "one number stands for all channels"


def test_what_two_layers_read_alike_is_packed_once() -> None:
    constants = Constants()
    tables = [constants.table(np.array(values, np.int32)) for values in ((1, 2), (1, 2), (1, 3))]
    assert tables[0] == tables[1] != tables[2]
    first = constants.weight("vector", "w", (3, 8), 32)
    assert constants.weight("vector", "w", (3, 8), 32) == first
    assert len({first, constants.weight("vector", "w", (3, 16), 64), constants.weight("vector", "v", (3, 8), 32)}) == 3
    blob = pack_all(constants, {"w": np.array([1, 2, 3]), "v": np.array([4, 5, 6])}, "float16")
    assert blob[first.offset : first.offset + 32].view(np.float32).tolist() == [1, 2, 3, 0, 0, 0, 0, 0]
    assert blob[tables[2].offset : tables[2].offset + 8].view(np.int32).tolist() == [1, 3]


# ---- stored numbers

SPECIAL = (
    0.0, -0.0, 1.0, -1.0, 65504.0, 65519.0, 65520.0, -65520.0, 1e30, 3.3e38, 3.4e38, 3.3895e38, 3.3961775e38, 5.9e-8,
    2.9e-8, 3e-8, 6.1e-5, 1e-40, -1e-45, float("inf"), float("-inf"),
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_stored_numbers_are_those_of_torch(dtype: DType) -> None:
    rng = np.random.default_rng(5)
    upper = np.arange(1 << 16, dtype=np.uint32) << 16  # every bfloat16, and what lies around it
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1000, 0x2FFF, 0x3000, 0x3001], np.uint32)
    values = np.concatenate(
        [
            (upper[:, None] | lower).reshape(-1).view(np.float32),
            rng.integers(0, 1 << 32, 100_000, dtype=np.uint32).view(np.float32),
            np.array(SPECIAL, np.float32),
        ]
    )
    expected = torch.from_numpy(values).to(TORCH[dtype])
    found = torch.from_numpy(to_stored(values, dtype).view(np.int16)).view(TORCH[dtype])
    number = ~torch.from_numpy(np.isnan(values))
    assert torch.equal(found[number].view(torch.int16), expected[number].view(torch.int16))
    assert found[~number].isnan().all() and int((~number).sum()) > 1000, "NaN never becomes infinite"


def test_ties_go_to_even() -> None:
    def bits(number: float) -> int:
        return int(to_stored(np.array([number], np.float32), "bfloat16")[0])

    assert [bits(1 + n / 256) for n in range(5)] == [0x3F80, 0x3F80, 0x3F81, 0x3F82, 0x3F82]
    assert bits(float("inf")) == 0x7F80 and bits(float("-inf")) == 0xFF80 and bits(3.4e38) == 0x7F80
    assert bits(float("nan")) == bits(-float("nan")) == 0x7FC0
    half = to_stored(np.array([1 + 1 / 2048, 1 + 3 / 2048, 65520.0, -1e9], np.float32), "float16")
    assert half.tolist() == [1.0, 1 + 4 / 2048, float("inf"), float("-inf")]


def test_float32_stays_as_it_is() -> None:
    values = np.array([*SPECIAL, float("nan")], np.float32)
    assert (to_stored(values, "float32").view(np.uint32) == values.view(np.uint32)).all()
