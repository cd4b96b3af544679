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
from fluxshard.ir.retention import read_at_once
from fluxshard.ir.step_layout import Keep
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


Blocks = dict[str, tuple[int, int]]  # by name: offset, and bytes that are read or written there


def blocks_of_state(plan: Plan, layout: Layout, keep: Keep) -> Blocks:
    """Every block of a stream's memory."""
    found = {"image mask": (layout.image.mask, plan.grids[0].cells)}
    for store in layout.stores.values():
        n = plan.grids[store.grid].cells
        rows = store.row_bytes(2 * n if keep is Keep.UNMOVED else n)
        if keep is not Keep.GIVEN or not store.passing:
            found[f"{store.name} pool"] = store.pools[keep], rows
        if keep is not Keep.GIVEN or store.alone:
            found[f"{store.name} map"] = store.map, 4 * n
            found |= {f"{store.name} mask": (store.mask, n), f"{store.name} cand": (store.cand, n)}
        if keep is Keep.UNMOVED:
            found[f"{store.name} base"] = store.base, 4 * n
    for buffer in (*layout.vectors.values(), *layout.values.values()):
        found[f"dense {buffer.value} {buffer.shape}"] = buffer.offset, 4 * int(np.prod(buffer.shape))
    found["vector changed"] = layout.vector_changed, len(layout.off_grid)
    found["shares"] = layout.shares, len(layout.stores)
    for index, cells in stored(plan, layout).items():
        found[f"work {index} map"] = layout.works[index].map, 4 * cells
        found[f"work {index} cand"] = layout.works[index].cand, cells
    return found


def blocks_of_scratch(plan: Plan, layout: Layout) -> Blocks:
    """Every block of a step's memory, but for rows that pass, which share theirs."""
    found: Blocks = {}
    for index, (grid, offsets) in enumerate(zip(plan.grids, layout.fields, strict=True)):
        for name, size in (("dy", 2), ("dx", 2), ("valid", 1), ("source", 4)):
            found[f"field {index} {name}"] = getattr(offsets, name), size * grid.cells
    image = plan.value(plan.input)
    pixels = plan.grids[0].cells
    row = 4 * round_up(image.channels, 4)
    height, width = plan.image_size
    sizes = {"fresh": row * pixels, "flags": pixels}
    sizes |= {"blocks": -(-height // 8) * -(-width // 16)}
    assert set(sizes) | {"block", "mask"} == {f.name for f in fields(layout.image)}
    found |= {f"image {name}": (getattr(layout.image, name), size) for name, size in sizes.items()}
    for store in layout.stores.values():
        if store.before >= 0:
            found[f"{store.name} before"] = store.before, store.row_bytes(plan.grids[store.grid].cells)
    for name, offset in layout.view_masks.items():
        found[f"{name} mask"] = offset, plan.grid_of(name).cells
    for index, axis in enumerate(layout.axes):
        found[f"axis {index} taps"] = axis.tap, 4 * axis.n_out * axis.taps
        found[f"axis {index} crosses"] = axis.crosses, axis.n_out
    for index, flags in enumerate(layout.flags):
        found[f"flags {index}"] = flags.offset, plan.grids[flags.grid_out].cells
    found["islands"] = layout.islands, layout.island_bytes
    for buffer in layout.buffers.values():
        found[f"dense {buffer.value} {buffer.shape}"] = buffer.offset, 4 * int(np.prod(buffer.shape))
    cells = max(grid.cells for grid in plan.grids)
    sizes = dict.fromkeys(("list", "rows", "pick", "old", "tiles"), 4 * (cells + 16)) | {"used": 2 * cells}
    sizes["fresh"] = max(store.row_bytes(plan.grids[store.grid].cells) for store in layout.stores.values())
    assert set(sizes) == {f.name for f in fields(layout.scratch)}
    found |= {f"scratch {name}": (getattr(layout.scratch, name), size) for name, size in sizes.items()}
    for index, cells in stored(plan, layout).items():
        sizes = dict.fromkeys(("list", "rows", "order", "first"), cells + 16) | {"old": cells}
        found |= {f"work {index} {name}": (getattr(layout.works[index], name), 4 * n) for name, n in sizes.items()}
    return found


def stored(plan: Plan, layout: Layout) -> dict[int, int]:
    """Cells of the grids that values are stored on."""
    found = {store.grid: plan.grids[store.grid].cells for store in layout.stores.values()}
    assert len(layout.works) == len(plan.grids)
    return found


def assert_apart(found: Blocks, size: int) -> None:
    assert all(offset % ALIGN == 0 for offset, _ in found.values())
    in_order = sorted(found.items(), key=lambda item: item[1])
    for (one, (start, length)), (two, (following, _)) in itertools.pairwise(in_order):
        assert start + length <= following, f"{one} runs into {two}"
    name, (start, length) = in_order[-1]
    assert start + length <= size, f"{name} runs out of the arena"


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
        and any(store.before >= 0 for store in layout.stores.values())
    )
    assert set(stored(plan, layout)) < set(range(len(plan.grids)))
    for keep in Keep:
        assert_apart(blocks_of_state(plan, layout, keep), layout.sizes[keep])
    assert_apart(blocks_of_scratch(plan, layout), layout.scratch_size)
    assert layout.sizes[Keep.GIVEN] < layout.sizes[Keep.ALL] < layout.sizes[Keep.UNMOVED]


def test_rows_that_pass_share_memory_only_where_they_are_not_needed_at_the_same_time() -> None:
    """In a chain of 3x3 and 1x1, what a 1x1 reads passes; two of them may lie in one place, others around them not."""
    b = PlanBuilder(3, 12, 18)
    x = b.conv("image", 8, (3, 3), padding=((1, 1), (1, 1)))
    for _ in range(3):
        x = b.conv(b.conv(x, 16, (3, 3), padding=((1, 1), (1, 1))), 8)
    first = b.conv(x, 8, (3, 3), padding=((1, 1), (1, 1)))
    second = b.conv(x, 24, (3, 3), padding=((1, 1), (1, 1)))
    b.conv(b.add(P.Cat(), first, second), 4)
    plan = b.finish()
    layout, spans = describe(plan, AVX512).layout, read_at_once(plan)
    passing = {name: store for name, store in layout.stores.items() if store.passing}
    assert set(passing) == set(spans) and len(passing) == 5
    places = {name: (s.pools[Keep.GIVEN], s.pools[Keep.GIVEN] + s.row_bytes(12 * 18)) for name, s in passing.items()}
    for one, two in itertools.combinations(passing, 2):
        apart = places[one][1] <= places[two][0] or places[two][1] <= places[one][0]
        assert apart or not spans[one].meets(spans[two]), (one, two)
    assert len({start for start, _ in places.values()}) < 5, "none shares"
    start, end = min(start for start, _ in places.values()), max(end for _, end in places.values())
    for name, (at, size) in blocks_of_scratch(plan, layout).items():
        assert at + size <= start or end <= at, name
    assert end <= layout.scratch_size


@pytest.mark.parametrize("target", [AVX512, PORTABLE], ids=lambda target: target.isa)
def test_rows_hold_whole_vectors_and_may_be_read_past_their_end(target: object) -> None:
    """Kernels load whole vectors from any channel of any row, the last row included."""
    plan = every_kind().finish()
    layout = describe(plan, target).layout  # type: ignore[arg-type]
    for keep in Keep:
        starts = sorted([offset for offset, _ in blocks_of_state(plan, layout, keep).values()] + [layout.sizes[keep]])
        for store in layout.stores.values():
            assert store.stride % target.vector_floats == 0 and store.stride >= store.channels  # type: ignore[attr-defined]
            if store.passing and keep is Keep.GIVEN:
                continue
            end = store.pools[keep] + store.row_bytes(plan.grids[store.grid].cells * (1 + (keep is Keep.UNMOVED)))
            assert min(start for start in starts if start > store.pools[keep]) - end >= 4 * 16


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
