"""Lowering of islands: what is only moved ends where torch puts it, and no buffer is overwritten while it is needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.codegen.common.islands.builder import Unsupported
from fluxshard.codegen.common.islands.dense_ops import Buffer, DenseOp, Load, Map, Program, read_by
from fluxshard.codegen.common.islands.grouping import in_groups
from fluxshard.codegen.common.islands.lanes import TILE, in_lanes
from fluxshard.codegen.common.islands.lower import lower_island
from fluxshard.codegen.common.islands.placement import place
from fluxshard.codegen.common.islands.tensors import View
from fluxshard.geometry import Grid
from fluxshard.ir.params import Argument, Island, IslandStep, Ref
from fluxshard.ir.plan import LayerSpec, Output, Plan, ValueSpec, WeightSpec
from fluxshard.ops.reference import run_island

Step = tuple[str, tuple[Argument, ...]]


def plan_of(shapes: dict[str, tuple[int, ...]], steps: tuple[IslandStep, ...], weights: dict[str, Tensor]) -> Plan:
    """One island that reads inputs on grids; its last step is the output."""
    names = {name: torch.zeros(shape) for name, shape in shapes.items()}
    results = run_island(steps, {**names, **weights})
    last = steps[-1].name
    made = results[last]
    assert isinstance(made, Tensor)
    sizes = sorted({shape[2:] for shape in shapes.values()})
    values = [ValueSpec(name=name, shape=shape, grid=sizes.index(shape[2:])) for name, shape in shapes.items()]
    layer = LayerSpec(
        name="island", params=Island(steps=steps), inputs=tuple(shapes), outputs=(last,), mode="dense",
        weights=tuple((name, name) for name in weights),
    )  # fmt: skip
    return Plan(
        name="One", input="image", grids=tuple(Grid(h, w) for h, w in sizes),
        values=(*values, ValueSpec(name=last, shape=tuple(made.shape), grid=None)), layers=(layer,),
        weights=tuple(WeightSpec(name=name, shape=tuple(w.shape)) for name, w in weights.items()),
        outputs=(Output(value=last),), output_tree="",
    )  # fmt: skip


def lowered(plan: Plan) -> Program:
    return lower_island(plan, plan.layers[0], {})


def steps_of(*steps: Step) -> tuple[IslandStep, ...]:
    """Steps "s0", "s1", ...; a target and its arguments each."""
    return tuple(IslandStep(name=f"s{i}", target=target, args=args) for i, (target, args) in enumerate(steps))


def moved(program: Program, values: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Runs a program that only moves numbers, in one block of memory with the buffers where they are placed."""
    placement = place(program)
    memory = np.full(placement.floats, np.nan, np.float32)

    def at(view: View) -> NDArray[np.float32]:
        start = placement.offsets[view.buffer] + view.offset
        return np.lib.stride_tricks.as_strided(memory[start:], view.shape, [4 * step for step in view.strides])

    def run(op: DenseOp) -> None:
        if isinstance(op, Load):
            at(op.to)[:] = values[op.value].reshape(op.to.shape)
        else:
            assert isinstance(op, Map)
            at(op.to)[:] = at(op.inputs[0]) if op.inputs else 0.0

    for group in in_groups(program.ops):
        for op in group:
            run(op)
    return at(program.outputs[0][1]).copy()


# one step each, on a tensor of at least one axis: the target and its arguments from the shape
MOVES: list[Callable[[st.DataObject, tuple[int, ...]], tuple[str, list[Argument]]]] = [
    lambda d, s: ("permute", [tuple(d.draw(st.permutations(range(len(s)))))]),
    lambda d, s: ("transpose.int", [d.draw(st.integers(-len(s), len(s) - 1)), 0]),
    lambda d, s: ("flatten.using_ints", [0, d.draw(st.integers(0, len(s) - 1))]),
    lambda d, s: ("unsqueeze", [d.draw(st.integers(0, len(s)))]),
    lambda d, s: ("squeeze", []),
    lambda d, s: ("slice.Tensor", [a := d.draw(st.integers(0, len(s) - 1)), d.draw(st.integers(0, s[a] - 1)), None]),
    lambda d, s: ("slice.Tensor", [d.draw(st.integers(0, len(s) - 1)), 0, 10**9, d.draw(st.integers(1, 3))]),
    lambda d, s: ("select.int", [a := d.draw(st.integers(0, len(s) - 1)), d.draw(st.integers(-s[a], s[a] - 1))]),
    lambda d, s: ("flip", [(d.draw(st.integers(0, len(s) - 1)),)]),
    lambda d, s: ("roll", [(d.draw(st.integers(-3, 3)),), (d.draw(st.integers(0, len(s) - 1)),)]),
    lambda d, s: ("repeat", [tuple(d.draw(st.integers(1, 2)) for _ in s)]),
    lambda d, s: ("reshape", [(-1, d.draw(st.sampled_from([n for n in (1, 2, 3, 4, 6) if np.prod(s) % n == 0])))]),
    lambda d, s: ("constant_pad_nd", [(d.draw(st.integers(-1 if s[-1] > 1 else 0, 2)), d.draw(st.integers(0, 2)))]),
]


@given(st.data())
def test_numbers_go_where_torch_moves_them(data: st.DataObject) -> None:
    shape = (1, *data.draw(st.tuples(*[st.integers(1, 6)] * 3)))
    x = torch.arange(float(np.prod(shape))).view(shape)
    steps: list[IslandStep] = []
    names: dict[str, Tensor] = {"x": x}
    last = "x"
    for number in range(data.draw(st.integers(1, 6))):
        if not names[last].dim() or names[last].numel() > 3000:
            break
        if data.draw(st.integers(0, 5)) == 0:
            other = data.draw(st.sampled_from([n for n, t in names.items() if t.shape == names[last].shape]))
            axis = data.draw(st.integers(0, names[last].dim() - 1))
            step = IslandStep(
                name=f"s{number}", target="aten.cat.default", args=((Ref(name=last), Ref(name=other)), axis)
            )
        else:
            target, args = data.draw(st.sampled_from(MOVES))(data, tuple(names[last].shape))
            full = target if "." in target else f"{target}.default"
            step = IslandStep(name=f"s{number}", target=f"aten.{full}", args=(Ref(name=last), *args))
        made = run_island((step,), names)[step.name]
        assert isinstance(made, Tensor)
        names[step.name], last = made, step.name
        steps.append(step)
    if not steps:
        return
    found = moved(lowered(plan_of({"x": shape}, tuple(steps), {})), {"x": x.numpy()})
    assert found.tobytes() == names[last].contiguous().numpy().tobytes()


def head(levels: tuple[tuple[int, int], ...], rows: int = 4) -> Plan:
    """Rows of several levels, one after another: half of them through a softmax over rows, half moved."""
    shapes = {f"x{i}": (1, rows, *size) for i, size in enumerate(levels)}
    flat = [("aten.view.default", (Ref(name=name), (1, rows, -1))) for name in shapes]
    n = len(levels)
    parts: Argument = tuple(Ref(name=f"s{i}") for i in range(n))
    return plan_of(
        shapes,
        steps_of(
            *flat,
            ("aten.cat.default", (parts, 2)),
            ("aten.slice.Tensor", (Ref(name=f"s{n}"), 1, 0, rows // 2)),
            ("aten.slice.Tensor", (Ref(name=f"s{n}"), 1, rows // 2, rows)),
            ("aten.softmax.int", (Ref(name=f"s{n + 1}"), 1)),
            ("aten.cat.default", ((Ref(name=f"s{n + 3}"), Ref(name=f"s{n + 2}")), 1)),
        ),
        {},
    )


def test_a_decoding_head_runs_in_tiles() -> None:
    program = lowered(head(((20, 30), (10, 15))))
    lanes = in_lanes(program)
    assert lanes is not None and lanes.lanes == 750
    assert [(part.start, part.cells, len(part.loads)) for part in lanes.parts] == [(0, 600, 1), (600, 150, 1)]
    assert all(op.to.shape[-1] == TILE for op in lanes.program.ops)
    used = {lanes.program.buffers[op.to.buffer].floats for op in (*lanes.program.ops, *lanes.parts[0].loads)}
    assert used == {4 * TILE}


@pytest.mark.parametrize(
    "step",
    [
        ("aten.softmax.int", (Ref(name="s0"), 2)),
        ("aten.sum.dim_IntList", (Ref(name="s0"), (2,), True)),
        ("aten.flip.default", (Ref(name="s0"), (2,))),
        ("aten.roll.default", (Ref(name="s0"), (1,), (2,))),
    ],
    ids=lambda step: step[0],
)
def test_what_mixes_cells_does_not(step: Step) -> None:
    plan = plan_of({"x": (1, 4, 20, 30)}, steps_of(("aten.view.default", (Ref(name="x"), (1, 4, -1))), step), {})
    assert in_lanes(lowered(plan)) is None


def test_what_is_copied_into_a_part_is_written_there() -> None:
    """Of the head only the softmax computes; the rows that are moved are copied, since they lie among others."""
    copies = [op for op in lowered(head(((20, 30), (10, 15)))).ops if isinstance(op, Map)]
    assert len(copies) == 1 and copies[0].to.shape == (1, 2, 750)


def test_elementwise_ops_in_a_row_are_one() -> None:
    plan = plan_of(
        {"x": (1, 4, 3, 5)},
        steps_of(
            ("aten.mul.Tensor", (Ref(name="x"), 2)), ("aten.sigmoid.default", (Ref(name="s0"),)),
            ("aten.add.Tensor", (Ref(name="s1"), Ref(name="x"))),
        ),
        {},
    )  # fmt: skip
    _, op = lowered(plan).ops
    assert isinstance(op, Map) and op.inputs[0].buffer == op.inputs[1].buffer and "SIGMOID" in op.expression


def test_attention_takes_rows_through_all_of_it() -> None:
    names: Argument = Ref(name="s0")
    plan = plan_of(
        {"x": (1, 8, 4, 6)},
        steps_of(
            ("aten.view.default", (Ref(name="x"), (1, 2, 4, 24))),
            ("aten.transpose.int", (names, -2, -1)),
            ("aten.matmul.default", (Ref(name="s1"), names)),
            ("aten.softmax.int", (Ref(name="s2"), -1)),
            ("aten.matmul.default", (Ref(name="s3"), Ref(name="s1"))),
        ),
        {},
    )
    assert max(len(group) for group in in_groups(lowered(plan).ops)) == 3


def test_constants_are_put_in_order_when_they_are_packed() -> None:
    plan = plan_of(
        {"x": (1, 8, 1, 1)},
        steps_of(
            ("aten.flatten.using_ints", (Ref(name="x"), 1)),
            ("aten.linear.default", (Ref(name="s0"), Ref(name="w"))),
        ),
        {"w": torch.ones(3, 8)},
    )
    program = lowered(plan)
    assert Buffer("weight", 24, "w", ((8, 3), (1, 8), 0)) in program.buffers
    assert not any(isinstance(op, Map) and not op.is_copy for op in program.ops)


@given(st.lists(st.integers(1, 200), min_size=2, max_size=8), st.randoms())
def test_buffers_that_are_needed_together_are_apart(sizes: list[int], random: object) -> None:
    buffers = tuple(Buffer("scratch", n) for n in sizes)
    views = [View(i, (n,), (1,)) for i, n in enumerate(sizes)]
    ops = tuple(
        Map(to, tuple(v.cut(0, 0, 1).expanded(to.shape) for v in views[max(0, i - 2) : i]), "{0}")
        for i, to in enumerate(views)
    )
    program = Program(buffers, ops, (("out", views[-1]),))
    placement = place(program)
    for i, op in enumerate(ops):
        here = [op.to, *read_by(op)]
        spans = sorted((placement.offsets[v.buffer], placement.offsets[v.buffer] + sizes[v.buffer]) for v in here)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)), i


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (("aten.cumsum.default", (Ref(name="x"), 1)), "aten.cumsum.default: no generated code for it"),
        (("aten.pow.Tensor_Scalar", (Ref(name="x"), 7)), "aten.pow.Tensor_Scalar: a power that"),
        (("aten.adaptive_avg_pool2d.default", (Ref(name="x"), (2, 2))), "3x5 to 2x2"),
    ],
)
def test_what_stays_in_torch_says_why(step: Step, why: str) -> None:
    with pytest.raises(Unsupported, match=why.replace("(", r"\(")):
        lowered(plan_of({"x": (1, 4, 3, 5)}, steps_of(step), {}))
