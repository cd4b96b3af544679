"""What every sparse layer becomes: the frozen values that its piece of the template reads, one class for each kind.

A family is a class here with a block of the same name in `templates/cpp/step.cpp.jinja`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fluxshard.codegen.common.segments import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Epilogue:
    """What happens to a row after its raw values: `act_after(act(row + bias) + residual)`, then the comparison.

    `bias` and `slope` are offsets into the weights, None where absent.
    """

    channels: int
    act: str = "NONE"
    act_after: str = "NONE"
    numbers: tuple[str, str, str, str] = ("0", "0", "0", "0")
    bias: int | None = None
    slope: int | None = None
    residual: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What all sparse layers share.

    Attributes:
      family: block of the template.
      index: in the plan.
      name, op: for the comment.
      store: index of the output's store.
      segments: of the first input.
      mask: C++ expression of the first input's mask.
      masks: of other inputs that are read cell by cell.
      vectors: indices of off-grid values that change all cells.
      windowed: the window rule applies; with axes and the index of its flags.
      first: compact flags merge here.
      finish: the epilogue.
    """

    family: str
    index: int
    name: str
    op: str
    store: int
    segments: tuple[Segment, ...]
    mask: str
    masks: tuple[str, ...] = ()
    vectors: tuple[int, ...] = ()
    windowed: bool = False
    axis_y: int = 0
    axis_x: int = 0
    flags: int = 0
    first: bool = False
    finish: Epilogue
    p: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """Convolution without groups; `joined`: of the image, whose pixels in a row of the window are read as one."""

    cells: int
    vectors: int
    weights: int
    joined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Winograd:
    """Convolution of 3x3 without groups that slides by one, in tiles of 2x2 cells; `inputs` are its channels."""

    cells: int
    vectors: int
    inputs: int
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Depthwise:
    """One input channel per output channel."""

    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouped:
    """Any other grouping."""

    groups: int
    inputs: int
    outputs: int
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Weights of one output phase of a transposed convolution."""

    y: int
    x: int
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transposed:
    """Transposed convolution, one phase after another."""

    stride: tuple[int, int]
    phases: tuple[Phase, ...]
    gemm: Convolution | None
    grouped: Grouped | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AvgPool:
    """Numbers of AvgGeometry in layers.h."""

    geometry: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantRows:
    """Ops that read constant rows: offsets of scale, gamma, beta or operand in the weights."""

    one: int
    two: int = 0
    eps: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Binary op: `constant` is a C++ expression of one row for all cells, or empty."""

    kind: str
    swapped: bool
    other: tuple[Segment, ...] = ()
    constant: str = ""
    scalar: tuple[str, ...] = ()  # a row of the number, where the constant is one


@dataclass(frozen=True, slots=True, kw_only=True)
class LerpAxis:
    """Positions and share of the higher one, per output cell."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    share: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bilinear:
    """Both axes of a bilinear resampling."""

    y: LerpAxis
    x: LerpAxis


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """Constant that stands outside; for nearest resampling the axes are its own."""

    value: str
    axis_y: int
    axis_x: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view with a mask of its own."""

    family: str  # "cat" or "upsample"
    index: int
    name: str
    offset: int
    cells: int
    masks: tuple[str, ...]
    mask_index: int
    grid_in: int = 0
    grid_out: int = 0
    factor: tuple[int, int] = (1, 1)
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandPort:
    """An island's input or output on a grid: store index, dense buffer (a C++ expression)."""

    store: int
    channels: int
    grid: int
    dense: str = ""
    segments: tuple[Segment, ...] = ()
    mask: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandCall:
    """An island.

    Attributes:
      index: in the plan.
      name: for the comment.
      number: among those that run in torch, through the callback; -1 for others.
      inputs, outputs: on grids.
      vectors: indices of inputs off the grids.
      n_off_grid: outputs off the grids.
      code: the ops, where they are generated (islands.describe.IslandCode); otherwise None.
    """

    family: str = field(default="island", init=False)
    index: int
    name: str
    number: int
    inputs: tuple[IslandPort, ...]
    vectors: tuple[int, ...]
    outputs: tuple[IslandPort, ...]
    n_off_grid: int
    code: object = None
