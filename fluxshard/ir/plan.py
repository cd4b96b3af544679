"""Plan: a network as a list of layers, independent of the target and free of torch.

`passes` produce a Plan; `codegen` and `runtime` consume it. Two machines that run the same model have plans of the same
digest. Weights are kept beside the plan, by name.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from fractions import Fraction
from typing import Any, Literal

from fluxshard.errors import PlanError
from fluxshard.geometry import Grid, ReceptiveField, Window
from fluxshard.ir.params import PARAMS, Conv2d, IslandStep, Pad, Params, Ref

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueSpec:
    """A tensor that flows between layers.

    Attributes:
      name: unique in the plan.
      shape: `(1, C, H, W)` for values on a grid; any shape otherwise.
      grid: index into `Plan.grids`; None for values without cells, such as vectors of SE blocks or decoded boxes.
    """

    name: str
    shape: tuple[int, ...]
    grid: int | None

    @property
    def channels(self) -> int:
        """Number of channels; for values on a grid."""
        return self.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSpec:
    """One step of the network.

    Attributes:
      name: unique in the plan; the key of thresholds and statistics.
      params: the op and its parameters.
      inputs: names of values, in the order that the docstring of the params gives.
      outputs: names of values; one, except for islands.
      weights: (role, weight name) pairs; the docstring of the params lists the roles.
      windows: (y, x) windows from the first input; None for islands.
      fields: (y, x) receptive fields of the output in image pixels; None where it has none.
      mode: "sparse" stores rows and recomputes changed cells; "view" stores nothing; "dense" is an island.
      reason: why it is dense; empty otherwise.
      macs: multiply-accumulates on all cells.
    """

    name: str
    params: Params
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[tuple[str, str], ...] = ()
    windows: tuple[Window, Window] | None = None
    fields: tuple[ReceptiveField, ReceptiveField] | None = None
    mode: Literal["sparse", "view", "dense"] = "sparse"
    reason: str = ""
    macs: int = 0

    @property
    def op(self) -> str:
        """The op's key in `ir.params.PARAMS`."""
        return self.params.op

    @property
    def output(self) -> str:
        """Name of the only output."""
        (name,) = self.outputs
        return name

    @property
    def is_windowed(self) -> bool:
        """True where an output cell reads other cells than its own: the layer is subject to RFAP.

        A 1x1 convolution of stride 2 is windowed. So is padding after the last cell: it changes the grid, if no window.

        Source: the paper's Section IV-C, layers whose receptive field exceeds one position.
        """
        if isinstance(self.params, Pad):
            return True
        if isinstance(self.params, Conv2d) and self.params.padding != ((0, 0), (0, 0)):
            return True
        return self.windows is not None and not all(window.is_pointwise for window in self.windows)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSpec:
    """Name, shape and dtype of a constant tensor; only islands have other dtypes than float32."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A leaf of the model's output: the name of a value, or a literal."""

    value: str | None = None
    literal: None | bool | int | float | str = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A network that any backend can run.

    Attributes:
      name: class of the model, for display.
      input: name of the image, a value `(1, C, H, W)` on `grids[0]`.
      grids: lattices of cells, each once, the image's first.
      values, layers, weights: in execution order; every value is produced before it is read.
      outputs: leaves of the model's output, in the order of `output_tree`.
      output_tree: pytree structure of the output, as JSON of `torch.utils._pytree.treespec_dumps`.
    """

    name: str
    input: str
    grids: tuple[Grid, ...]
    values: tuple[ValueSpec, ...]
    layers: tuple[LayerSpec, ...]
    weights: tuple[WeightSpec, ...]
    outputs: tuple[Output, ...]
    output_tree: str
    # asked for every frame; no part of the plan's text, of its digest or of comparisons
    _values: dict[str, ValueSpec] = field(init=False, repr=False, compare=False)
    _layer_indices: dict[str, int] = field(init=False, repr=False, compare=False)
    _macs: int = field(init=False, repr=False, compare=False)
    _digest: str = field(init=False, repr=False, compare=False)  # empty until it is asked for

    def __post_init__(self) -> None:
        object.__setattr__(self, "_digest", "")
        object.__setattr__(self, "_values", {value.name: value for value in self.values})
        object.__setattr__(self, "_layer_indices", {layer.name: index for index, layer in enumerate(self.layers)})
        object.__setattr__(self, "_macs", sum(layer.macs for layer in self.layers))

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"Plan({self.name} {height}x{width}, {len(self.layers)} layers, {self.macs / 1e6:.1f} MMAC)"

    def value(self, name: str) -> ValueSpec:
        """The value of this name.

        Raises:
          PlanError: there is none.
        """
        try:
            return self._values[name]
        except KeyError:
            raise PlanError(_unknown(self.name, "value", name, self._values)) from None

    def layer(self, name: str) -> LayerSpec:
        """The layer of this name.

        Raises:
          PlanError: there is none.
        """
        return self.layers[self.layer_index(name)]

    def layer_index(self, name: str) -> int:
        """Position in `layers` of the layer of this name: where per-layer arrays hold its thresholds and counts.

        Raises:
          PlanError: there is none.
        """
        try:
            return self._layer_indices[name]
        except KeyError:
            raise PlanError(_unknown(self.name, "layer", name, self._layer_indices)) from None

    def grid_of(self, name: str) -> Grid:
        """The grid of a value.

        Raises:
          PlanError: there is no such value, or it has no grid.
        """
        index = self.value(name).grid
        if index is None:
            raise PlanError(f"value {name!r} has no grid")
        return self.grids[index]

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the image in pixels."""
        return self.grids[0].height, self.grids[0].width

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a dense run: the denominator of compute ratios."""
        return self._macs

    @property
    def s_max(self) -> int:
        """Largest cumulative stride of a sparse layer's output in pixels, rounded up.

        Source: S_max in the paper's Section IV-C.
        """
        used = {self.value(layer.outputs[0]).grid for layer in self.layers if layer.mode == "sparse"}
        strides = [max(self.grids[i].stride_y, self.grids[i].stride_x) for i in used if i is not None]
        return -(-max(strides, default=Fraction(1)) // 1)

    @property
    def r_max(self) -> int:
        """Largest window of a sparse layer times the cumulative stride of its input, in pixels, rounded up.

        Source: R_max in the paper's Section IV-C.
        """
        reach = [Fraction(1)]
        for layer in self.layers:
            if layer.mode != "sparse" or not layer.windows:
                continue
            grid = self.grid_of(layer.inputs[0])
            for window, stride in zip(layer.windows, (grid.stride_y, grid.stride_x), strict=True):
                spans = [max(taps) - min(taps) + 1 for taps in window.offsets if taps]
                reach.append(max(spans, default=1) * stride if window.is_periodic else stride)
        return -(-max(reach) // 1)

    def to_json(self) -> str:
        """The plan as canonical JSON: equal plans give equal text."""
        body = {f.name: _encode(getattr(self, f.name)) for f in fields(self) if f.init}
        return json.dumps({"format": FORMAT, **body}, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote.

        Raises:
          PlanError: the text is not a plan, or one of another format version.
        """
        try:
            body = json.loads(text)
            version = body.pop("format")
            if version != FORMAT:
                raise PlanError(f"plan has format {version}; this version reads {FORMAT}: compile the model again")
            return cls(**{key: _decode(value) for key, value in body.items()})
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(f"not a plan: {type(error).__name__}: {error}") from error

    def digest(self) -> str:
        """SHA-256 of `to_json()` as 64 hex digits."""
        if not self._digest:  # the text of a large network takes tens of milliseconds
            object.__setattr__(self, "_digest", hashlib.sha256(self.to_json().encode()).hexdigest())
        return self._digest

    def to_text(self) -> str:
        """A listing with one line per grid and layer, for display and golden files."""
        lines = [f"plan {self.name}: image {self.image_size[0]}x{self.image_size[1]}, {self.macs / 1e6:.1f} MMAC"]
        for index, grid in enumerate(self.grids):
            lines.append(f"  grid {index}: {grid.height}x{grid.width} stride {grid.stride_y}x{grid.stride_x}")
        for layer in self.layers:
            shapes = ", ".join(f"{name}{list(self.value(name).shape)}" for name in layer.outputs)
            note = f"  # {layer.reason}" if layer.reason else ""
            lines.append(f"  {layer.mode:6} {shapes} = {layer.op}({', '.join(layer.inputs)}){note}")
        leaves = ", ".join(leaf.value or repr(leaf.literal) for leaf in self.outputs)
        return "\n".join([*lines, f"  return {leaves}"])


def first_windowed_layers(plan: Plan) -> frozenset[str]:
    """Names of windowed layers that read the image through per-cell ops and channel views only.

    There compact RFAP flags join the recompute set.

    Source: the paper's Section IV-C, "merged into the recomputation set at the first DNN layer whose receptive field
    exceeds one".
    """
    reaches = {plan.input}
    first = set()
    for layer in plan.layers:
        if layer.mode == "dense" or not any(name in reaches for name in layer.inputs):
            continue
        if not layer.is_windowed:
            reaches.update(layer.outputs)
        elif layer.inputs[0] in reaches:
            first.add(layer.name)
    return frozenset(first)


def _unknown(plan: str, kind: str, name: str, known: Iterable[str]) -> str:
    close = ", ".join(map(repr, difflib.get_close_matches(name, known))) or "none is close"
    return f"plan {plan} has no {kind} {name!r} ({close}); see plan.to_text()"


_CLASSES = {
    kind.__name__: kind
    for kind in (
        ValueSpec,
        LayerSpec,
        WeightSpec,
        Output,
        Grid,
        ReceptiveField,
        Window,
        Ref,
        IslandStep,
        *PARAMS.values(),
    )
}


def _encode(value: object) -> Any:
    if isinstance(value, Fraction):
        return {"$": "Fraction", "v": [value.numerator, value.denominator]}
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, float):
        return {"$": "float", "v": value.hex()}  # exact, and keeps inf and nan valid JSON
    if is_dataclass(value):
        return {"$": type(value).__name__, **{f.name: _encode(getattr(value, f.name)) for f in fields(value)}}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise PlanError(f"a plan cannot hold a {type(value).__name__} ({value!r})")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    if not isinstance(value, dict):
        return value
    kind = value["$"]
    if kind == "Fraction":
        return Fraction(*value["v"])
    if kind == "float":
        return float.fromhex(value["v"])
    return _CLASSES[kind](**{key: _decode(item) for key, item in value.items() if key != "$"})
