"""What the template prints of an island: loops over constants, and pointers as C++ expressions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """`for (int name = 0; name < limit; name += step)`."""

    name: str
    limit: int
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What an elementwise op reads.

    Attributes:
      at: where.
      is_same: one number for all elements of the row; otherwise they are neighbours, or `step` floats apart.
      step: floats between elements.
    """

    at: str
    is_same: bool
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRow:
    """A row of an elementwise op.

    Attributes:
      kind: block of the template.
      to: where.
      step: floats between results.
      count: how many; a C++ expression.
      inputs: v0, v1, ... of the expression.
      expression: of `element i`.
    """

    kind: str = "map"
    to: str
    step: int
    count: str
    inputs: tuple[Input, ...]
    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """A copy in which rows become columns: `to[r * to_step + c] = of[c * of_step + r]`."""

    kind: str = "turned"
    to: str
    to_step: int
    of: str
    of_step: int
    rows: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxRows:
    """Softmax of neighbours, for `rows` (a C++ expression) rows."""

    kind: str = "softmax_rows"
    to: str
    to_step: int
    of: str
    of_step: int
    rows: str
    count: int
    log: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxColumns:
    """Softmax of `count` numbers that are a step apart, for `columns` neighbours."""

    kind: str = "softmax_columns"
    to: str
    to_step: int
    of: str
    of_step: int
    count: int
    columns: int
    log: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductRows:
    """Rows of a matrix product; `rows` is a C++ expression."""

    kind: str = "product"
    to: str
    to_step: int
    left: str
    left_row: int
    left_depth: int
    right: str
    right_step: int
    rows: str
    columns: int
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceRow:
    """One number from `count` neighbours; `how` is an enumerator of islands.h, `scale` a literal."""

    kind: str = "reduce_row"
    to: str
    of: str
    count: int
    how: str
    scale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceColumns:
    """From `count` rows, a step apart, one row of `columns` numbers."""

    kind: str = "reduce_columns"
    to: str
    of: str
    of_step: int
    count: int
    columns: int
    how: str
    scale: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NormaliseRow:
    """A row to zero mean and unit variance."""

    kind: str = "normalise"
    to: str
    of: str
    count: int
    eps: str


Body = MapRow | Turned | SoftmaxRows | SoftmaxColumns | ProductRows | ReduceRow | ReduceColumns | NormaliseRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """Loops around bodies; in parallel, iterations are shared out among threads, and each is computed by one."""

    loops: tuple[Loop, ...]
    parallel: bool
    bodies: tuple[Body, ...]
