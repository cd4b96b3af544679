"""What a convolution's time depends on, and the tiles that may compute it."""

from __future__ import annotations

from dataclasses import dataclass

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.axes import AxisLayout
from fluxshard.codegen.cpp import families as fam
from fluxshard.codegen.cpp.lowering import StepSpec
from fluxshard.codegen.cpp.tiles import Tile, room_for
from fluxshard.ir.kernel import Target

_CELLS = (14, 10, 8, 5)  # most of a tile


@dataclass(frozen=True, slots=True, order=True)
class Axis:
    """One axis of a window: cells of input and output, taps, input cells from one output cell to the next."""

    n_in: int
    n_out: int
    taps: int
    step: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A convolution without groups as a kernel sees it; layers that are alike are one problem.

    Attributes:
      inputs: channels of each segment of the input, and by how much it is upsampled (y, x).
      y, x: the window.
      outputs: channels.
      joined: numbers of a pixel where the taps of a window's row are read as one; otherwise 0.
      phases: of a transposed convolution (y, x), which are computed one after another; otherwise (1, 1).
    """

    inputs: tuple[tuple[int, int, int], ...]
    y: Axis
    x: Axis
    outputs: int
    joined: int = 0
    phases: tuple[int, int] = (1, 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all cells."""
        cells = self.y.n_out * self.x.n_out
        return cells * self.y.taps * self.x.taps * self.outputs * sum(channels for channels, _, _ in self.inputs)


def problems_of(spec: StepSpec) -> dict[str, Problem]:
    """The problem of every convolution of a program that has a tile, by layer."""
    found = {}
    for step in spec.steps:
        if not isinstance(step, fam.Layer):
            continue
        joined, phases = 0, (1, 1)
        if isinstance(step.p, fam.Convolution):
            joined = spec.image_stride if step.p.joined else 0
        elif isinstance(step.p, fam.Transposed) and step.p.gemm is not None:
            phases = step.p.stride
        else:
            continue
        y, x = (spec.layout.axes[index] for index in (step.axis_y, step.axis_x))
        found[step.name] = Problem(
            inputs=tuple((segment.count, segment.uy, segment.ux) for segment in step.segments),
            y=_axis(y), x=_axis(x), outputs=step.finish.channels, joined=joined, phases=phases,
        )  # fmt: skip
    return found


def _axis(axis: AxisLayout) -> Axis:
    return Axis(n_in=axis.n_in, n_out=axis.n_out, taps=axis.taps, step=axis.window.in_step)


def tiles_of(target: Target) -> tuple[Tile, ...]:
    """All tiles that are ever tried on a target."""
    found = []
    for vectors in range(1, 8 if target.registers >= 32 else 4):
        room = room_for(vectors, target)
        found += [Tile(cells, vectors) for cells in dict.fromkeys(min(room, most) for most in _CELLS)]
    return tuple(found)


def candidates(problem: Problem, target: Target) -> tuple[Tile, ...]:
    """Tiles to try, the rule's first: those that pad channels no more than it does."""
    rule = Tile.of(problem.outputs, target)

    def padded(tile: Tile) -> int:
        return round_up(problem.outputs, tile.vectors * target.vector_floats)

    others = [tile for tile in tiles_of(target) if tile != rule and padded(tile) <= padded(rule)]
    return (rule, *others)
