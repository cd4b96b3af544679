"""What a compiled model is made of, for one image size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from fluxshard.ir.plan import Plan

if TYPE_CHECKING:
    from torch import fx
    from torch.utils._pytree import TreeSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowered:
    """A network at one image size, before code is generated for it.

    Attributes:
      plan: of the network, on the canvas where there is one.
      weights: by name, on the CPU.
      dense_macs: multiply-accumulates of the network on the image itself; 0: those of the plan.
      graph_module: the final graph; None where the plan comes from a file.
      out_spec: structure of the model's output; None: that of the plan, which has plain types only.
    """

    plan: Plan
    weights: Mapping[str, Tensor]
    dense_macs: int = 0
    graph_module: fx.GraphModule | None = None
    out_spec: TreeSpec | None = None

    def __repr__(self) -> str:
        return f"Lowered({self.plan!r})"


class Network(Protocol):
    """Where plans come from: a network that is captured, or a file."""

    def lower(self, image: Tensor) -> Lowered:
        """The network for images of this shape, `(1, C, H, W)`.

        Raises:
          ShapeError: it does not take the size.
          TraceError, PassError: it cannot be captured.
        """
        ...
