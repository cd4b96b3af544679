"""Where generated CUDA kernels run: a GPU, or the emulator on a CPU. All that differs between the two is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import DeviceMemoryError, StateError


class Device(Protocol):
    """Memory, order and time of a device.

    Attributes:
      torch_device: where tensors are.
      backend: its name in reports.
      records: a frame's launches can be recorded as a graph.
    """

    torch_device: torch.device
    backend: str
    records: bool

    def zeros(self, n_bytes: int) -> Tensor:
        """Zeroed bytes."""
        ...

    def protect(self, arena: Tensor, blocks: Sequence[tuple[int, int]]) -> None:
        """Makes access between blocks (offset, bytes) an error, where that is possible."""
        ...

    def upload(self, array: NDArray[np.generic]) -> Tensor:
        """A copy of bytes on the device; does not wait."""
        ...

    def write(self, target: Tensor, array: NDArray[np.generic]) -> None:
        """Overwrites bytes on the device, in order with what is launched; does not wait."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Makes the device current on this thread: kernels are loaded and launched only there."""
        ...

    def queue(self) -> int:
        """The handle of the current stream."""
        ...

    def refuse_capture(self) -> None:
        """Raises StateError while the caller captures the current stream."""
        ...

    def order_after(self, stream: Any) -> None:
        """Lets the current stream wait for the last frame of a video stream that ran on another."""
        ...

    def remember(self, stream: Any) -> None:
        """Notes where a frame ran."""
        ...

    def record(self, launch: Callable[[], None]) -> Any:
        """A graph of what `launch` launches, with `replay()`."""
        ...

    def mark(self) -> Any:
        """A point in time, in order with what is launched."""
        ...

    def elapsed_ms(self, start: Any, end: Any, host_ms: float) -> float:
        """Time between two marks; waits for the second. `host_ms` is what the host measured."""
        ...


class EmulatedDevice:
    """The processor, with kernels that run in the emulator.

    Args:
      poison: forbids access to memory, given its address and size (AddressSanitizer), or None.
    """

    torch_device = torch.device("cpu")
    backend = "emulated"
    records = False

    def __init__(self, poison: Callable[[int, int], None] | None = None) -> None:
        self._poison = poison

    def zeros(self, n_bytes: int) -> Tensor:
        """See `Device.zeros`; 64-byte aligned."""
        raw = torch.zeros(n_bytes + 64, dtype=torch.uint8)
        shift = -raw.data_ptr() % 64
        return raw[shift : shift + n_bytes]

    def protect(self, arena: Tensor, blocks: Sequence[tuple[int, int]]) -> None:
        """See `Device.protect`."""
        if self._poison is None:
            return
        ends = [offset for offset, _ in blocks[1:]] + [arena.numel()]
        for (offset, n_bytes), end in zip(blocks, ends, strict=True):
            self._poison(arena.data_ptr() + offset + n_bytes, end - offset - n_bytes)

    def upload(self, array: NDArray[np.generic]) -> Tensor:
        """See `Device.upload`."""
        copy = self.zeros(array.size)
        copy.numpy()[:] = array
        return copy

    def write(self, target: Tensor, array: NDArray[np.generic]) -> None:
        """See `Device.write`."""
        target.numpy()[:] = array

    def current(self) -> AbstractContextManager[object]:
        """See `Device.current`."""
        return nullcontext()

    def queue(self) -> int:
        """See `Device.queue`."""
        return 0

    def refuse_capture(self) -> None:
        """See `Device.refuse_capture`."""

    def order_after(self, stream: Any) -> None:
        """See `Device.order_after`."""

    def remember(self, stream: Any) -> None:
        """See `Device.remember`."""

    def record(self, launch: Callable[[], None]) -> Any:
        """See `Device.record`."""
        raise StateError("the emulator records no graphs")

    def mark(self) -> None:
        """See `Device.mark`."""

    def elapsed_ms(self, start: Any, end: Any, host_ms: float) -> float:
        """See `Device.elapsed_ms`."""
        return host_ms


class GpuDevice:
    """A GPU through torch's allocator and current stream.

    Args:
      index: of the device.
    """

    backend = "cuda"
    records = True

    def __init__(self, index: int) -> None:
        self.torch_device = torch.device("cuda", index)
        self.refuse_capture()
        self._first = torch.cuda.current_stream(self.torch_device)  # on which weights are copied

    def zeros(self, n_bytes: int) -> Tensor:
        """See `Device.zeros`."""
        self.refuse_capture()  # it would neither be zeroed nor stay when the caller's graph goes
        with self._taking(n_bytes):
            return torch.zeros(n_bytes, dtype=torch.uint8, device=self.torch_device)

    @contextmanager
    def _taking(self, n_bytes: int) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            free, total = torch.cuda.mem_get_info(self.torch_device)
            raise DeviceMemoryError(
                f"{n_bytes / 2**20:.0f} MiB do not fit on {self.torch_device} ({free / 2**20:.0f} of "
                f"{total / 2**20:.0f} MiB are free): close other sessions, or use a smaller image or dtype"
            ) from error

    def protect(self, arena: Tensor, blocks: Sequence[tuple[int, int]]) -> None:
        """See `Device.protect`; compute-sanitizer watches instead."""

    def upload(self, array: NDArray[np.generic]) -> Tensor:
        """See `Device.upload`."""
        with self._taking(array.nbytes):
            return self._pinned(array).to(self.torch_device, non_blocking=True)

    def write(self, target: Tensor, array: NDArray[np.generic]) -> None:
        """See `Device.write`."""
        target.copy_(self._pinned(array), non_blocking=True)

    @staticmethod
    def _pinned(array: NDArray[np.generic]) -> Tensor:
        # torch keeps pinned blocks and gives one out again only when the copies from it have run
        pinned = torch.empty(array.size, dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[:] = array
        return pinned

    def current(self) -> AbstractContextManager[object]:
        """See `Device.current`."""
        return torch.cuda.device(self.torch_device)

    def queue(self) -> int:
        """See `Device.queue`."""
        return int(torch.cuda.current_stream(self.torch_device).cuda_stream)

    def refuse_capture(self) -> None:
        """See `Device.refuse_capture`."""
        with torch.cuda.device(self.torch_device):
            capturing = torch.cuda.is_current_stream_capturing()
        if capturing:
            raise StateError(
                "the current CUDA stream is being captured; a session records its own graph: run frames outside of "
                "torch.cuda.graph, and capture what comes before and after"
            )

    def order_after(self, stream: Any) -> None:
        """See `Device.order_after`."""
        current = torch.cuda.current_stream(self.torch_device)
        if stream.done is None:
            if current != self._first:
                current.wait_stream(self._first)
        elif stream.queue != current:
            current.wait_event(stream.done)
            stream.arena.record_stream(current)  # is not given to others before this stream is done with it

    def remember(self, stream: Any) -> None:
        """See `Device.remember`."""
        stream.queue = torch.cuda.current_stream(self.torch_device)
        stream.done = stream.done or torch.cuda.Event()
        stream.done.record(stream.queue)

    def record(self, launch: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """See `Device.record`."""
        # Not torch.cuda.graph: it waits for the whole device, and its one side stream is that of the first GPU and is
        # shared by all threads. "relaxed": what other threads do does not end the capture, nor what is set up lazily.
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.torch_device):
            torch.cuda.current_blas_handle()  # of this thread: it cannot be made during a capture
            # A workspace of cuBLAS belongs to this graph alone, as graphs of two sessions may run at the same time.
            torch._C._cuda_clearCublasWorkspaces()
            try:
                with torch.cuda.stream(torch.cuda.Stream(self.torch_device)):
                    graph.capture_begin(capture_error_mode="relaxed")
                    try:
                        launch()
                    finally:
                        graph.capture_end()
            finally:
                torch._C._cuda_clearCublasWorkspaces()
        return graph

    def mark(self) -> torch.cuda.Event:
        """See `Device.mark`."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.torch_device))
        return event

    def elapsed_ms(self, start: Any, end: Any, host_ms: float) -> float:
        """See `Device.elapsed_ms`."""
        end.synchronize()
        return float(start.elapsed_time(end))
