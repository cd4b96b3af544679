"""The laws of reuse as checks of a place: see tests/laws for what each of them says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import Tensor

import fluxshard
from fluxshard.motion import MotionField
from fluxshard.options import DType, Rfap
from fluxshard.runtime.engines.cuda import CudaEngine
from fluxshard.testing.comparisons import assert_same
from fluxshard.testing.moving_frames import frames
from fluxshard.testing.session_checks import EXACT, assert_same_decisions, check_against_dense
from tests.gpu.place import HostEngine, Place, leaves_of
from tests.laws import level_motions, planned, proposals
from tests.laws.nets import RandomNet

REFERENCE = fluxshard.CompileOptions(backend="reference")
TOLERANCE: dict[DType, float] = {"float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1}
Frame = tuple[Tensor, MotionField | None]


@cache
def compiled(
    place: Place, seed: int, dtype: DType = "float32", *, integer: bool = False, islands: bool = True
) -> tuple[RandomNet, fluxshard.CompiledModel]:
    """Nets are compiled once a process: that takes longer than all frames."""
    net = RandomNet(seed, 9, integer=integer, islands=islands and not integer)
    return net, place.compile(net, net.size, dtype)


@cache
def reference(seed: int) -> fluxshard.CompiledModel:
    """An integer net in the reference backend."""
    net = RandomNet(seed, 9, integer=True, islands=False)
    return fluxshard.compile(net, torch.zeros(1, 3, *net.size), options=REFERENCE)


def has_islands(model: fluxshard.CompiledModel) -> bool:
    """Whether torch computes a part of it, which gives no promise about bits."""
    return any(layer.mode == "dense" for layer in model.plan.layers)


def exact(place: Place, seed: int, kind: str, content: int, n: int = 4, dtype: DType = "float32") -> None:
    """Law 1: at zero thresholds with the per-layer rule the output is the dense net's."""
    net, model = compiled(place, seed, dtype)
    with place.from_host(model, EXACT) as session:
        list(check_against_dense(net, session, frames(kind, net.size, n, content), TOLERANCE[dtype]))


def incremental_bits(place: Place, seed: int, dtype: DType, *, islands: bool = False) -> None:
    """Which cells are computed together does not show: reuse at zero thresholds gives the bits of all work."""
    net, model = compiled(place, seed, dtype, islands=islands)
    with place.from_host(model, EXACT) as session, place.from_host(model, EXACT) as whole:
        for image, motion in frames("blocks", net.size, 6, seed):
            out = session.run(image, motion)
            whole.reset()
            expected = whole.run(image)
            for name in out:
                if has_islands(model):
                    assert_same(out[name], expected[name], TOLERANCE[dtype])
                else:
                    assert torch.equal(out[name], expected[name]), name


def all_work(place: Place, seed: int, dtype: DType, *, rfap: Rfap, remap: bool) -> None:
    """Law 2: everything marked for recomputation gives the dense output, whatever the other options say."""
    net, model = compiled(place, seed, dtype)
    work = {i: np.ones((g.height, g.width), np.bool_) for i, g in enumerate(model.plan.grids)}
    tau = 0.0 if has_islands(model) else 0.5  # what an island gives is compared, given work or not
    reuse = fluxshard.ReuseOptions(rfap=rfap, remap=remap, tau_input=tau, tau=tau, scene_cut=1.0)
    with place.from_host(model, reuse) as session, torch.inference_mode():
        for image, motion in frames("blocks", net.size, 4, seed):
            assert_same(session.run_with_work(image, motion, work), net(image), TOLERANCE[dtype])
        if not has_islands(model):
            assert session.stats.compute_ratio == pytest.approx(1.0)


def no_work(place: Place, seed: int, dtype: DType, rfap: Rfap) -> None:
    """Law 3: the same frame again gives the same bits and executes no layer, with masks or without."""
    net, model = compiled(place, seed, dtype)
    nothing = {i: np.zeros((g.height, g.width), np.bool_) for i, g in enumerate(model.plan.grids)}
    reuse = fluxshard.ReuseOptions(rfap=rfap, scene_cut=1.0)
    for sequence in (list(frames("garbage", net.size, 3, seed)), list(frames("garbage", net.size, 1, seed))):
        with place.from_host(model, reuse) as session:
            for image, motion in sequence:
                before = session.run(image, motion)
            again: list[Callable[[], object]] = [
                partial(session.run_with_work, image, None, nothing),  # after one frame planned, else not
                partial(session.run, image),
                partial(session.run, image, MotionField.zero(*net.size)),
            ]
            for run in again * 2:
                after = run()
                for a, b in zip(leaves_of(before), leaves_of(after), strict=True):
                    assert torch.equal(a, b)
                assert session.stats.layers_executed == 0 and session.stats.compute_ratio == 0
                assert session.stats.recompute_ratio == 0


def same_decisions(place: Place, seed: int, rfap: Rfap, dtype: DType) -> None:
    """Law 4 on nets whose arithmetic is exact: masks, candidates, slot maps and values, bit for bit."""
    net, model = compiled(place, seed, dtype, integer=True)
    for kind, tau, feed, remap in (
        ("blocks", 0.0, "assembled", True), ("garbage", 1.0, "fresh", False), ("cut", 0.0, "fresh", True),
        ("pan", 2.0, "assembled", False), ("cut", 1.0, "assembled", False), ("borders", 0.0, "fresh", True),
    ):  # fmt: skip
        reuse = fluxshard.ReuseOptions(rfap=rfap, remap=remap, input=feed, tau_input=tau, tau=tau)  # type: ignore[arg-type]
        with place.from_host(model, reuse) as a, reference(seed).session(reuse) as b:
            for image, motion in frames(kind, net.size, 5, seed, integer=True):
                assert_same(a.run(image, motion), b.run(image, motion), 0)
                assert_same_decisions(a, b, model.plan, True)
                assert a.stats.compute_ratio == b.stats.compute_ratio


def same_given_work(place: Place, seed: int, dtype: DType) -> None:
    """Law 4 with masks for every grid, which take another order of launches, and with some left out."""
    net, model = compiled(place, seed, dtype, integer=True)
    rng = np.random.default_rng(seed)
    reuse = fluxshard.ReuseOptions(rfap="off", input="fresh", scene_cut=1.0)
    with place.from_host(model, reuse) as a, reference(seed).session(reuse) as b:
        for index, (image, motion) in enumerate(frames("blocks", net.size, 10, seed, integer=True)):
            work = {i: rng.random((g.height, g.width)) < 0.4 for i, g in enumerate(model.plan.grids)}
            if index % 3 == 2:  # grids that are left out follow the values
                work = {i: mask for i, mask in work.items() if i == 0}
            for session in (a, b):
                session.run_with_work(image, motion, work)
            assert_same_decisions(a, b, model.plan, True)
            assert a.stats.compute_ratio == b.stats.compute_ratio


def planned_reuse(place: Place, seed: int, kind: str, content: int, which: int, dtype: DType = "float32") -> None:
    """What is planned before a frame is what the GPU then does."""
    net, model = compiled(place, seed, dtype)
    planned.check_predictions(model, lambda reuse: place.from_host(model, reuse), net.size, kind, content, which)


def proposals_are_what_runs(place: Place, seed: int, name: str, kind: str, content: int) -> None:
    """What is proposed is what runs, and proposing changes nothing; see `tests.laws.proposals`."""
    net, model = compiled(place, seed, "float32")
    proposals.check(lambda reuse: place.from_host(model, reuse), name, net.size, kind, content)


def planned_edges(place: Place, seed: int) -> None:
    """Planned reuse where nothing changes, where everything does, and where pixels are not finite."""
    net, model = compiled(place, seed, "float32")
    planned.check_no_work(lambda reuse: place.from_host(model, reuse), net.size, seed)
    planned.check_cuts_are_whole(net, lambda reuse: place.from_host(model, reuse), net.size, seed)
    planned.check_not_finite(net, lambda reuse: place.from_host(model, reuse), net.size, seed)


def planned_decisions(place: Place, seed: int, kind: str, which: int = 1) -> None:
    """Law 4 for planned reuse, on nets of integers; wrong vectors make levels of other shards move differently."""
    _, model = compiled(place, seed, "float32", integer=True)
    differ = planned.check_decisions(
        lambda reuse: place.from_host(model, reuse), reference(seed).session, model.plan, kind, seed, which
    )
    candidates = planned.SETTINGS[which].candidates
    if kind == "pan" or not candidates:
        assert not differ
    elif which == 2:
        assert differ or len({grid.stride_y for grid in model.plan.grids}) == 1


def level_motion(place: Place, seed: int, work: level_motions.Work, dtype: DType = "float32") -> None:
    """Law 4 for levels that move differently, in turns with frames that move as a whole."""
    _, model = compiled(place, seed, dtype, integer=True)
    image = torch.zeros(1, 3, *model.plan.image_size)
    made = model.specialise(image.to(place.torch_device)).program.engine
    assert isinstance(made, CudaEngine)
    level_motions.check(HostEngine(made), reference(seed).specialise(image).program.engine, seed, work)


def deterministic(place: Place, seed: int, dtype: DType) -> None:
    """Law 5: the same inputs give the same bits."""
    net, model = compiled(place, seed, dtype)
    runs = []
    for _ in range(2):
        with place.from_host(model, EXACT) as session:
            runs.append([session.run(*frame) for frame in frames("blocks", net.size, 6, 1)])
    for one, two in zip(*runs, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def isolated(
    place: Place, seed: int, n: int = 12, streams: tuple[AbstractContextManager[object], ...] = (nullcontext(),) * 2
) -> None:
    """Law 6: two sessions in two threads give what they give alone; writing into images and outputs changes nothing.

    Args:
      place, seed: where, and which net.
      n: frames.
      streams: entered by each thread.
    """
    net, model = compiled(place, seed)
    sequences = [list(frames("blocks", net.size, n, content)) for content in range(len(streams))]
    failures: list[BaseException] = []

    def run(sequence: list[Frame], stream: AbstractContextManager[object], out: list[list[Tensor]]) -> None:
        try:
            with stream, model.session(EXACT) as session:
                for image, motion in sequence:
                    image = image.to(place.torch_device, copy=True)
                    result = leaves_of(session.run(image, motion))
                    out.append([leaf.to("cpu", copy=True) for leaf in result])
                    for tensor in (image, *result):
                        tensor.fill_(7)
        except BaseException as error:
            failures.append(error)
            raise

    alone: list[list[list[Tensor]]] = [[] for _ in streams]
    for sequence, out in zip(sequences, alone, strict=True):
        run(sequence, nullcontext(), out)
    together: list[list[list[Tensor]]] = [[] for _ in streams]
    threads = [
        threading.Thread(target=run, args=arguments) for arguments in zip(sequences, streams, together, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for one, two in zip(alone, together, strict=True):
        assert len(one) == len(two) == n
        for a, b in zip(one, two, strict=True):
            for x, y in zip(a, b, strict=True):
                if has_islands(model):
                    assert_same(x, y)
                else:
                    assert torch.equal(x, y)


def outputs_alias_nothing(place: Place, seed: int) -> None:
    """Law 6: no two results of a session share memory, and none of them lies in its state."""
    net, model = compiled(place, seed)
    kept: list[Tensor] = []
    copies: list[Tensor] = []
    with model.session(EXACT) as session:
        for image, motion in frames("blocks", net.size, 6, seed):
            kept += leaves_of(session.run(image.to(place.torch_device), motion))
            copies += [leaf.clone() for leaf in kept[len(copies) :]]
        places = [(t.data_ptr(), t.data_ptr() + t.numel() * t.element_size()) for t in kept]
        assert all(a[1] <= b[0] or b[1] <= a[0] for i, a in enumerate(places) for b in places[:i])
        assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))


def not_a_number_leaves(place: Place, seed: int) -> None:
    """A NaN spreads as in the dense net, is recomputed while it is there, and is gone with its pixel."""
    net, model = compiled(place, seed)
    (clean, _), *_ = frames("static", net.size, 1, seed)
    broken = clean.clone()
    broken[0, 1, 7, 9] = float("nan")
    broken[0, 0, 12, 3] = float("inf")
    with place.from_host(model, EXACT) as session, torch.inference_mode():
        session.run(clean)
        for image in (broken, broken, clean):
            out, dense = session.run(image), net(image)
            for name in out:
                assert (out[name].isfinite() == dense[name].isfinite()).all()
        assert_same(out, dense)
