"""One convolution at forced shares of work against torch's dense kernel, in one run.

    python -m benchmarks.conv_layer

The layers are those whose shapes matter in detectors. Each is fed from rows that earlier frames have scattered over
the pool, as in a stream. Work comes in clusters of 8x8 cells. Every round measures torch and all shares one after the
other; ratios are medians over rounds of the ratio within a round. Times are of the kernels; bookkeeping around them
(masks, lists, slot maps) is part of `benchmarks.frame`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fluxshard
from benchmarks.frame import cpu_name
from fluxshard.codegen.common.toolchain import detect_target
from fluxshard.codegen.cpp import build_step
from fluxshard.geometry import Grid
from fluxshard.ir.kernel import CpuDType
from fluxshard.options import Isa
from fluxshard.passes import run_passes
from fluxshard.passes.capture.trace import trace
from fluxshard.passes.lower import lower
from fluxshard.runtime.engines.cpp import CppEngine
from fluxshard.runtime.engines.engine import StepControl, StepResult, StreamState


@dataclass(frozen=True, slots=True)
class Shape:
    """A convolution: input side in cells, channels, kernel, stride, groups."""

    side: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        stride = f" s{self.stride}" if self.stride > 1 else ""
        groups = f" g{self.groups}" if self.groups > 1 else ""
        return f"{self.side}², {self.inputs}→{self.outputs}, {self.kernel}×{self.kernel}{stride}{groups}"


SHAPES = (
    Shape(128, 64, 64),
    Shape(64, 128, 128),
    Shape(64, 256, 256, kernel=1),
    Shape(256, 32, 64, stride=2),
    Shape(160, 48, 48),
    Shape(48, 64, 64),
    Shape(64, 32, 32),
    Shape(32, 256, 256),
    Shape(32, 512, 512),
    Shape(160, 16, 16),
    Shape(640, 3, 16, stride=2),
    Shape(80, 64, 80),
    Shape(80, 128, 128, groups=128),
)


def clusters(grids: tuple[Grid, ...], share: float, seed: int) -> dict[int, NDArray[np.bool_]]:
    """Clusters of 8x8 cells of the coarsest grid, the same region on every grid, `share` of them."""
    n = -(-min(grid.height for grid in grids) // 8)
    chosen = np.random.default_rng(seed).permutation(n * n).reshape(n, n) < round(share * n * n)
    work = {}
    for index, grid in enumerate(grids):
        side = -(-grid.height // n)
        work[index] = np.kron(chosen, np.ones((side, side), np.bool_))[: grid.height, : grid.width]
    return work


class Layer:
    """A convolution after an activation, so that it reads stored rows through a slot map; of RGB, it reads the image.

    Args:
      shape: of the convolution.
      isa: instructions.
      dtype: of features and weights; torch's kernel is in float32.
    """

    def __init__(self, shape: Shape, isa: Isa, dtype: CpuDType) -> None:
        conv = nn.Conv2d(
            shape.inputs, shape.outputs, shape.kernel, shape.stride, shape.kernel // 2, groups=shape.groups
        )
        example = torch.rand(1, shape.inputs, shape.side, shape.side)
        traced = trace(conv if shape.inputs == 3 else nn.Sequential(nn.ReLU(), conv), example)
        plan, weights = lower(run_passes(traced, fluxshard.CompileOptions()), traced)
        self.plan = plan
        self.image = example
        self.engine = CppEngine(plan, build_step(plan, detect_target(isa, dtype)), weights)
        self.conv = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dense_image = example.to(memory_format=torch.channels_last)

    def stream(self, share: float) -> tuple[StreamState, StepControl]:
        """A stream whose rows lie where ten frames of other work have left them, and how its frames are run."""
        state = self.engine.new_state()
        self.step(state, self.control(None))
        for seed in range(1, 11):
            self.step(state, self.control(share, seed))
        return state, self.control(share)

    def control(self, share: float | None, seed: int = 0) -> StepControl:
        """Forced work, or a keyframe."""
        work = None if share is None else clusters(self.plan.grids, share, seed)
        return StepControl(
            keyframe=share is None, rfap="off", remap=True, tau=(0.0,) * len(self.plan.layers), work=work
        )

    def step(self, state: StreamState, control: StepControl) -> StepResult:
        """One frame."""
        return self.engine.step(state, self.image, None, control)

    def dense(self) -> Tensor:
        """Torch's kernel."""
        out: Tensor = self.conv(self.dense_image)
        return out


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured.

    Attributes:
      layer: its shape.
      share: of the output cells that were computed.
      torch_ms, kernel_ms: medians.
      ratio: median over rounds of kernel time to torch's.
    """

    layer: str
    share: float
    torch_ms: float
    kernel_ms: float
    ratio: float


def measure(shape: Shape, shares: list[float], rounds: int, isa: Isa, dtype: CpuDType) -> list[Result]:
    """Times one layer."""
    layer = Layer(shape, isa, dtype)
    streams = [layer.stream(share) for share in shares]
    torch_ms: list[float] = []
    kernel_ms: list[list[float]] = [[] for _ in shares]
    evaluated = [0.0] * len(shares)
    with torch.inference_mode():
        for number in range(rounds + 2):
            started = time.perf_counter()
            layer.dense()
            elapsed = (time.perf_counter() - started) * 1e3
            results = [layer.step(state, control) for state, control in streams]
            if number < 2:  # first touches
                continue
            torch_ms.append(elapsed)
            for index, result in enumerate(results):
                counts = result.counts()
                kernel_ms[index].append(counts.conv_ms)
                evaluated[index] = int(counts.candidates[-1]) / layer.plan.grid_of(layer.plan.layers[-1].output).cells
    return [
        Result(
            str(shape), share, statistics.median(torch_ms), statistics.median(times),
            statistics.median(t / d for t, d in zip(times, torch_ms, strict=True)),
        )
        for share, times in zip(evaluated, kernel_ms, strict=True)
    ]  # fmt: skip


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.25, 0.05])
    parser.add_argument("--isa", default="native", choices=["native", "avx512", "avx2", "portable"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of ours")
    parser.add_argument("--only", type=int, nargs="+", default=list(range(len(SHAPES))), help="indices of layers")
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    args = parser.parse_args()
    torch.manual_seed(0)
    print(
        f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__} in float32, ours in {args.dtype}, "
        f"{args.rounds} rounds, {args.isa}\n"
    )
    print("| layer | torch ms |" + "".join(f" ratio at {share:.0%} |" for share in args.shares))
    print("|---|---|" + "---|" * len(args.shares))
    found = []
    for index in args.only:
        results = measure(SHAPES[index], args.shares, args.rounds, args.isa, args.dtype)
        found += results
        cells = "".join(f" {r.ratio:.2f} ({r.share:.2f}) |" for r in results)
        print(f"| {results[0].layer} | {results[0].torch_ms:.2f} |{cells}", flush=True)
    if args.out:
        args.out.write_text(json.dumps([asdict(result) for result in found], indent=1))


if __name__ == "__main__":
    main()
