"""Reference engine: runs a plan frame by frame in torch and numpy, slowly; what it computes is the definition.

Every layer is evaluated whole and the candidates are picked from the result, so no kernel is involved; masks, slot maps
and counts are those that generated code must reproduce.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import StateError
from fluxshard.ir.params import Binary, Island, UpsampleNearest
from fluxshard.ir.plan import LayerSpec, Plan, first_windowed_layers
from fluxshard.ops.interpret import evaluate
from fluxshard.ops.reference import run_island
from fluxshard.runtime.engines.engine import StepControl, StepCounts, StepResult, StreamState
from fluxshard.runtime.level_motion import Motion, motion_of
from fluxshard.runtime.reuse import rfap, slot_map
from fluxshard.runtime.reuse.compare import close, differs, gather
from fluxshard.runtime.reuse.displacement import DisplacementField, displacement_field
from fluxshard.runtime.reuse.input_cache import InputOptions, ReferenceInput, ReferenceInputCache

Mask = NDArray[np.bool_]


@dataclass(slots=True)
class _Store:
    """Rows and map of one stored value on a grid, and the mask and candidates of the last frame."""

    pool: Tensor  # (2 * cells, C)
    slots: NDArray[np.int32]  # (cells,) the cache that the next frame reads
    old_slots: NDArray[np.int32]  # (cells,) the cache that the last frame read
    frame_slots: NDArray[np.int32]  # (cells,) what the last frame assembled; equal to `slots` unless remap=False
    mask: Mask
    candidates: Mask


@dataclass(slots=True)
class _Data:
    """State of one stream."""

    input_mask: Mask | None = None
    stores: dict[str, _Store] = field(default_factory=dict)
    cached: dict[str, Tensor] = field(default_factory=dict)  # values off the grids: vectors and island outputs


@dataclass(slots=True)
class _Frame:
    """Working state of one frame."""

    control: StepControl
    keyframe: bool
    fields: list[DisplacementField]
    values: dict[str, Tensor]  # assembled values of this frame
    old: dict[str, Tensor]  # cached values in the coordinates that displacements point into
    masks: dict[str, Mask]  # S of values on grids
    changed: dict[str, bool]  # values off the grids
    flags: Mask | None  # compact RFAP flags on the image


class ReferenceEngine:
    """See the module's docstring.

    Args:
      plan: what to run.
      weights: by name.
    """

    name = "reference"
    torch_device = torch.device("cpu")

    def __init__(self, plan: Plan, weights: Mapping[str, Tensor]) -> None:
        self.plan = plan
        self._weights = weights
        self._first_windowed = first_windowed_layers(plan)
        self._index = {layer.name: index for index, layer in enumerate(plan.layers)}
        self._read_later = {name for layer in plan.layers for name in layer.inputs}

    def new_state(self, *, given: bool = False) -> StreamState:
        """See `Engine.new_state`."""
        data = _Data()
        n_bytes = 0
        for layer in self.plan.layers:
            for name in layer.outputs:
                value = self.plan.value(name)
                if layer.mode == "view" or value.grid is None:
                    continue
                grid = self.plan.grids[value.grid]
                nothing = np.zeros((grid.height, grid.width), np.bool_)
                start = slot_map.identity(grid.cells)
                data.stores[name] = _Store(
                    torch.zeros(2 * grid.cells, value.channels), start, start, start, nothing, nothing
                )
                n_bytes += grid.cells * (8 * value.channels + 6)
        return StreamState(data, n_bytes)

    def new_input_cache(self, options: InputOptions) -> ReferenceInputCache:
        """See `Engine.new_input_cache`."""
        return ReferenceInputCache(self.plan.grids[0], self.plan.value(self.plan.input).channels, options)

    @torch.no_grad()
    def step(self, state: StreamState, image: Tensor, motion: Motion | None, control: StepControl) -> StepResult:
        """See `Engine.step`."""
        data: _Data = state.data
        frame = self._begin(data, image, motion, control)
        counted = {}
        for layer in self.plan.layers:
            if layer.mode == "view":
                self._view(layer, frame)
                counted[layer.name] = (0, False)
            elif isinstance(layer.params, Island):
                counted[layer.name] = self._island(layer, layer.params, data, frame)
            else:
                counted[layer.name] = self._sparse(layer, data, frame)
        if not control.remap:
            self._keep_coordinates(data, frame)
        assert data.input_mask is not None
        rows = [counted[layer.name] for layer in self.plan.layers]
        counts = StepCounts(
            keyframe=frame.keyframe,
            input_cells=int(data.input_mask.sum()),
            candidates=np.array([row[0] for row in rows], np.int64),
            executed=np.array([row[1] for row in rows], np.bool_),
        )
        return StepResult(
            leaves=[
                leaf.literal if leaf.value is None else _own(frame.values[leaf.value]) for leaf in self.plan.outputs
            ],
            counts=lambda: counts,
        )

    def inspect(self, state: StreamState) -> ReferenceInspection:
        """See `Engine.inspect`."""
        return ReferenceInspection(self.plan, state.data)

    def _begin(self, data: _Data, image: Tensor, motion: Motion | None, control: StepControl) -> _Frame:
        grids, given = self.plan.grids, control.input
        keyframe = control.keyframe
        if given is None:
            fed = previous = control.pixels.floats(image).clone()
        elif isinstance(given, ReferenceInput):
            keyframe, fed, previous = given.keyframe, given.fed, given.previous
        else:
            raise StateError(f"the input was assembled by another backend ({type(given).__name__}): take this engine's")
        fields = [
            displacement_field(None if keyframe else motion_of(motion, index), grid, grids[0])
            for index, grid in enumerate(grids)
        ]
        if keyframe:
            changed = np.ones(fields[0].valid.shape, np.bool_)
        elif isinstance(given, ReferenceInput):
            changed = given.mask()
        else:
            assert control.work is not None, "without an input, all work has to be given"
            changed = control.work[0] | ~fields[0].valid
        data.input_mask = changed
        flags = None
        if control.rfap == "compact" and not keyframe:
            flags = rfap.compact_flags(fields[0], grids[0], self.plan.r_max, self.plan.s_max)
        name = self.plan.input
        return _Frame(control, keyframe, fields, {name: fed}, {name: previous}, {name: changed}, {}, flags)

    def _view(self, layer: LayerSpec, frame: _Frame) -> None:
        name = layer.output
        frame.values[name] = evaluate(layer, [frame.values[i] for i in layer.inputs], {})
        frame.old[name] = evaluate(layer, [frame.old[i] for i in layer.inputs], {})
        masks = [frame.masks[i] for i in layer.inputs]
        if not isinstance(layer.params, UpsampleNearest):
            frame.masks[name] = np.logical_or.reduce(masks)
            return
        grid_in, grid_out = self.plan.value(layer.inputs[0]).grid, self.plan.value(name).grid
        assert grid_in is not None and grid_out is not None
        field_in, field_out = frame.fields[grid_in], frame.fields[grid_out]
        if frame.keyframe:
            frame.masks[name] = np.ones(field_out.valid.shape, np.bool_)
            return
        if frame.control.work is not None and grid_out in frame.control.work:
            frame.masks[name] = frame.control.work[grid_out] | ~field_out.valid
            return
        factor = np.array(layer.params.factor)
        parent_d = field_in.displacement.repeat(factor[0], 0).repeat(factor[1], 1)
        parent_mask = masks[0].repeat(factor[0], 0).repeat(factor[1], 1)
        candidates = parent_mask | (field_out.displacement != parent_d * factor).any(-1)
        changed = differs(frame.values[name], gather(frame.old[name], field_out), 0.0)
        frame.masks[name] = (candidates & changed) | ~field_out.valid

    def _sparse(self, layer: LayerSpec, data: _Data, frame: _Frame) -> tuple[int, bool]:
        candidates = self._candidates(layer, frame)
        weights = {role: self._weights[name] for role, name in layer.weights}
        fresh = evaluate(layer, [frame.values[i] for i in layer.inputs], weights) if candidates.any() else None
        forced = frame.control.work is not None and self.plan.value(layer.output).grid in frame.control.work
        tau = frame.control.tau[self._index[layer.name]]
        self._store(layer.output, data, frame, candidates, fresh, None if forced else tau)
        return int(candidates.sum()), bool(candidates.any())

    def _candidates(self, layer: LayerSpec, frame: _Frame) -> Mask:
        grid = self.plan.value(layer.output).grid
        assert grid is not None and layer.windows is not None
        field_out = frame.fields[grid]
        shape = field_out.valid.shape
        if frame.keyframe:
            return np.ones(shape, np.bool_)
        if frame.control.work is not None and grid in frame.control.work:
            return frame.control.work[grid] | ~field_out.valid
        first, *others = layer.inputs
        mask_in = frame.masks[first]
        if layer.is_windowed:
            if frame.flags is not None and layer.name in self._first_windowed:
                mask_in = mask_in | frame.flags
            candidates = rfap.spread(mask_in, layer.windows, *shape)
            grid_in = self.plan.value(first).grid
            assert grid_in is not None
            if frame.control.rfap == "per_layer":
                candidates |= rfap.window_flags(frame.fields[grid_in], field_out, layer.windows)
        else:
            candidates = mask_in.copy()
        for name in others:  # residuals and second operands: pointwise, on the same grid, or vectors
            is_vector = isinstance(layer.params, Binary) and layer.params.operand == "vector"
            candidates |= frame.changed[name] if is_vector else frame.masks[name]
        return candidates | ~field_out.valid

    def _store(
        self, name: str, data: _Data, frame: _Frame, candidates: Mask, fresh: Tensor | None, tau: float | None
    ) -> None:
        """Remaps the cache of a stored value and puts what changed on top."""
        store = data.stores[name]
        grid = self.plan.value(name).grid
        assert grid is not None
        field_ = frame.fields[grid]
        old_slots = store.slots
        frame.old[name] = self._assemble(store.pool, old_slots, field_.valid.shape)
        if frame.keyframe:
            new_slots = slot_map.identity(candidates.size)
            changed = candidates
            assert fresh is not None
            store.pool[: candidates.size] = torch.from_numpy(_rows(fresh))
        else:
            new_slots = slot_map.remap(old_slots, field_)
            changed = candidates
            if fresh is not None:
                if tau is not None:
                    keep = ~differs(fresh, gather(frame.old[name], field_), tau) & field_.valid
                    changed = candidates & ~keep
                cells = np.flatnonzero(candidates)
                rows = slot_map.allocate(old_slots, cells, len(store.pool))
                picked = changed.ravel()[cells]
                new_slots[cells[picked]] = rows[picked]
                store.pool[torch.from_numpy(rows[picked]).long()] = torch.from_numpy(_rows(fresh)[cells[picked]])
        store.old_slots, store.slots, store.frame_slots = old_slots, new_slots, new_slots
        store.mask, store.candidates = changed, candidates
        frame.values[name] = self._assemble(store.pool, new_slots, field_.valid.shape)
        frame.masks[name] = changed

    def _island(self, layer: LayerSpec, params: Island, data: _Data, frame: _Frame) -> tuple[int, bool]:
        if not self._island_must_run(layer, frame):
            for name in layer.outputs:
                if name in data.stores:
                    self._store(name, data, frame, np.zeros_like(data.stores[name].mask), None, None)
                else:
                    frame.values[name], frame.changed[name] = data.cached[name], False
            return 0, False
        # maps are rows of a pool; an island may look at theirs as another shape, as it does in the network
        names = {name: frame.values[name].contiguous() for name in layer.inputs}
        names |= {role: self._weights[name] for role, name in layer.weights}
        results = run_island(params.steps, names)
        tau = frame.control.tau[self._index[layer.name]]
        evaluated = 0
        for name in layer.outputs:
            fresh = results[name]
            assert isinstance(fresh, Tensor)
            if name in data.stores:
                everything = np.ones_like(data.stores[name].mask)
                evaluated += everything.size
                self._store(name, data, frame, everything, fresh.contiguous(), tau)
                continue
            cached = data.cached.get(name)
            new = frame.keyframe or cached is None or name not in self._read_later or not close(fresh, cached, tau)
            data.cached[name] = fresh.clone() if new or cached is None else cached
            frame.values[name], frame.changed[name] = data.cached[name], new
            evaluated += 1
        return evaluated, True

    def _island_must_run(self, layer: LayerSpec, frame: _Frame) -> bool:
        for name in layer.inputs:
            grid = self.plan.value(name).grid
            if grid is None:
                if frame.changed[name]:
                    return True
            elif frame.keyframe or frame.masks[name].any() or not frame.fields[grid].still:
                return True
        # an output may live on a finer grid than any input: its cache would be moved, and stand for nothing
        grids = [self.plan.value(name).grid for name in layer.outputs]
        return any(grid is not None and not frame.fields[grid].still for grid in grids)

    def _keep_coordinates(self, data: _Data, frame: _Frame) -> None:
        """The "w/o remap" ablation: the cache stays where it was, what changed goes back along the motion."""
        if frame.keyframe:
            return
        for name, store in data.stores.items():
            grid = self.plan.value(name).grid
            assert grid is not None
            store.slots = slot_map.scatter_back(store.old_slots, store.frame_slots, store.mask, frame.fields[grid])

    @staticmethod
    def _assemble(pool: Tensor, rows: NDArray[np.int32], shape: tuple[int, ...]) -> Tensor:
        return pool[torch.from_numpy(rows).long()].T.reshape(1, pool.shape[1], *shape)


@dataclass(frozen=True, slots=True)
class ReferenceInspection:
    """See `Inspection`."""

    plan: Plan
    data: _Data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.plan!r})"

    @property
    def rows_in_place(self) -> bool:
        """See `Inspection.rows_in_place`."""
        return False

    def input_mask(self) -> Mask:
        """See `Inspection.input_mask`."""
        assert self.data.input_mask is not None
        return self.data.input_mask.copy()

    def candidates(self, layer: str) -> Mask | None:
        """See `Inspection.candidates`."""
        spec = self.plan.layer(layer)
        return self.data.stores[spec.output].candidates.copy() if spec.mode == "sparse" else None

    def mask(self, value: str) -> Mask | None:
        """See `Inspection.mask`."""
        store = self.data.stores.get(value)
        return None if store is None else store.mask.copy()

    def slots(self, value: str) -> NDArray[np.int32] | None:
        """See `Inspection.slots`."""
        store = self.data.stores.get(value)
        return None if store is None else store.frame_slots.reshape(store.mask.shape).copy()

    def value(self, value: str) -> Tensor | None:
        """See `Inspection.value`."""
        store = self.data.stores.get(value)
        if store is None:
            return None
        return ReferenceEngine._assemble(store.pool, store.frame_slots, store.mask.shape)


def _rows(values: Tensor) -> NDArray[np.float32]:
    """`(1, C, H, W)` to `(H * W, C)`."""
    return np.ascontiguousarray(values[0].flatten(1).T.numpy())


def _own(value: Tensor) -> Tensor:
    return value.clone(memory_format=torch.contiguous_format)
