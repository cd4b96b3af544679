"""Each convolution kernel of a network alone, at full work, against what the device can do.

The ceilings are measured in the same run: products per second by a large matrix product of torch, bytes per second by a
copy on the device. A kernel is launched many times, in one graph, on the state that a frame has left; its inputs may
still be in the device's cache, as they may be in a frame.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_cases import Built, Case, Place
from fluxshard.codegen.cuda.launches.kernels import Gemm, name_of
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.program import CudaProgram
from fluxshard.ir.params import ConvTranspose2d
from fluxshard.ir.plan import LayerSpec, Plan
from fluxshard.runtime.engines.cuda_device import Device
from fluxshard.runtime.engines.engine import StepControl

ORDER = Order(planned=True, rfap="off", remap=True, takes_image=True)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the device does at most.

    Attributes:
      flops: multiplications and additions of float16 per second.
      bytes_per_s: read and written.
    """

    flops: float
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class KernelTime:
    """One kernel on one number of cells.

    Attributes:
      kernel, tile: its name and tile.
      layer: the first that launches it so.
      layers: how many do.
      blocks: of the grid.
      cells, channels, depth: its matrix product: depth without padding.
      ms: of one launch.
      tflops, gbytes_per_s: reached; bytes are those that have to be moved once.
      of_ceiling: time that the ceilings allow over time taken.
      bound: the ceiling that counts: "products" or "bytes".
    """

    kernel: str
    tile: str
    layer: str
    layers: int
    blocks: int
    cells: int
    channels: int
    depth: int
    ms: float
    tflops: float
    gbytes_per_s: float
    of_ceiling: float
    bound: str


def ceilings(place: Place, side: int = 8192, n_bytes: int = 1 << 30) -> Ceilings:
    """Measures both."""
    dtype = torch.float16 if place.on_gpu else torch.float32
    a, b = (torch.randn(side, side, device=place.torch_device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=place.torch_device, dtype=dtype)
    source = torch.zeros(n_bytes, dtype=torch.uint8, device=place.torch_device)
    target = torch.empty_like(source)
    product = _median(place, lambda: torch.mm(a, b, out=out), 10)
    copy = _median(place, lambda: target.copy_(source), 10)
    return Ceilings(2 * side**3 / (product * 1e-3), 2 * n_bytes / (copy * 1e-3))


def kernels(case: Case, built: Built, place: Place, limits: Ceilings, repeats: int) -> list[KernelTime]:
    """Times every distinct convolution kernel of a network; the slowest of the frame first."""
    plan, engine = case.plan, built.engine
    program = engine._program
    assert isinstance(program, CudaProgram)
    state = engine.new_state()
    everything = {i: np.ones((grid.height, grid.width), np.bool_) for i, grid in enumerate(plan.grids)}
    for keyframe in (True, False):
        control = StepControl(
            keyframe=keyframe, rfap="off", remap=True, tau=(0.0,) * len(plan.layers),
            work=None if keyframe else everything,
        )  # fmt: skip
        engine.step(state, case.image, None, control)
    place.clock.wait()
    bound = program.bind(
        planned=True, rfap=ORDER.rfap, remap=True, takes_image=ORDER.takes_image, state=state.data.arena.data_ptr(),
        input=state.data.own.memory.arena.data_ptr(), constants=engine._constants.data_ptr(),
    )  # fmt: skip
    layers = {layer.name: layer for layer in plan.layers}
    groups: dict[tuple[str, int], list[tuple[Launch, Callable[[int], None]]]] = {}
    for step, launch in zip(program.describer.order(ORDER), bound, strict=True):
        if isinstance(step, Launch) and isinstance(step.kernel, Gemm):
            cells = plan.grid_of(layers[step.layer].output).cells
            groups.setdefault((name_of(step.kernel), cells), []).append((step, launch))  # type: ignore[arg-type]
    rows = []
    for (name, _), members in groups.items():
        step, launch = members[0]
        ms = _launch_ms(place, engine._device, launch, repeats)
        rows.append(_row(plan, layers[step.layer], step, name, len(members), ms, limits, program.target.itemsize))
    return sorted(rows, key=lambda row: -row.ms * row.layers)


def summary(rows: list[KernelTime], limits: Ceilings) -> dict[str, Any]:
    """For JSON: everything, and what a frame's convolutions take in all."""
    total = sum(row.ms * row.layers for row in rows)
    allowed = sum(row.ms * row.of_ceiling * row.layers for row in rows)
    return {
        "peak_tflops": limits.flops / 1e12, "peak_gbytes_per_s": limits.bytes_per_s / 1e9, "kernels": len(rows),
        "total_ms": total, "of_ceiling": allowed / total if total else 0.0, "rows": [asdict(row) for row in rows],
    }  # fmt: skip


def _row(
    plan: Plan, layer: LayerSpec, step: Launch, name: str, layers: int, ms: float, limits: Ceilings, itemsize: int
) -> KernelTime:
    assert isinstance(step.kernel, Gemm)
    kernel, tile = step.kernel, step.kernel.tile
    cells, channels = plan.grid_of(layer.output).cells, kernel.finish.channels
    depth = kernel.taps_y * kernel.taps_x * sum(kernel.inputs.counts)
    phases = 1
    if isinstance(layer.params, ConvTranspose2d):  # each launch makes the cells of one phase
        phases = layer.params.stride[0] * layer.params.stride[1]
    flops = 2 * cells * channels * depth / phases
    read = sum(plan.grid_of(name).cells * plan.value(name).channels for name in layer.inputs)
    moved = itemsize * (read + depth * channels + cells * channels / phases)
    seconds = ms * 1e-3
    by_products, by_bytes = flops / limits.flops, moved / limits.bytes_per_s
    return KernelTime(
        kernel=name, tile=f"{tile.bm}x{tile.bn}x{tile.bk} stages {tile.stages} splits {tile.splits}", layer=layer.name,
        layers=layers, blocks=step.blocks, cells=cells, channels=channels, depth=depth, ms=ms,
        tflops=flops / seconds / 1e12, gbytes_per_s=moved / seconds / 1e9,
        of_ceiling=max(by_products, by_bytes) / seconds, bound="products" if by_products > by_bytes else "bytes",
    )  # fmt: skip


def _launch_ms(place: Place, device: Device, launch: Callable[[int], None], repeats: int) -> float:
    """Of one of many launches that follow one another without the host."""

    def many() -> None:
        cuda_stream = device.cuda_stream()
        for _ in range(repeats):
            launch(cuda_stream)

    return _median(place, device.capture(many).replay if device.captures else many, 1) / repeats


def _median(place: Place, run: Callable[[], object], repeats: int) -> float:
    return statistics.median(place.clock.each_of(run, repeats) for _ in range(5))
