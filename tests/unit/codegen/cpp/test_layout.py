from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from fluxshard.codegen.common.arena import ALIGN, round_up
from fluxshard.codegen.common.segments import Segment, _cut
from fluxshard.codegen.cpp.allocation import Allocator
from fluxshard.codegen.cpp.layout import Layout
from fluxshard.codegen.cpp.lowering import describe
from fluxshard.ir import params as P
from fluxshard.ir.plan import Plan
from fluxshard.ops.interpret import evaluate
from fluxshard.testing.plan_builder import PlanBuilder
from tests.unit.codegen.targets import AVX512, PORTABLE


def every_kind() -> PlanBuilder:
    """Stores, views, islands of both kinds, a vector, flags, tables of taps."""
    b = PlanBuilder(3, 13, 18)
    first = b.conv("image", 7, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))
    same = b.conv(first, 17, (3, 3), padding=((1, 1), (1, 1)), act=("silu",))
    up = b.add(P.UpsampleNearest(factor=(2, 2)), b.conv(first, 5, (2, 2), stride=(2, 3)))
    b.add(P.Copy(), up)
    both = b.add(P.Cat(), first, b.add(P.ChannelSlice(start=2, stop=9), same))
    b.conv(both, 4)
    vector = b.island("mean", "aten.mean.dim", same, (2, 3), True)
    b.add(P.Binary(kind="mul", operand="vector"), same, vector)
    b.island("sums", "aten.cumsum.default", same, 1)
    b.add(P.Resize(mode="bilinear", size=(9, 11), align_corners=True), same)
    b.add(P.Resize(mode="nearest", size=(9, 11)), same)
    return b


def blocks(plan: Plan, layout: Layout) -> dict[str, tuple[int, int]]:
    """Every block of the arena: (offset, bytes that are read or written there)."""
    found: dict[str, tuple[int, int]] = {}
    for index, (grid, offsets) in enumerate(zip(plan.grids, layout.fields, strict=True)):
        for name, size in (("dy", 2), ("dx", 2), ("valid", 1), ("source", 4)):
            found[f"field {index} {name}"] = getattr(offsets, name), size * grid.cells
    image = plan.value(plan.input)
    pixels = plan.grids[0].cells
    row = 4 * round_up(image.channels, 4)
    height, width = plan.image_size
    sizes = {"fresh": row * pixels, "mask": pixels, "flags": pixels}
    sizes |= {"blocks": -(-height // 8) * -(-width // 16)}
    assert set(sizes) | {"block"} == {f.name for f in fields(layout.image)}
    found |= {f"image {name}": (getattr(layout.image, name), size) for name, size in sizes.items()}
    for store in layout.stores.values():
        n = plan.grids[store.grid].cells
        found[f"{store.name} pool"] = store.pool, 4 * 2 * n * store.stride
        for name, size in (("map0", 4), ("map1", 4), ("mask", 1), ("cand", 1)):
            found[f"{store.name} {name}"] = getattr(store, name), size * n
    for name, offset in layout.view_masks.items():
        found[f"{name} mask"] = offset, plan.grid_of(name).cells
    for index, axis in enumerate(layout.axes):
        found[f"axis {index} taps"] = axis.tap, 4 * axis.n_out * axis.taps
        found[f"axis {index} crosses"] = axis.crosses, axis.n_out
    for index, flags in enumerate(layout.flags):
        found[f"flags {index}"] = flags.offset, plan.grids[flags.grid_out].cells
    found["islands"] = layout.islands, layout.island_bytes
    for buffer in (*layout.buffers.values(), *layout.vectors.values(), *layout.values.values()):
        found[f"dense {buffer.value} {buffer.shape}"] = buffer.offset, 4 * int(np.prod(buffer.shape))
    cells = max(grid.cells for grid in plan.grids)
    sizes = {"list": 4 * cells, "rows": 4 * cells, "pick": 4 * cells, "used": 2 * cells}
    assert set(sizes) == {f.name for f in fields(layout.scratch)}
    found |= {f"scratch {name}": (getattr(layout.scratch, name), size) for name, size in sizes.items()}
    found["bases"] = layout.bases, 4 * len(layout.stores)
    found["current"] = layout.current, 4 * len(layout.stores)
    found["vector changed"] = layout.vector_changed, len(layout.off_grid)
    found["shares"] = layout.shares, len(layout.stores)
    stored = {store.grid for store in layout.stores.values()}
    assert len(layout.works) == len(plan.grids) and stored < set(range(len(plan.grids)))
    for index in stored:
        work, cells = layout.works[index], plan.grids[index].cells
        sizes = {"map0": cells, "map1": cells, "base": 1, "list": cells + 16, "rows": cells + 16}
        found |= {f"work {index} {name}": (getattr(work, name), 4 * size) for name, size in sizes.items()}
    return found


@pytest.mark.parametrize("target", [AVX512, PORTABLE], ids=lambda target: target.isa)
def test_blocks_are_aligned_and_apart(target: object) -> None:
    plan = every_kind().finish()
    layout = describe(plan, target).layout  # type: ignore[arg-type]
    assert (
        layout.buffers
        and layout.values
        and layout.island_bytes
        and layout.vectors
        and layout.view_masks
        and layout.off_grid
        and len(layout.flags) > 1
    )
    found = blocks(plan, layout)
    assert all(offset % ALIGN == 0 for offset, _ in found.values())
    in_order = sorted(found.items(), key=lambda item: item[1])
    for (one, (start, size)), (two, (following, _)) in itertools.pairwise(in_order):
        assert start + size <= following, f"{one} runs into {two}"
    name, (start, size) = in_order[-1]
    assert start + size <= layout.size, f"{name} runs out of the arena"


@pytest.mark.parametrize("target", [AVX512, PORTABLE], ids=lambda target: target.isa)
def test_rows_hold_whole_vectors_and_may_be_read_past_their_end(target: object) -> None:
    """Kernels load whole vectors from any channel of any row, the last row included."""
    plan = every_kind().finish()
    layout = describe(plan, target).layout  # type: ignore[arg-type]
    starts = sorted(offset for offset, _ in blocks(plan, layout).values())
    for store in layout.stores.values():
        assert store.stride % target.vector_floats == 0 and store.stride >= store.channels  # type: ignore[attr-defined]
        end = store.pool + 4 * 2 * plan.grids[store.grid].cells * store.stride
        assert min(start for start in starts if start > store.pool) - end >= 4 * 16


def test_axes_and_flags_are_shared_by_layers_with_the_same_window() -> None:
    b = PlanBuilder(4, 9, 11)
    x = b.add(P.Copy(), "image")
    for _ in range(3):
        x = b.conv(x, 4, (3, 3), padding=((1, 1), (1, 1)))
    layout = describe(b.finish(), AVX512).layout
    windows = {(axis.window, axis.n_in, axis.n_out) for axis in layout.axes}
    assert len(windows) == len(layout.axes) == 4  # a copy and a 3x3, for 9 and 11
    assert len(layout.flags) == 1


def read(segments: tuple[Segment, ...], stored: list[Tensor], size: tuple[int, ...]) -> Tensor:
    """What generated code reads through segments, cell by cell."""
    out = torch.zeros(1, sum(s.count for s in segments), *size)
    for y in range(size[0]):
        for x in range(size[1]):
            at = 0
            for s in segments:
                rows = stored[s.store].permute(0, 2, 3, 1).flatten(0, 2)  # one row a stored cell
                out[0, at : at + s.count, y, x] = rows[y // s.uy * s.width + x // s.ux, s.start : s.start + s.count]
                at += s.count
    return out


def test_views_resolve_to_the_channels_that_they_show() -> None:
    """Cat of slices of upsampled cats, against the ops that define views, on numbers that name a store and a place."""
    b = PlanBuilder(3, 12, 18)
    whole = b.add(P.Copy(), "image")
    low = b.conv("image", 5, (3, 3), stride=(3, 3))
    lower = b.conv(low, 4, (2, 2), stride=(2, 3))
    some = b.add(P.ChannelSlice(start=1, stop=4), low)
    mid = b.add(P.Cat(), b.add(P.UpsampleNearest(factor=(2, 3)), lower), low, some)
    up = b.add(P.UpsampleNearest(factor=(3, 3)), mid)
    part = b.add(P.ChannelSlice(start=2, stop=11), up)
    both = b.add(P.Cat(), part, whole, up)
    last = b.add(P.ChannelSlice(start=5, stop=14), both)
    b.add(P.Cat(), last, whole, last)
    b.add(P.UpsampleNearest(factor=(2, 1)), some)
    plan = b.finish()
    layout = Allocator(plan, AVX512).layout()
    stored = [
        torch.arange(float(np.prod(plan.value(name).shape))).view(plan.value(name).shape) + 10_000 * index
        for index, name in enumerate(layout.stores)
    ]
    values = dict(zip(layout.stores, stored, strict=True))
    views = [layer for layer in plan.layers if layer.mode == "view"]
    assert len(views) == 9
    for layer in views:
        values[layer.output] = evaluate(layer, [values[name] for name in layer.inputs], {})
        segments = layout.segments[layer.output]
        assert torch.equal(read(segments, stored, plan.value(layer.output).shape[2:]), values[layer.output]), layer.name
        has_mask = not isinstance(layer.params, P.ChannelSlice)  # a slice has its input's
        assert (layer.output in layout.view_masks) == has_mask


def test_a_cut_keeps_only_what_it_touches() -> None:
    one, two, three = Segment(0, 0, 4, 1, 1, 9), Segment(1, 3, 2, 2, 2, 5), Segment(2, 0, 6, 1, 1, 9)
    of = (one, two, three)
    assert _cut(of, 0, 12) == [*of]
    assert _cut(of, 0, 4) == [one]
    assert _cut(of, 4, 6) == [two]
    assert _cut(of, 3, 7) == [Segment(0, 3, 1, 1, 1, 9), two, Segment(2, 0, 1, 1, 1, 9)]
    assert _cut(of, 5, 6) == [Segment(1, 4, 1, 2, 2, 5)]
    assert _cut(of, 11, 12) == [Segment(2, 5, 1, 1, 1, 9)]
    assert _cut((Segment(-1, 2, 3, 1, 1, 7),), 1, 3) == [Segment(-1, 3, 2, 1, 1, 7)]
    assert sum(s.count for s in _cut(of, 1, 9)) == 8
    assert _cut(of, 6, 6) == []


def test_round_up() -> None:
    assert [round_up(n, 16) for n in (0, 1, 15, 16, 17)] == [0, 16, 16, 16, 32]
