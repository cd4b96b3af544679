"""A frame on a GPU: one graph for the image and one for the layers, no waiting, whatever share of the work there is."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import fluxshard
from benchmarks.gpu_cases import stream_of
from fluxshard.codegen.cuda.device.driver import BoundLaunch
from fluxshard.motion import MotionField
from fluxshard.runtime.engines.cuda import Captured
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.session_checks import EXACT
from tests.gpu import frames
from tests.gpu.frames import REUSE, SHARES, graphs_of, masks_of
from tests.gpu.place import CUDA, Place


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Torch raises an error where it waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_no_frame_waits() -> None:
    _, model = frames.small(CUDA)
    sequence = (
        frames.on_device(CUDA, "blocks", 8) + frames.on_device(CUDA, "cut", 4) + frames.on_device(CUDA, "unknown", 3)
    )
    masks = masks_of(model.plan, 0.3, 0)
    with model.session(REUSE) as session:
        frames.warm(CUDA, session, masks)
        with _no_waiting():
            for image, motion in sequence:
                session.run(image, motion)
            for _ in range(2):  # masks in the order of values, then planned
                for share in SHARES:
                    session.run_with_work(image, motion, masks_of(model.plan, share, 1))
                session.run(image)
                session.reset()
                session.run(image)
            with pytest.raises(RuntimeError):  # and such a wait would have been seen
                image.sum().item()
    torch.cuda.synchronize()


def test_a_frame_is_two_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = frames.small(CUDA)
    counts = {"replays": 0, "launches": 0, "captures": 0}

    def counted(owner: type, name: str, count: str) -> None:
        original = getattr(owner, name)

        def call(self: object, *args: object, **kwargs: object) -> object:
            counts[count] += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    with model.session(REUSE) as session:
        frames.warm(CUDA, session, masks_of(model.plan, 0.3, 0))
        assert all(isinstance(c, Captured) and c.graph is not None for c in stream_of(session).captured.values())
        assert len(graphs_of(session)) == 2  # found from values, and given
        counted(torch.cuda.CUDAGraph, "replay", "replays")
        counted(torch.cuda.CUDAGraph, "capture_begin", "captures")
        counted(BoundLaunch, "__call__", "launches")
        n = 0
        for planned in (True, False):
            if planned:
                session.reset()
            for image, motion in frames.on_device(CUDA, "garbage", 1 if planned else 6) + frames.on_device(
                CUDA, "cut", 0 if planned else 4
            ):
                session.run(image, motion)
                n += 1
            for share in SHARES:
                session.run_with_work(image, None, masks_of(model.plan, share, n))
                n += 1
    assert counts == {"replays": 2 * n, "launches": 0, "captures": 0}  # the image, and the layers


def test_a_profiler_sees_two_graphs_a_frame() -> None:
    """What the process asks of the driver within frames, as NVIDIA's profiler interface counts it.

    One graph is the image's, one the layers'.
    """
    _, model = frames.small(CUDA)
    with model.session(REUSE) as session:
        frames.warm(CUDA, session)
        sequence = frames.on_device(CUDA, "blocks", 6)
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for image, motion in sequence:
                session.run(image, motion)
        calls = [event.name for event in profile.events() or ()]
    if not any("cudaGraphLaunch" in name or "cuGraphLaunch" in name for name in calls):
        pytest.skip("the profiler sees no calls of the CUDA runtime here")
    assert sum("GraphLaunch" in name for name in calls) == 2 * len(sequence)
    assert not any(name in ("cudaStreamSynchronize", "cudaEventSynchronize", "cuLaunchKernel") for name in calls)


def test_other_options_make_another_graph_and_leave_the_first() -> None:
    _, model = frames.small(CUDA)
    made = []
    for rfap, remap in itertools.product(("compact", "per_layer", "off"), (True, False)):
        reuse = fluxshard.ReuseOptions(rfap=rfap, remap=remap, scene_cut=1.0)  # type: ignore[arg-type]
        with model.session(reuse) as session:
            frames.warm(CUDA, session)
            made += list(graphs_of(session).values())
    assert len({id(graph) for graph in made}) == 6 and None not in made


def test_frames_may_change_streams() -> None:
    """Each frame on another CUDA stream, without waiting in between: the order of frames holds."""
    net, model = frames.small(CUDA, "float32")
    streams = [torch.cuda.Stream() for _ in range(3)]
    sequence = frames.on_device(CUDA, "blocks", 18)
    outputs = []
    torch.cuda.synchronize()
    with model.session(EXACT) as session:
        for index, (image, motion) in enumerate(sequence):
            with torch.cuda.stream(streams[index % 3]):
                outputs.append(session.run(image, motion))
        torch.cuda.synchronize()
    with torch.inference_mode():
        for (image, _), out in zip(sequence, outputs, strict=True):
            assert_same({name: leaf.cpu() for name, leaf in out.items()}, net(image.cpu()))


def test_frames_may_change_threads() -> None:
    """Each frame in a thread that has never used the GPU: contexts and handles are made where they are needed."""
    net, model = frames.small(CUDA, "float32")
    sequence = frames.on_device(CUDA, "blocks", 6)
    torch.cuda.synchronize()
    outputs: list[dict[str, Tensor]] = []
    failures: list[BaseException] = []
    reuse = fluxshard.ReuseOptions(rfap="per_layer", input="fresh", scene_cut=1.0)
    with model.session(reuse) as session:
        for image, motion in sequence:

            def frame(image: Tensor = image, motion: MotionField | None = motion) -> None:
                try:
                    outputs.append({name: leaf.cpu() for name, leaf in session.run(image, motion).items()})
                except BaseException as error:
                    failures.append(error)
                    raise

            thread = threading.Thread(target=frame)
            thread.start()
            thread.join()
            assert not failures
    with torch.inference_mode():
        for (image, _), out in zip(sequence, outputs, strict=True):
            assert_same(out, net(image.cpu()))


def test_two_sessions_interleave_on_two_streams() -> None:
    """Graphs of two sessions that one thread has captured run at the same time, with matrix products in islands."""
    net, model = frames.small(CUDA, "float32")
    sequences = [frames.on_device(CUDA, "blocks", 24, seed) for seed in (1, 2)]
    streams = [torch.cuda.Stream() for _ in sequences]
    outputs: list[list[dict[str, Tensor]]] = [[], []]
    torch.cuda.synchronize()
    with model.session(EXACT) as a, model.session(EXACT) as b:
        for pair in zip(*sequences, strict=True):
            for (image, motion), session, stream, out in zip(pair, (a, b), streams, outputs, strict=True):
                with torch.cuda.stream(stream):
                    out.append(session.run(image, motion))
        torch.cuda.synchronize()
    with torch.inference_mode():
        for sequence, got in zip(sequences, outputs, strict=True):
            for (image, _), out in zip(sequence, got, strict=True):
                assert_same({name: leaf.cpu() for name, leaf in out.items()}, net(image.cpu()))


def test_memory_of_a_stream_comes_back() -> None:
    """Sessions that are closed leave nothing behind but what torch keeps for itself."""
    _, model = frames.small(CUDA)
    image = frames.on_device(CUDA, "static", 1)[0][0]

    def one() -> None:
        with model.session(REUSE) as session:
            for _ in range(4):
                session.run(image)
            assert session.state_bytes > 0

    for _ in range(3):
        one()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(10):
        one()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before


def test_all_shares_of_work_take_the_same_graph(place: Place) -> None:
    frames.one_graph_for_all_shares(place)


def test_statistics_are_fetched_when_they_are_asked_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    frames.statistics_on_demand(place, monkeypatch)


@pytest.mark.parametrize("masks", [False, True])
def test_replayed_frames_are_what_launched_ones_are(place: Place, masks: bool) -> None:
    frames.replayed_as_launched(place, masks)
