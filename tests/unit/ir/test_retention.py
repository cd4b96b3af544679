from __future__ import annotations

from fluxshard.ir import params as P
from fluxshard.ir.retention import Span, read_at_once
from fluxshard.testing.plan_builder import PlanBuilder

SAME = ((1, 1), (1, 1))


def names(b: PlanBuilder, *outputs: str) -> set[str]:
    return set(read_at_once(b.finish(*outputs)))


def test_what_pointwise_layers_alone_read_passes() -> None:
    b = PlanBuilder(3, 8, 8)
    wide = b.conv("image", 8, (3, 3), padding=SAME)
    point = b.conv(wide, 8)
    b.conv(point, 4, (3, 3), padding=SAME)
    spans = read_at_once(b.finish())
    assert spans == {wide: Span(0, 1)}  # a window reads `point`, and the last is an output


def test_one_other_reader_is_enough_to_keep_a_value() -> None:
    b = PlanBuilder(3, 8, 8)
    x = b.conv("image", 8, (3, 3), padding=SAME)
    y = b.conv(x, 8)
    b.conv(x, 8, (3, 3), padding=SAME)
    b.conv(y, 4)
    assert names(b) == {y}


def test_a_residual_is_read_cell_by_cell() -> None:
    b = PlanBuilder(3, 8, 8)
    x = b.conv("image", 8, (3, 3), padding=SAME)
    y = b.conv("image", 8, (3, 3), padding=SAME)
    b.conv(y, 8, (3, 3), x, padding=SAME)
    assert names(b) == {x}
    b = PlanBuilder(3, 8, 8)
    x = b.conv("image", 8, (3, 3), padding=SAME)
    b.conv(x, 8, (3, 3), x, padding=SAME)
    assert names(b) == set(), "the window of the same layer reads it, too"


def test_views_in_place_are_looked_through() -> None:
    b = PlanBuilder(3, 8, 8)
    x = b.conv("image", 8, (3, 3), padding=SAME)
    y = b.conv("image", 8, (3, 3), padding=SAME)
    both = b.add(P.Cat(), b.add(P.ChannelSlice(start=2, stop=6), x), y)
    z = b.conv(both, 8)
    b.conv(z, 8, (3, 3), padding=SAME)
    assert read_at_once(b.finish()) == {x: Span(0, 4), y: Span(1, 4)}


def test_outputs_are_kept_also_where_a_view_shows_them() -> None:
    b = PlanBuilder(3, 8, 8)
    x = b.conv("image", 8, (3, 3), padding=SAME)
    y = b.conv(x, 8)
    shown = b.add(P.ChannelSlice(start=0, stop=4), y)
    b.conv(y, 4)
    assert names(b, shown, b.values[-1].name) == {x}


def test_other_grids_and_islands_read_more() -> None:
    b = PlanBuilder(3, 8, 8)
    low = b.conv("image", 8, (2, 2), stride=(2, 2))
    b.add(P.Copy(), b.add(P.UpsampleNearest(factor=(2, 2)), low))
    assert names(b) == set()
    b = PlanBuilder(3, 8, 8)
    x = b.conv("image", 8, (3, 3), padding=SAME)
    b.conv(x, 4, (1, 1), stride=(2, 2))
    assert names(b) == set()
    b = PlanBuilder(3, 8, 8)
    x = b.conv("image", 8, (3, 3), padding=SAME)
    b.island("sums", "aten.cumsum.default", x, 1)
    assert names(b) == set()


def test_what_nobody_reads_is_not_said_to_pass() -> None:
    b = PlanBuilder(3, 8, 8)
    b.conv("image", 8)
    last = b.conv("image", 8)
    assert names(b, last) == set()
