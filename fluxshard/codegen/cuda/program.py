"""A plan's kernels, compiled and loaded, and the order in which a frame launches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.cuda.launches.control_block import frame_block, input_block
from fluxshard.codegen.cuda.launches.kernels import Gemm, GemmTile, Kernel, Lanes, Rows, name_of
from fluxshard.codegen.cuda.launches.launch import Launch, Order
from fluxshard.codegen.cuda.launches.launch_plan import Describer
from fluxshard.codegen.cuda.launches.pack import pack_all
from fluxshard.ir.kernel import CudaTarget
from fluxshard.ir.plan import Plan
from fluxshard.ir.stream_layout import FrameControl, InputControl, Region, StreamLayout, TorchCall
from fluxshard.options import Rfap

Bound = Callable[[int], None]  # launches on a CUDA stream


DEFAULT_ORDERS = (
    Order(planned=False, rfap="compact", remap=True),
    Order(planned=True, rfap="compact", remap=True, takes_image=True),
)


class Loaded(Protocol):
    """A kernel that can be launched."""

    def blocks(self, wanted: int) -> int:
        """Number of persistent blocks to launch where `wanted` could be kept busy."""
        ...

    def bind(self, blocks: int, args: bytes, alone: bool = True) -> Bound:
        """The launch with these arguments.

        Args:
          blocks: of the grid.
          args: the kernel's struct.
          alone: see `Launch`.
        """
        ...


class Loader(Protocol):
    """Compiles and loads kernels for one device."""

    def load(self, kernels: Mapping[str, tuple[Kernel, int]]) -> dict[str, Loaded]:
        """Kernels by name, given their parameters and the bytes of their arguments.

        Raises:
          CompileError: with the name of the first kernel that was refused in `kernel`.
        """
        ...


class CudaProgram:
    """See the module's docstring.

    Args:
      plan: what to run.
      target: for which architecture and stored type.
      loader: makes kernels of texts.
      tiles: tuned tiles by layer.
      dense: layers that run in torch although they need not.

    Attributes:
      plan, target, loader: as given.
    """

    def __init__(
        self, plan: Plan, target: CudaTarget, loader: Loader, tiles: Mapping[str, GemmTile] | None = None,
        dense: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.plan = plan
        self.target = target
        self.loader = loader
        self._describer = Describer(plan, target, tiles, dense)
        self._loaded: dict[str, Loaded] = {}

    @property
    def layout(self) -> StreamLayout:
        """Memory layout of a stream."""
        return self._describer.memory.layout

    @property
    def state_bytes(self) -> int:
        """Memory of a stream's state."""
        return self._describer.memory.state.size

    @property
    def input_bytes(self) -> int:
        """Memory of a stream's input cache."""
        return self._describer.memory.inputs.size

    @property
    def input_blocks(self) -> tuple[tuple[int, int], ...]:
        """Offset and bytes of each block of the input cache."""
        return self._describer.memory.inputs.blocks

    @property
    def state_blocks(self) -> tuple[tuple[int, int], ...]:
        """Offset and bytes of each block of it; what lies between is never touched."""
        return self._describer.memory.state.blocks

    @property
    def describer(self) -> Describer:
        """Describes the kernels."""
        return self._describer

    def prepare(self, order: Order) -> None:
        """Compiles or finds what an order needs.

        Raises:
          CompileError: a kernel is refused.
        """
        self._load(kernels_of(self._describer, order))

    def _load(self, needed: Mapping[str, tuple[Kernel, int]]) -> None:
        missing = {name: need for name, need in needed.items() if name not in self._loaded}
        if missing:
            self._loaded |= self.loader.load(missing)

    def prepare_all(self) -> None:
        """Compiles or finds what sessions need by default: what other options need comes with the first such session.

        Raises:
          CompileError: a kernel is refused.
        """
        for order in DEFAULT_ORDERS:
            self.prepare(order)

    def layers_of(self, kernel: str | None) -> tuple[str, ...]:
        """Layers whose rows a kernel makes, which could run in torch instead; none for the frame's own kernels."""
        orders = [step for order in DEFAULT_ORDERS for step in self._describer.order(order)]
        makers = [step for step in orders if isinstance(step, Launch) and isinstance(step.kernel, Gemm | Rows | Lanes)]
        found = [step.layer for step in makers if name_of(step.kernel) == kernel]
        return tuple(dict.fromkeys(name for name in found if name not in self.layout.in_torch))

    def bind(
        self, *, planned: bool, rfap: Rfap, remap: bool, takes_image: bool, state: int, input: int, constants: int
    ) -> tuple[Bound | TorchCall, ...]:
        """Everything that a frame runs, for a stream whose memory lies at these addresses.

        Args:
          planned, rfap, remap, takes_image: see `Order`.
          state: address of the stream's state.
          input: address of its input cache.
          constants: address of what all streams share.
        """
        order = Order(planned=planned, rfap=rfap, remap=remap, takes_image=takes_image)
        self.prepare(order)
        bases: dict[Region, int] = {"state": state, "input": input, "constants": constants}
        return tuple(
            step if isinstance(step, TorchCall) else self._bound(step, bases) for step in self._describer.order(order)
        )

    def bind_input(self, *, remap: bool, input: int) -> tuple[tuple[Bound, ...], tuple[Bound, ...]]:
        """Launches of an input cache at an address to propose a frame, and to commit it."""
        propose, commit = self._describer.input_orders(remap)
        self._load({name_of(step.kernel): (step.kernel, step.args.size) for step in (*propose, *commit)})
        bases: dict[Region, int] = {"input": input}
        return tuple(self._bound(step, bases) for step in propose), tuple(self._bound(step, bases) for step in commit)

    def _bound(self, step: Launch, bases: Mapping[Region, int]) -> Bound:
        loaded = self._loaded[name_of(step.kernel)]
        blocks = loaded.blocks(step.blocks) if step.persistent else step.blocks
        return loaded.bind(blocks, step.args.encode(bases), alone=step.alone)

    def pack_weights(self, weights: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
        """Bytes that all streams share."""
        return pack_all(self._describer.memory.constants, weights, self.target.dtype)

    def frame_block(self, control: FrameControl) -> bytes:
        """Bytes to upload once a frame."""
        return frame_block(self.layout, control)

    def input_block(self, control: InputControl) -> bytes:
        """Bytes to upload once a proposal."""
        return input_block(self.layout.input, control)


def kernels_of(describer: Describer, *orders: Order) -> dict[str, tuple[Kernel, int]]:
    """Every kernel that orders launch, by name, with the bytes of its arguments."""
    launches = [step for order in orders for step in describer.order(order) if isinstance(step, Launch)]
    return {name_of(launch.kernel): (launch.kernel, launch.args.size) for launch in launches}
