"""Frames as graphs, as checks of a place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

import fluxshard
from benchmarks.gpu_cases import stream_of
from fluxshard.motion import MotionField
from fluxshard.options import DType
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.runtime.engines.engine import Mask
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT
from tests.cuda.small_net import SIZE, SmallNet, small_net
from tests.gpu.place import Place, leaves_of

REUSE = fluxshard.ReuseOptions(rfap="per_layer", input="fresh", scene_cut=0.85)
SHARES = (0.0, 0.05, 0.3, 1.0, 0.0, 0.6, 1.0, 0.1)


@cache
def small(place: Place, dtype: DType = "float16") -> tuple[SmallNet, fluxshard.CompiledModel]:
    """A net with islands, compiled once a process."""
    net = small_net()
    model = place.compile(net, SIZE, dtype)
    if place.backend == "emulated":
        device = engine_of(model)._device
        device.captures, device.capture = True, Replay  # type: ignore[method-assign]
    return net, model


class Replay:
    """Stands in for a graph where there is none: what is captured is not run until it is replayed."""

    def __init__(self, launch: Callable[[], None]) -> None:
        self.replay = launch
        self.n_bytes = 0


def engine_of(model: fluxshard.CompiledModel) -> CudaEngine:
    """The engine for the size of the small net."""
    engine = model.specialise(torch.zeros(1, 3, *SIZE)).program.engine
    assert isinstance(engine, CudaEngine)
    return engine


def on_device(place: Place, kind: str, n: int, seed: int = 0) -> list[tuple[Tensor, MotionField | None]]:
    """Frames of `tests.laws.content` whose images are where the place wants them."""
    return [(image.to(place.torch_device), motion) for image, motion in frames(kind, SIZE, n, seed)]


def masks_of(plan: fluxshard.Plan, share: float, seed: int) -> dict[int, Mask]:
    """Random cells of every grid."""
    rng = np.random.default_rng(seed)
    return {i: rng.random((grid.height, grid.width)) < share for i, grid in enumerate(plan.grids)}


def warm(place: Place, session: fluxshard.Session, masks: dict[int, Mask] | None = None) -> None:
    """A keyframe, a frame that is launched and one that is captured, for each order of launches."""
    for image, motion in on_device(place, "blocks", 4, 9):
        session.run(image, motion)
    if masks is not None:
        session.reset()  # masks for all grids are planned from a keyframe on
        session.run(image)
        for _ in range(3):
            session.run_with_work(image, None, masks)


def graphs_of(session: fluxshard.Session) -> dict[object, object]:
    """What a session has captured."""
    return {key: captured.graph for key, captured in stream_of(session).captured.items()}


def one_graph_for_all_shares(place: Place) -> None:
    """Whatever share of the work there is, and through scene cuts, a frame replays what was captured first."""
    _, model = small(place)
    with model.session(REUSE) as session:
        warm(place, session, masks_of(model.plan, 0.3, 0))
        before = graphs_of(session)
        assert len(before) == 2 and None not in before.values()
        sequence = on_device(place, "blocks", 6) + on_device(place, "cut", 6, 1) + on_device(place, "static", 4, 2)
        ratios = []
        for image, motion in sequence:
            session.run(image, motion)
            ratios.append((session.stats.compute_ratio, session.stats.keyframe))
        for planned in (False, True):
            if planned:
                session.reset()
                session.run(image)
            for seed, share in enumerate(SHARES):
                session.run_with_work(image, None, masks_of(model.plan, share, seed))
                ratios.append((session.stats.compute_ratio, session.stats.keyframe))
                assert stream_of(session).planned == planned
        after = graphs_of(session)
    assert before.keys() == after.keys() and all(before[key] is after[key] for key in before)
    assert {0.0, 1.0} < {round(ratio, 3) for ratio, _ in ratios} and {key for _, key in ratios} == {True, False}


def statistics_on_demand(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame fetches no counts; the first look at statistics does, once."""
    _, model = small(place)
    fetched: list[int] = []
    original = CudaEngine._counts

    def counted(engine: CudaEngine, *arguments: object) -> object:
        fetched.append(1)
        return original(engine, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(CudaEngine, "_counts", counted)
    with model.session(REUSE) as session:
        for image, motion in on_device(place, "blocks", 5):
            session.run(image, motion)
        assert not fetched
        first = session.stats
        assert len(fetched) == 1 and session.stats is first
        assert 0 < first.compute_ratio <= 1 and first.inference_ms > 0 and first.layers_executed > 0


def replayed_as_launched(place: Place, masks: bool) -> None:
    """The first frames of a session are launched, later ones replayed: results are the same."""
    _, model = small(place, "float32")
    device = engine_of(model)._device
    sequence = on_device(place, "blocks", 8)
    results: list[list[list[Tensor]]] = []
    for captures in (True, False):
        device.captures = captures
        try:
            with model.session(EXACT) as session:
                results.append([])
                for index, (image, motion) in enumerate(sequence):
                    if masks and index:
                        out = session.run_with_work(image, motion, masks_of(model.plan, 0.4, index))
                    else:
                        out = session.run(image, motion)
                    results[-1].append([leaf.to("cpu", copy=True) for leaf in leaves_of(out)])
                assert (None in graphs_of(session).values()) != captures or masks
        finally:
            device.captures = True
    for one, two in zip(*results, strict=True):
        for a, b in zip(one, two, strict=True):
            assert_same(a, b, 1e-5)
