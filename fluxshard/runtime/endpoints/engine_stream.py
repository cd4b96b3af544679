"""One stream on one engine, without anything that decides its work."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from fluxshard.runtime.engines.engine import StepControl, StepCounts, StreamState
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.stream import Program
from fluxshard.runtime.work_stats import WorkCounter, work_map


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ran:
    """A frame that an engine ran.

    Attributes:
      outputs: what the model returns.
      counts: what the engine counted.
      compute_ratio: executed multiply-accumulates over those of the dense network.
      inference_ms: the network's step.
      post_ms: assembling what the caller gets.
    """

    outputs: Any
    counts: StepCounts
    compute_ratio: float
    inference_ms: float
    post_ms: float

    @property
    def ms(self) -> float:
        """What the frame took."""
        return self.inference_ms + self.post_ms


class EngineStream:
    """The engine's memory of one stream; runs frames whose work is decided.

    Args:
      program: for the stream's size of image.
      given: as for `Engine.new_state`.
    """

    def __init__(self, program: Program, *, given: bool = False) -> None:
        self._program = program
        self._state: StreamState = program.engine.new_state(given=given)
        self._macs = WorkCounter(program.engine.plan)

    @property
    def n_bytes(self) -> int:
        """Memory of the cached features."""
        return self._state.n_bytes

    @property
    def state(self) -> StreamState:
        """The engine's memory."""
        return self._state

    def work_map(self) -> NDArray[np.float32]:
        """See `Session.work_map`; a frame must have run."""
        engine = self._program.engine
        return work_map(engine.plan, engine.inspect(self._state))

    def run(self, image: Tensor, motion: Motion | None, control: StepControl) -> Ran:
        """Runs a frame and waits for it.

        Args:
          image: `(1, C, H, W)`, float32 or uint8, on the engine's device.
          motion: since the frame that this stream ran last; None for zero.
          control: as proposed by the stream's policy.
        """
        started = time.perf_counter()
        result = self._program.engine.step(self._state, image, motion, control)
        counts = result.counts()  # a GPU is waited for here
        stepped = time.perf_counter()
        outputs = self._program.unflatten(result.leaves)
        done = time.perf_counter()
        dense = self._program.dense_macs or self._program.engine.plan.macs
        return Ran(
            outputs=outputs,
            counts=counts,
            compute_ratio=self._macs(counts) / dense if dense else 0.0,
            inference_ms=1e3 * (stepped - started),
            post_ms=1e3 * (done - stepped),
        )


def on_cpu(outputs: Any) -> Any:
    """Outputs of any structure as tensors of the CPU."""
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.cpu(), outputs)
