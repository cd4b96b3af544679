"""Devices that run generated CUDA kernels: a GPU, or the emulator on a CPU. All that differs between them is here."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxshard.errors import DeviceMemoryError, StateError


class Graph(Protocol):
    """A captured frame.

    Attributes:
      n_bytes: device memory that it keeps: results of torch between kernels, workspaces of its matrix products.
    """

    n_bytes: int

    def replay(self) -> None:
        """Launches it on the current CUDA stream."""
        ...


class LastFrame(Protocol):
    """The place of a video stream's last frame.

    Attributes:
      arena: the stream's memory.
      cuda_stream: of the frame; None before the first.
      done: its end; None before the first.
    """

    arena: Tensor
    cuda_stream: torch.cuda.Stream | None
    done: torch.cuda.Event | None


class Device(Protocol):
    """Memory, order and time of a device.

    Attributes:
      torch_device: where tensors are.
      backend: its name in reports.
      captures: a frame's launches can be captured as a graph.
    """

    torch_device: torch.device
    backend: str
    captures: bool

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

    def fetch(self, source: Tensor) -> NDArray[Any]:
        """A copy on the host; waits for what is before it on the current CUDA stream."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Makes the device current on this thread: kernels are loaded and launched only there."""
        ...

    def cuda_stream(self) -> int:
        """The handle of the current CUDA stream."""
        ...

    def refuse_capture(self) -> None:
        """Raises StateError while the caller captures the current CUDA stream."""
        ...

    def order_after(self, last: LastFrame) -> None:
        """Lets the current CUDA stream wait for the last frame of a video stream that ran on another."""
        ...

    def remember(self, last: LastFrame) -> None:
        """Notes where a frame ran."""
        ...

    def capture(self, launch: Callable[[], None]) -> Graph:
        """A graph of what `launch` launches.

        Raises:
          RuntimeError: of torch or the driver, where something in it cannot be captured.
        """
        ...

    def event(self) -> torch.cuda.Event | None:
        """A point in time, in order with what is launched; None where the host measures."""
        ...

    def elapsed_ms(self, start: torch.cuda.Event | None, end: torch.cuda.Event | None, host_ms: float) -> float:
        """Time between two events; waits for the second. `host_ms` is what the host measured."""
        ...


class EmulatedDevice:
    """The processor, with kernels that run in the emulator.

    Args:
      poison: forbids access to memory, given its address and size (AddressSanitizer), or None.
    """

    torch_device = torch.device("cpu")
    backend = "emulated"
    captures = False

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

    def fetch(self, source: Tensor) -> NDArray[Any]:
        """See `Device.fetch`."""
        return source.numpy().copy()

    def current(self) -> AbstractContextManager[object]:
        """See `Device.current`."""
        return nullcontext()

    def cuda_stream(self) -> int:
        """See `Device.cuda_stream`."""
        return 0

    def refuse_capture(self) -> None:
        """See `Device.refuse_capture`."""

    def order_after(self, last: LastFrame) -> None:
        """See `Device.order_after`."""

    def remember(self, last: LastFrame) -> None:
        """See `Device.remember`."""

    def capture(self, launch: Callable[[], None]) -> Graph:
        """See `Device.capture`."""
        raise StateError("the emulator captures no graphs")

    def event(self) -> None:
        """See `Device.event`."""

    def elapsed_ms(self, start: torch.cuda.Event | None, end: torch.cuda.Event | None, host_ms: float) -> float:
        """See `Device.elapsed_ms`."""
        return host_ms


class GpuGraph:
    """See `Graph`.

    Args:
      graph: captured, in a pool of its own.
      pool: that pool.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, pool: tuple[int, int]) -> None:
        self._graph = graph
        segments = torch.cuda.memory_snapshot()
        self.n_bytes = sum(
            int(one["total_size"]) for one in segments if tuple(one.get("segment_pool_id", ())) == tuple(pool)
        )

    def replay(self) -> None:
        """See `Graph.replay`."""
        self._graph.replay()


class Captures:
    """Graph captures of this process: one at a time, each on a CUDA stream that nothing else uses.

    There is one object for all engines, because a capture touches what a process has once: the workspaces of cuBLAS of
    all threads and GPUs, which are cleared before and after, and the list of captures in torch's allocator. A stream
    of torch's pool will not do: `torch.cuda.Stream()` hands out 32 of them in turn, so that in a process that lives
    long it is another thread's, whose work would be captured, too.

    Args:
      create_stream: makes a CUDA stream on the current GPU that does not wait for the default one; returns its handle.
    """

    def __init__(self, create_stream: Callable[[], int]) -> None:
        self._create_stream = create_stream
        self._lock = threading.Lock()
        self._streams: dict[int, torch.cuda.Stream] = {}

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Takes the turn, and makes the GPU and its stream for captures current on this thread."""
        with self._lock, torch.cuda.device(device):
            if device.index not in self._streams:  # kept for good: graphs remember where they were captured
                self._streams[device.index] = torch.cuda.ExternalStream(self._create_stream(), device)
            with torch.cuda.stream(self._streams[device.index]):
                yield


class GpuDevice:
    """A GPU through torch's allocator and current CUDA stream.

    Args:
      index: of the device.
      turns: shared by all devices of the process.
    """

    backend = "cuda"
    captures = True

    def __init__(self, index: int, turns: Captures) -> None:
        self.torch_device = torch.device("cuda", index)
        self._turns = turns
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

    def fetch(self, source: Tensor) -> NDArray[Any]:
        """See `Device.fetch`."""
        fetched = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        fetched.copy_(source, non_blocking=True)
        torch.cuda.current_stream(self.torch_device).synchronize()
        return fetched.numpy()

    @staticmethod
    def _pinned(array: NDArray[np.generic]) -> Tensor:
        # torch keeps pinned blocks and gives one out again only when the copies from it have run
        pinned = torch.empty(array.size, dtype=torch.uint8, pin_memory=True)
        pinned.numpy()[:] = array
        return pinned

    def current(self) -> AbstractContextManager[object]:
        """See `Device.current`."""
        return torch.cuda.device(self.torch_device)

    def cuda_stream(self) -> int:
        """See `Device.cuda_stream`."""
        return int(torch.cuda.current_stream(self.torch_device).cuda_stream)

    def refuse_capture(self) -> None:
        """See `Device.refuse_capture`."""
        with torch.cuda.device(self.torch_device):
            capturing = torch.cuda.is_current_stream_capturing()
        if capturing:
            raise StateError(
                "the current CUDA stream is being captured; a session captures its own graph: run frames outside of "
                "torch.cuda.graph, and capture what comes before and after"
            )

    def order_after(self, last: LastFrame) -> None:
        """See `Device.order_after`."""
        current = torch.cuda.current_stream(self.torch_device)
        if last.done is None:
            if current != self._first:
                current.wait_stream(self._first)
        elif last.cuda_stream != current:
            current.wait_event(last.done)
            last.arena.record_stream(current)  # is not given to others before this CUDA stream is done with it

    def remember(self, last: LastFrame) -> None:
        """See `Device.remember`."""
        last.cuda_stream = torch.cuda.current_stream(self.torch_device)
        last.done = last.done or torch.cuda.Event()
        last.done.record(last.cuda_stream)

    def capture(self, launch: Callable[[], None]) -> Graph:
        """See `Device.capture`."""
        # Not torch.cuda.graph: it waits for the whole device, and its one side stream is that of the first GPU and is
        # shared by all threads.
        with self._turns.on(self.torch_device):
            torch.cuda.current_blas_handle()  # of this thread: it cannot be made during a capture
            # A workspace of cuBLAS belongs to this graph alone, as graphs of two sessions may run at the same time.
            torch._C._cuda_clearCublasWorkspaces()
            try:
                return self._captured(launch)
            finally:
                torch._C._cuda_clearCublasWorkspaces()

    def _captured(self, launch: Callable[[], None]) -> Graph:
        graph, pool, ended = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle(), False
        try:
            # "relaxed": what other threads do does not end the capture, nor what is set up lazily
            graph.capture_begin(pool=pool, capture_error_mode="relaxed")
            try:
                launch()
            except BaseException:
                with suppress(RuntimeError):  # says again that the capture has failed
                    graph.capture_end()
                    ended = True
                raise
            graph.capture_end()
            ended = True
        finally:
            if not ended:
                self._abandon(graph, pool)
        return GpuGraph(graph, pool)

    def _abandon(self, graph: torch.cuda.CUDAGraph, pool: tuple[int, int]) -> None:
        """Gives up a capture that torch could not end: its memory goes back, and allocations are ordinary ones again.

        Before torch 2.12 `capture_end` raises before it has told the allocators, which then ask the graph about every
        allocation to come, even when it is no longer there. Torch's host allocator cannot be told from Python, so the
        graph has to outlive it. That also leaves this method alone in releasing the pool, in every version.
        Source: https://github.com/pytorch/pytorch/pull/180395, https://github.com/pytorch/pytorch/pull/190348.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(graph))
        for undo in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
            with suppress(RuntimeError):  # torch has done it, or the capture did not come so far
                undo(self.torch_device.index, pool)

    def event(self) -> torch.cuda.Event:
        """See `Device.event`."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.torch_device))
        return event

    def elapsed_ms(self, start: torch.cuda.Event | None, end: torch.cuda.Event | None, host_ms: float) -> float:
        """See `Device.elapsed_ms`."""
        assert start is not None and end is not None, "events of another device"
        end.synchronize()
        return float(start.elapsed_time(end))
