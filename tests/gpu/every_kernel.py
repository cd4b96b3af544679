"""A few frames through every kernel family, for tools that watch memory and races.

compute-sanitizer --tool memcheck python -m tests.gpu.every_kernel [float16] [--graphs]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import torch

import fluxshard
from fluxshard.codegen.cuda.launches.kernels import Gemm, Lanes, Rows
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.ir import params as P
from fluxshard.ir.kernel import CudaTarget
from fluxshard.motion import MotionField
from fluxshard.options import DType
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program
from fluxshard.testing.plan_builder import PlanBuilder
from tests.gpu.layers import Marked
from tests.gpu.place import CUDA, Place

HEIGHT, WIDTH = 22, 30
SAME = ((1, 1), (1, 1))
ORDERS = (
    *(Order(planned=False, rfap=rfap, remap=remap) for rfap in ("compact", "per_layer") for remap in (True, False)),
    Order(planned=True, rfap="compact", remap=True),
)


def every_kernel() -> tuple[PlanBuilder, frozenset[str]]:
    """Layers that need every kernel, and those that are to run in torch."""
    b = PlanBuilder(5, HEIGHT, WIDTH)
    wide = b.conv("image", 24, (3, 3), padding=SAME, act=("silu",))
    odd = b.conv("image", 7, (3, 3), padding=SAME, act=("leaky_relu", 0.1))
    deep = b.conv("image", 136, (3, 3), stride=(2, 2), padding=SAME, act=("relu",))
    b.conv(deep, 40, (3, 3), padding=SAME)  # a sum long enough to be cut into parts
    up = b.add(P.UpsampleNearest(factor=(2, 2)), b.conv(deep, 16))
    mixed = b.add(P.Cat(), b.add(P.ChannelSlice(start=8, stop=16), wide), up, odd)
    b.conv(mixed, 17, (7, 7), padding=((3, 3), (3, 3)))  # too many rows for a table in shared memory
    b.conv(wide, 24, (1, 1), wide, act=("silu",), act_after=("relu",))
    b.conv(odd, 7, (3, 3), groups=7, padding=SAME, act=("prelu",))
    b.conv(wide, 12, (3, 3), groups=4, padding=SAME, stride=(2, 1))
    b.transposed(deep, 8, (3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1))
    b.transposed(deep, 8, (2, 2), stride=(2, 2), groups=4)
    b.add(P.MaxPool2d(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), wide)
    b.add(P.AvgPool2d(kernel=(2, 2), stride=(2, 2)), mixed)
    b.add(P.Pointwise(act=("mish",)), odd)
    b.add(P.Affine(), odd, scale=b.draw(7), shift=b.draw(7))
    b.add(P.ChannelNorm(), wide, gamma=b.draw(24), beta=b.draw(24))
    b.add(P.Binary(kind="mul", operand="vector"), odd, b.island("mean", "aten.mean.dim", odd, (2, 3), True))
    b.add(P.Binary(kind="add", operand="value"), wide, b.add(P.Copy(), wide))
    b.add(P.Resize(mode="bilinear", size=(30, 41)), deep)
    b.add(P.Resize(mode="nearest", size=(13, 17)), odd)
    b.add(P.Pad(pads=((2, 1), (0, 3)), mode="reflect"), mixed)
    b.island("shares", "aten.softmax.int", mixed, 1, flat=True)
    in_torch = b.conv(wide, 9, (3, 3), padding=SAME)
    b.conv(in_torch, 8)
    return b, frozenset({in_torch})


def families(arch: str = "sm_90", dtype: DType = "float16") -> set[str]:
    """Which kernels the frames launch: ops, functions, and the forms of a convolution."""
    builder, dense = every_kernel()
    describer = Describer(builder.finish(), CudaTarget(arch=arch, dtype=dtype), dense=dense)
    found = set()
    image = [describer.input_orders(remap) for remap in (True, False)]
    for steps in (*map(describer.order, ORDERS), *(part for parts in image for part in parts)):
        for step in steps:
            if not isinstance(step, Launch):
                continue
            kernel = step.kernel
            if isinstance(kernel, Gemm):
                found |= {"gemm", f"gemm splits={kernel.tile.splits > 1}", f"gemm table={kernel.tile.table}"}
            elif isinstance(kernel, Lanes):
                found.add("lanes")
            else:
                found.add(kernel.op if isinstance(kernel, Rows) else kernel.call.split("<")[0].split("(")[0])
    return found


def _frames(n: int) -> Iterator[tuple[torch.Tensor, MotionField | None]]:
    rng = np.random.default_rng(3)
    shape = -(-HEIGHT // 8), -(-WIDTH // 8)
    image = torch.rand(1, 5, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
    for index in range(n):
        displacement = rng.integers(-9, 10, (*shape, 2)) * (rng.random((*shape, 1)) < 0.4)
        yield image, MotionField(displacement, rng.random(shape) < 0.9) if index else None
        image = image.clone()
        image[:, :, index : index + 5, 2 * index : 2 * index + 7] += 0.25


def run(place: Place, dtype: DType, captures: bool, n: int = 4) -> int:
    """Runs the frames; returns how many there were. Fails where something is written between blocks of memory."""
    builder, dense = every_kernel()
    plan = builder.finish()
    engine = Marked(place.engine(plan, builder.weights, dtype, dense, captures))
    count, rng = 0, np.random.default_rng(1)
    for order in ORDERS:
        reuse = fluxshard.ReuseOptions(rfap=order.rfap, remap=order.remap, scene_cut=1.0)
        with Session(lambda _: Program(engine, lambda leaves: leaves), reuse) as session:
            for image, motion in _frames(n):
                if order.planned and count:
                    masks = {i: rng.random((grid.height, grid.width)) < 0.4 for i, grid in enumerate(plan.grids)}
                    (out,) = session.run_with_work(image, motion, masks)
                else:
                    (out,) = session.run(image, motion)
                assert out.isfinite().all()
                count += 1
    assert engine.broken() == []
    return count


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--graphs"]
    print(run(CUDA, arguments[0] if arguments else "float16", "--graphs" in sys.argv), "frames")  # type: ignore[arg-type]
    torch.cuda.synchronize()
