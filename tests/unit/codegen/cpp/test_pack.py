"""PackedWeight weights, read back by the index that kernels compute."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.cpp import families as fam
from fluxshard.codegen.cpp.lowering import describe
from fluxshard.codegen.cpp.pack import gemm_panels, joined_rows, pack_all, pair_panels, winograd_taps
from fluxshard.geometry import transposed_taps
from fluxshard.ir import params as P
from fluxshard.ir.kernel import Target
from fluxshard.testing.plan_builder import PlanBuilder
from tests.unit.codegen.targets import AVX512, PORTABLE

TARGETS = pytest.mark.parametrize("target", [AVX512, PORTABLE], ids=lambda target: target.isa)


def packed(b: PlanBuilder, target: Target) -> tuple[fam.Layer, np.ndarray]:
    """The last layer as it is rendered, and the blob."""
    spec = describe(b.finish(), target)
    blob = pack_all(spec.layout, {name: tensor.numpy() for name, tensor in b.weights.items()})
    assert blob.ctypes.data % 64 == 0 and blob.size == spec.layout.weight_floats
    assert all(item.offset % 16 == 0 for item in spec.layout.packed)  # a vector never straddles two cache lines
    layer = spec.steps[-1]
    assert isinstance(layer, fam.Layer)
    return layer, blob


@pytest.mark.parametrize("outputs", [1, 16, 17, 40])
@pytest.mark.parametrize("block", [4, 16, 32])
def test_gemm_panels(outputs: int, block: int) -> None:
    """`[Co / block][tap][Ci][block]`, zeros behind the last channel."""
    inputs, kh, kw = 3, 2, 3
    weight = np.random.default_rng(0).normal(size=(outputs, inputs, kh, kw)).astype(np.float32)
    flat = gemm_panels(weight, block)
    assert flat.size == round_up(outputs, block) * inputs * kh * kw
    for o, i, y, x in itertools.product(range(round_up(outputs, block)), range(inputs), range(kh), range(kw)):
        at = ((o // block * kh * kw + y * kw + x) * inputs + i) * block + o % block
        assert flat[at] == (weight[o, i, y, x] if o < outputs else 0)


@pytest.mark.parametrize("depths", [(4,), (3, 1, 5), (2, 7)])
def test_pair_panels(depths: tuple[int, ...]) -> None:
    """`[Co / block][tap][pair][block][2]` in bfloat16; pairs do not cross segments, and odd ones end with a zero."""
    outputs, block, taps = 19, 16, 6
    weight = np.random.default_rng(0).integers(-99, 99, (outputs, sum(depths), 2, 3)).astype(np.float32)  # exact
    flat = pair_panels(weight, block, depths).view(np.uint16)
    padded = [round_up(n, 2) for n in depths]
    assert flat.size == round_up(outputs, block) * sum(padded) * taps
    channels = iter(range(sum(depths)))
    places = [next(channels) if i < n else None for n in depths for i in range(round_up(n, 2))]  # channel per place
    for o, k, t in itertools.product(range(round_up(outputs, block)), range(sum(padded)), range(taps)):
        index = ((((o // block) * taps + t) * (sum(padded) // 2) + k // 2) * block + o % block) * 2 + k % 2
        value = (np.array([flat[index]], np.uint32) << 16).view(np.float32)[0]
        source = places[k]
        assert value == (0 if o >= outputs or source is None else weight[o, source, t // 3, t % 3])


def test_winograd_taps() -> None:
    """Products of transformed weights and cells are, transformed back, the sums of the four windows of a tile."""
    rng = np.random.default_rng(0)
    weight, cells = rng.normal(size=(3, 2, 3, 3)).astype(np.float32), rng.normal(size=(2, 4, 4))
    to = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    back = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
    sums = back @ (winograd_taps(weight) * (to @ cells @ to.T)).sum(1) @ back.T
    for y, x in itertools.product(range(2), range(2)):
        expected = (weight * cells[:, y : y + 3, x : x + 3]).sum((1, 2, 3))
        np.testing.assert_allclose(sums[:, y, x], expected, rtol=1e-5, atol=1e-5)


@TARGETS
@pytest.mark.parametrize(
    ("inputs", "kernel", "options", "family"),
    [
        (16, (3, 3), {"padding": ((1, 1), (1, 1))}, "winograd"),
        (48, (3, 3), {}, "winograd"),
        (24, (3, 3), {}, "gemm"),  # vectors of channels would not be whole
        (16, (3, 3), {"stride": (1, 2)}, "gemm"),
        (16, (3, 3), {"dilation": (2, 2)}, "gemm"),
        (16, (1, 3), {}, "gemm"),
        (16, (5, 5), {}, "gemm"),
    ],
)
def test_windows_that_slide_by_one_are_computed_in_tiles(
    target: Target, inputs: int, kernel: tuple[int, int], options: dict[str, object], family: str
) -> None:
    b = PlanBuilder(5, 15, 21)
    b.conv(b.conv("image", inputs), 8, kernel, **options)  # type: ignore[arg-type]
    layer, _ = packed(b, target)
    assert layer.family == family


def test_rows_of_windows_of_the_image_are_joined() -> None:
    weight = np.random.default_rng(0).normal(size=(5, 3, 2, 4)).astype(np.float32)
    joined = joined_rows(weight)
    assert joined.shape == (5, 16, 2, 1)
    for o, i, y, x in itertools.product(range(5), range(4), range(2), range(4)):
        assert joined[o, 4 * x + i, y, 0] == (weight[o, i, y, x] if i < 3 else 0)


@TARGETS
@pytest.mark.parametrize("channels", [3, 17, 80, 130])
def test_dense_convolution(channels: int, target: Target) -> None:
    b = PlanBuilder(5, 6, 7)
    b.conv("image", channels, (3, 2), bias=False)
    layer, blob = packed(b, target)
    assert isinstance(layer.p, fam.Convolution)
    block = layer.p.vectors * target.vector_floats
    assert layer.p.cells * layer.p.vectors + layer.p.vectors + 1 <= target.registers
    weight = b.weights[f"{layer.name}.weight"].numpy()
    assert (blob[layer.p.weights :][: round_up(channels, block) * 30] == gemm_panels(weight, block)).all()


@TARGETS
@pytest.mark.parametrize("channels", [7, 16, 33])
def test_depthwise(channels: int, target: Target) -> None:
    """`[tap][C rounded up]`."""
    b = PlanBuilder(channels, 6, 7)
    b.conv("image", channels, (3, 2), groups=channels)
    layer, blob = packed(b, target)
    assert isinstance(layer.p, fam.Depthwise) and layer.finish.bias is not None
    weight, row = b.weights[f"{layer.name}.weight"].numpy(), round_up(channels, target.vector_floats)
    for c, y, x in itertools.product(range(row), range(3), range(2)):
        expected = weight[c, 0, y, x] if c < channels else 0
        assert blob[layer.p.weights + (y * 2 + x) * row + c] == expected
    assert (blob[layer.finish.bias :][:channels] == b.weights[f"{layer.name}.bias"].numpy()).all()


@TARGETS
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(6, 10, 2), (8, 66, 2), (6, 12, 6)])
def test_grouped(inputs: int, outputs: int, groups: int, target: Target) -> None:
    """`[group][Cog / VL][tap][Cig][VL]`."""
    b = PlanBuilder(inputs, 6, 7)
    b.conv("image", outputs, (2, 3), groups=groups)
    layer, blob = packed(b, target)
    assert isinstance(layer.p, fam.Grouped)
    assert (layer.p.groups, layer.p.inputs, layer.p.outputs) == (groups, inputs // groups, outputs // groups)
    weight, width = b.weights[f"{layer.name}.weight"].numpy(), target.vector_floats
    cig, cog = inputs // groups, outputs // groups
    blocks = round_up(cog, width) // width
    for g, o, tap, q in itertools.product(range(groups), range(blocks * width), range(6), range(cig)):
        at = layer.p.weights + (((g * blocks + o // width) * 6 + tap) * cig + q) * width + o % width
        assert blob[at] == (weight[g * cog + o, q, tap // 3, tap % 3] if o < cog else 0)


@TARGETS
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [((4, 4), (2, 2), (1, 1), (1, 1), 1), ((3, 2), (2, 3), (1, 0), (1, 1), 1), ((3, 3), (2, 2), (0, 1), (2, 1), 2)],
)
def test_transposed(
    kernel: P.Pair, stride: P.Pair, padding: P.Pair, dilation: P.Pair, groups: int, target: Target
) -> None:
    """Each output phase is a convolution of its own, with as many taps as the largest phase, the rest zero."""
    b = PlanBuilder(4, 6, 7)
    b.transposed("image", 10, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    layer, blob = packed(b, target)
    p = layer.p
    assert isinstance(p, fam.Transposed) and len(p.phases) == stride[0] * stride[1]
    assert (p.gemm is not None) == (groups == 1) == (p.grouped is None)
    weight = b.weights[f"{layer.name}.weight"].numpy()
    tables = [transposed_taps(k, s, pad, d) for k, s, pad, d in zip(kernel, stride, padding, dilation, strict=True)]
    taps = [max(1, *(len(phase) for phase in table)) for table in tables]
    block = target.vector_floats * (p.gemm.vectors if p.gemm else 1)
    cig, cog = 4 // groups, 10 // groups
    blocks = round_up(cog, block) // block
    seen = np.zeros(weight.shape, np.int64)
    for phase in p.phases:
        for g, o, ty, tx, q in itertools.product(
            range(groups), range(blocks * block), range(taps[0]), range(taps[1]), range(cig)
        ):
            at = (((g * blocks + o // block) * taps[0] + ty) * taps[1] + tx) * cig + q
            got = blob[phase.weights + at * block + o % block]
            rows, columns = tables[0][phase.y], tables[1][phase.x]
            if o < cog and ty < len(rows) and tx < len(columns):
                index = (g * cig + q, o, rows[ty][0], columns[tx][0])
                seen[index] += 1
                assert got == weight[index]
            else:
                assert got == 0
    assert (seen == 1).all()  # every weight belongs to one phase


@TARGETS
def test_one_number_fills_a_row(target: Target) -> None:
    b = PlanBuilder(21, 6, 7)
    b.add(P.Binary(kind="add", operand="weight"), "image", operand=b.draw(1, 1, 1, 1))
    layer, blob = packed(b, target)
    assert isinstance(layer.p, fam.Join)
    offset = int(layer.p.constant.removeprefix("a->weights + "))
    assert (blob[offset:][:21] == b.weights[f"{layer.name}.operand"].item()).all()


def test_a_weight_that_two_layers_read_alike_is_packed_once() -> None:
    b = PlanBuilder(4, 6, 7)
    b.conv("image", 4, (3, 3))
    one = describe(b.finish(), AVX512).layout.weight_floats
    name = b.conv("image", 4, (3, 3))
    two = describe(b.finish(), AVX512).layout.weight_floats
    first = b.layers[0]
    b.weights = {key: value for key, value in b.weights.items() if key.startswith(first.name)}
    b.layers[1] = type(first)(
        **{field: getattr(first, field) for field in ("params", "inputs", "weights", "windows")},
        name=name,
        outputs=(name,),
    )
    assert describe(b.finish(), AVX512).layout.weight_floats == one < two
