"""A GPU as the engine sees it, over a stand-in for torch.cuda: memory that runs out, captures that fail or meet."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from fluxshard.errors import DeviceMemoryError, StateError
from fluxshard.runtime.engines.cuda_device import Captures, GpuDevice

POOL = (0, 7)


class Torch:
    """Stands in for what a capture asks of torch: its allocator's books, the current CUDA stream, graphs.

    Args:
      told: `capture_end` tells the allocator before it raises, as from torch 2.12 on.
    """

    def __init__(self, told: bool) -> None:
        self.told = told
        self.underway: list[tuple[int, int]] = []  # pools that the allocator asks a graph about
        self.uses = 0  # of the pool
        self.current = "caller's"
        self.streams_made = 0
        self.calls: list[str] = []
        self.invalid = False
        self.graphs: list[weakref.ref[Graph]] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = {
            "device": lambda _: nullcontext(), "current_stream": lambda _: self.current,
            "is_current_stream_capturing": lambda: False, "current_blas_handle": lambda: self.calls.append("blas"),
            "graph_pool_handle": lambda: POOL, "CUDAGraph": self.graph, "stream": self.on,
            "ExternalStream": lambda handle, device: f"{handle} of {device}",
            "memory_snapshot": lambda: [
                {"segment_pool_id": POOL, "total_size": 2 << 20}, {"segment_pool_id": (0, 0), "total_size": 1 << 30},
                {"segment_pool_id": list(POOL), "total_size": 32 << 20}, {"total_size": 5},
            ],
        }  # fmt: skip
        for name, function in cuda.items():
            monkeypatch.setattr(torch.cuda, name, function)
        hidden = {
            "_cuda_clearCublasWorkspaces": lambda: self.calls.append("clear"),
            "_cuda_endAllocateToPool": lambda device, pool: self.end(pool),
            "_cuda_releasePool": lambda device, pool: self.release(),
        }
        for name, function in hidden.items():
            monkeypatch.setattr(torch._C, name, function, raising=False)

    def graph(self) -> Graph:
        made = Graph(self)
        self.graphs.append(weakref.ref(made))
        return made

    def create_stream(self) -> int:
        self.streams_made += 1
        return 40 + self.streams_made

    @contextmanager
    def on(self, stream: str) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def end(self, pool: tuple[int, int]) -> None:
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)

    def release(self) -> None:
        if not self.uses:
            raise RuntimeError("uc >= 0 INTERNAL ASSERT FAILED")
        self.uses -= 1


class Graph:
    def __init__(self, cuda: Torch) -> None:
        self.cuda = cuda
        self.captured = False

    def capture_begin(self, pool: tuple[int, int], capture_error_mode: str) -> None:
        assert capture_error_mode == "relaxed" and not self.cuda.underway, "two captures at a time"
        self.cuda.underway.append(pool)
        self.cuda.uses += 1
        self.cuda.calls.append(f"begin on {self.cuda.current}")

    def capture_end(self) -> None:
        if self.cuda.invalid and not self.cuda.told:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.cuda.end(POOL)
        if self.cuda.invalid:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.captured = True
        self.cuda.calls.append("end")

    def __del__(self) -> None:
        if self.captured:
            self.cuda.release()


@pytest.fixture(params=[False, True], ids=["torch 2.11", "torch 2.12"])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Torch:
    made = Torch(request.param)
    made.install(monkeypatch)
    return made


@pytest.fixture
def gpu(cuda: Torch) -> GpuDevice:
    return GpuDevice(1, Captures(cuda.create_stream))


# ---- memory


def test_memory_that_is_not_there(gpu: GpuDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 300.00 MiB.")

    monkeypatch.setattr(torch, "zeros", full)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100 << 20, 8000 << 20))
    expected = (
        r"300 MiB do not fit on cuda:1 \(100 of 8000 MiB are free\): close other sessions, or use a smaller image"
    )
    with pytest.raises(DeviceMemoryError, match=expected) as caught:
        gpu.zeros(300 << 20)
    assert isinstance(caught.value, MemoryError)
    monkeypatch.setattr(GpuDevice, "_pinned", staticmethod(lambda array: SimpleNamespace(to=full)))  # as for weights
    with pytest.raises(DeviceMemoryError, match="2 MiB do not fit on cuda:1"):
        gpu.upload(np.zeros(2 << 20, np.uint8))


# ---- captures


def waits(cuda: Torch) -> Callable[[], None]:
    """A launch that waits for the device: it ends the capture."""

    def launch() -> None:
        cuda.invalid = True
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    return launch


def test_a_stream_that_is_being_captured(gpu: GpuDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.refuse_capture()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(StateError, match=r"the current CUDA stream is being captured; .* outside of torch.cuda.graph"):
        gpu.refuse_capture()


def test_a_capture_has_a_stream_of_its_own_and_the_next_one_the_same(cuda: Torch, gpu: GpuDevice) -> None:
    for _ in range(3):
        graph = gpu.capture(lambda: cuda.calls.append(f"launch on {cuda.current}"))
        assert graph.n_bytes == 34 << 20
        assert cuda.current == "caller's" and cuda.streams_made == 1 and not cuda.underway and cuda.uses == 1
        del graph
        gc.collect()
        assert cuda.uses == 0
    own = "41 of cuda:1"
    assert cuda.calls == ["blas", "clear", f"begin on {own}", f"launch on {own}", "end", "clear"] * 3


def test_each_gpu_has_a_stream_for_captures_whatever_the_number_of_engines(cuda: Torch) -> None:
    turns = Captures(cuda.create_stream)
    for index in (0, 1, 0, 1):
        GpuDevice(index, turns).capture(lambda: None)
    begun = [call for call in cuda.calls if call.startswith("begin")]
    assert begun == ["begin on 41 of cuda:0", "begin on 42 of cuda:1"] * 2


def test_a_failed_capture_leaves_the_allocator_as_it_was(cuda: Torch, gpu: GpuDevice) -> None:
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):  # the reason, not what follows
        gpu.capture(waits(cuda))
    assert not cuda.underway, "the allocator still asks the graph about every allocation"
    assert cuda.uses == 0, "the memory of the capture is lost"
    assert cuda.calls[-1] == "clear" and cuda.current == "caller's"
    gc.collect()
    (graph,) = cuda.graphs
    assert graph() is not None, "the host allocator asks a graph that is gone"
    cuda.invalid = False
    gpu.capture(lambda: None)  # and the next one is an ordinary one
    assert not cuda.underway


def test_a_launch_that_fails_without_ending_the_capture(cuda: Torch, gpu: GpuDevice) -> None:
    def launch() -> None:
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        gpu.capture(launch)
    gc.collect()
    assert not cuda.underway and cuda.uses == 0 and cuda.calls[-2:] == ["end", "clear"]


def test_captures_of_threads_take_turns(cuda: Torch) -> None:
    """`Graph.capture_begin` fails where two would meet."""
    turns, inside, failures = Captures(cuda.create_stream), threading.Event(), []
    others: list[threading.Thread] = []

    def capture(index: int, launch: Callable[[], None]) -> None:
        try:
            GpuDevice(index, turns).capture(launch)
        except BaseException as error:
            failures.append(error)

    def first() -> None:
        others.extend(threading.Thread(target=capture, args=(index, inside.set)) for index in (0, 1))
        for thread in others:
            thread.start()
        assert not inside.wait(0.2), "another thread captured meanwhile"

    capture(0, first)
    for thread in others:
        thread.join(10)
    assert not failures and inside.is_set()
    assert sum(call.startswith("begin") for call in cuda.calls) == 3
