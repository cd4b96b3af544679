"""Launches that repeat: run once kernel by kernel, then captured as a CUDA graph and replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from fluxshard.errors import warn
from fluxshard.ir.stream_layout import TorchCall
from fluxshard.runtime.engines.cuda_device import Device, Graph

Launches = tuple[Callable[[int], None] | TorchCall, ...]  # each launches on a CUDA stream, given its handle


@dataclass(slots=True)
class Captured:
    """The launches of one kind of frame; on a GPU, once they have run, as a graph.

    Attributes:
      launches: in order.
      ran: they have run once, kernel by kernel.
      graph: of them; None where there is none yet, or none can be made.
      refused: something in them cannot be captured.
      leaves: values off the grids that only the caller reads, as the last run left them.
    """

    launches: Launches
    ran: bool = False
    graph: Graph | None = None
    refused: bool = False
    leaves: dict[str, Tensor] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Device memory that the graph keeps."""
        return 0 if self.graph is None else self.graph.n_bytes


def run_captured(captured: Captured, device: Device, launch: Callable[[], None], name: str) -> None:
    """Runs launches on the current CUDA stream: as a graph from the second time on, where that is possible.

    Args:
      captured: what has become of them so far; updated.
      device: where they run.
      launch: launches `captured.launches` one by one.
      name: of what runs, for the warning where it cannot be captured.
    """
    if captured.graph is not None:
        captured.graph.replay()
        return
    if captured.ran and device.captures and not captured.refused:
        try:
            captured.graph = device.capture(launch)
        except RuntimeError as error:  # of torch, by an op that waits for the device
            captured.refused = True
            seen = str(error).strip().partition("\n")[0]
            warn(
                f"frames of {name} cannot be captured as a CUDA graph ({seen}): they are launched one kernel at a "
                "time, which takes longer; an island that waits for the device is the likely reason"
            )
        else:
            captured.graph.replay()
            return
    launch()
    captured.ran = True
