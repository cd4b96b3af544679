"""Work of a frame as figures: multiply-accumulates, their place in the image, and statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluxshard.ir.params import Conv2d, ConvTranspose2d
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.motion import CELL_PX, MotionField, cells, centres
from fluxshard.runtime.engines.engine import Inspection, Mask, StepCounts
from fluxshard.runtime.reuse.policy import Proposal
from fluxshard.runtime.stats import FrameStats


@dataclass(frozen=True, slots=True)
class Times:
    """Moments of a frame in seconds: the call, ready to step, stepped, done."""

    started: float
    ready: float
    stepped: float
    done: float


def frame_stats(
    macs: WorkCounter,
    counts: StepCounts,
    motion: MotionField | None,
    times: Times,
    frame: int,
    *,
    pixels: int,
    dense_macs: int,
) -> FrameStats:
    """Statistics of a frame.

    Args:
      macs: of the engine's plan.
      counts: what the engine counted.
      motion: what was given with the frame.
      times: of the frame.
      frame: its number.
      pixels: of the image.
      dense_macs: multiply-accumulates of the network on the image.
    """
    edge_pre_ms, post_ms = (times.ready - times.started) * 1e3, (times.done - times.stepped) * 1e3
    # a device goes on after the call has returned: then what it measured counts
    inference_ms = max((times.stepped - times.ready) * 1e3, counts.total_ms)
    return FrameStats(
        frame=frame,
        keyframe=counts.keyframe,
        recompute_ratio=min(1.0, counts.input_cells / pixels),
        compute_ratio=macs(counts) / dense_macs if dense_macs else 0.0,
        tx_ratio=0.0,
        latency_ms=edge_pre_ms + inference_ms + post_ms,
        edge_pre_ms=edge_pre_ms,
        server_pre_ms=0.0,
        transmission_ms=0.0,
        inference_ms=inference_ms,
        post_ms=post_ms,
        overhead_ms=max(0.0, inference_ms - counts.conv_ms - counts.island_ms) if counts.conv_ms else 0.0,
        motion_source="none" if motion is None else "given",
        placement="edge",
        bytes_sent=0,
        layers_executed=int(counts.executed.sum()),
    )


class WorkCounter:
    """Counts the multiply-accumulates of the cells that a step evaluated; islands count whole when they run.

    Args:
      plan: of the engine.
    """

    def __init__(self, plan: Plan) -> None:
        sparse = [layer.mode == "sparse" for layer in plan.layers]
        macs = np.array([layer.macs for layer in plan.layers], np.float64)
        cells = [plan.grid_of(layer.output).cells if layer.mode == "sparse" else 1 for layer in plan.layers]
        self._per_cell, self._per_run = np.where(sparse, macs / cells, 0.0), np.where(sparse, 0.0, macs)

    def __call__(self, counts: StepCounts) -> float:
        """Multiply-accumulates of a step."""
        return float(counts.candidates @ self._per_cell + counts.executed @ self._per_run)


def work_map(plan: Plan, inspection: Inspection) -> NDArray[np.float32]:
    """See `Session.work_map`."""
    return _work_map(plan, lambda layer: inspection.candidates(layer.name))


def predicted_work_map(plan: Plan, proposal: Proposal) -> NDArray[np.float32]:
    """The same of a frame that ran elsewhere.

    Under planned reuse the work is the proposal's; under propagated reuse, where deeper work is not known, every layer
    is taken to recompute what changed in the image.
    """
    work = proposal.control.work
    if proposal.keyframe or work is None or len(work) < len(plan.grids):
        changed = proposal.input_mask()
        rows, columns = cells(plan.image_size[0], CELL_PX), cells(plan.image_size[1], CELL_PX)
        padded = np.zeros((rows * CELL_PX, columns * CELL_PX), np.float32)
        padded[: changed.shape[0], : changed.shape[1]] = changed
        share: NDArray[np.float32] = padded.reshape(rows, CELL_PX, columns, CELL_PX).mean((1, 3), dtype=np.float32)
        return share
    return _work_map(plan, lambda layer: work.get(plan.value(layer.output).grid or 0))


def _work_map(plan: Plan, candidates_of: Callable[[LayerSpec], Mask | None]) -> NDArray[np.float32]:
    # layers of a grid mostly evaluate the same cells: these are resampled once, with the work of all of them
    groups: dict[int, list[tuple[Mask, int]]] = {}
    for layer in plan.layers:
        if not isinstance(layer.params, Conv2d | ConvTranspose2d) or layer.mode != "sparse":
            continue
        candidates = candidates_of(layer)
        assert candidates is not None
        of_grid = groups.setdefault(plan.value(layer.output).grid or 0, [])
        if of_grid and np.array_equal(of_grid[-1][0], candidates):
            of_grid[-1] = candidates, of_grid[-1][1] + layer.macs
        else:
            of_grid.append((candidates, layer.macs))
    total = np.zeros(tuple(cells(px, CELL_PX) for px in plan.image_size), np.float32)
    macs = 0
    for candidates, work in (group for of_grid in groups.values() for group in of_grid):
        total += work * _on_cells(candidates, plan.image_size)
        macs += work
    return (total / np.float32(max(macs, 1))).astype(np.float32)


def _on_cells(candidates: Mask, size: tuple[int, int]) -> NDArray[np.float32]:
    """Share of the cells of a grid that are candidates, around each 8-px cell of an image of `size`."""
    share = candidates.astype(np.float32)
    # a motion cell sees the mean over the feature cells inside it, or the feature cell that holds its centre
    for axis, px in enumerate(size):
        count, step = cells(px, CELL_PX), _per_cell(candidates.shape[axis], px)
        if step > 1:
            share = np.add.reduceat(share, np.minimum(np.arange(count) * step, share.shape[axis] - 1), axis=axis)
            share = np.minimum(share / step, 1.0)
        else:
            share = np.take(share, np.minimum(centres(px) * share.shape[axis] // px, share.shape[axis] - 1), axis=axis)
    return share


def _per_cell(n_cells: int, pixels: int) -> int:
    return max(1, round(n_cells * CELL_PX / pixels))
