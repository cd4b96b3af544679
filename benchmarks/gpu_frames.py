"""Whole frames: FluxShard at given shares of the work, against the same network dense, in one process."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import gpu_dense
from benchmarks.frame import forced_work
from benchmarks.gpu_cases import Built, Case, Place, leaves_of, session_of, stream_of
from benchmarks.gpu_clock import Run, Times, interleaved, ratio
from fluxshard.backends import image_tests
from fluxshard.ir.stream_layout import TorchCall
from fluxshard.ops.interpret import interpret
from fluxshard.options import CompileOptions, ReuseOptions
from fluxshard.runtime.session import Session
from fluxshard.runtime.stream import Program

SHARES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.0)
CHANGED = (0.25, 0.1, 0.05, 0.0)
PLANNED = ReuseOptions(rfap="off", input="fresh", scene_cut=1.0)
EXACT = ReuseOptions(rfap="per_layer", input="fresh", scene_cut=1.0)
TOLERANCE = 2e-2  # of the range of a result
SLOPE, OFFSET, CEILING = (
    1.1,
    0.08,
    1.05,
)  # goals: at most (1.1 work + 0.08) times the fastest dense engine, never above 1.05


@dataclass(slots=True)
class Frames:
    """What is measured of one case.

    Attributes:
      case: "yolo11m@1024".
      rows: one per contender that ran, as the report has them.
      unavailable: reason by contender that did not.
      fastest: the dense engine with the smallest median.
      agreement: largest difference from the definition in float32, over its range, by contender.
      details: of FluxShard: launches, memory, host times, compile times.
      times: milliseconds of every round, by contender.
    """

    case: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    fastest: str = ""
    agreement: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)

    @property
    def wrong(self) -> list[str]:
        """Contenders whose results are not the definition's."""
        return [name for name, error in self.agreement.items() if not error <= TOLERANCE]


def difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference over the range of what is expected; infinity where anything is not a number."""
    assert len(found) == len(expected)
    errors = [
        float((a.float() - b.float()).abs().max()) / max(1e-6, float(b.abs().max()))
        for a, b in zip(found, expected, strict=True)
    ]
    return max(error if math.isfinite(error) else math.inf for error in errors)


class Streams:
    """FluxShard's contenders of one case: one stream whose work is given, and one for each share of changed pixels.

    Args:
      case, built, place: what runs where.
      changed: shares of pixels that change from frame to frame: one stream finds them in what layers compute, and one
        plans its frames.
    """

    def __init__(self, case: Case, built: Built, place: Place, changed: tuple[float, ...]) -> None:
        self.case, self.built, self.place = case, built, place
        before = _allocated(place)
        self.given = session_of(built, PLANNED)
        self.given.run(case.image)
        self._masks = {share: forced_work(case.plan.grids, share) for share in SHARES}
        for share in (*SHARES, 1.0):
            self.run_given(share)
        self.stream_bytes = _allocated(place) - before
        self.changing: dict[float, tuple[Session, list[Tensor]]] = {}
        for share in changed:
            session = session_of(built, EXACT)
            images = [case.image, changed_image(case, share)]
            for index in range(4):
                session.run(images[index % 2])
            self.changing[share] = session, images
        self.planning: dict[float, tuple[Session, list[Tensor]]] = {}
        for share in changed:
            session, images = planning_session(built, place), [case.image, changed_image(case, share)]
            for index in range(5):  # ends with the first, so that the frame to come is the other
                session.run(images[index % 2])
            self.planning[share] = session, images

    def run_given(self, share: float) -> list[Tensor]:
        """A frame whose work is given."""
        return leaves_of(self.given.run_with_work(self.case.image, None, self._masks[share]))

    def run_changed(self, share: float) -> list[Tensor]:
        """A frame whose work is found: what changed, changes back."""
        session, images = self.changing[share]
        images.reverse()
        return leaves_of(session.run(images[0]))

    def run_planned(self, share: float) -> list[Tensor]:
        """A frame that is planned: the image test finds what changed, and changes back."""
        session, images = self.planning[share]
        images.reverse()
        return leaves_of(session.run(images[0]))

    def contenders(self, suffix: str = "") -> dict[str, Run]:
        """All of them, by name."""
        runs: dict[str, Run] = {given_name(share) + suffix: partial(self.run_given, share) for share in SHARES}
        runs |= {changed_name(share) + suffix: partial(self.run_changed, share) for share in self.changing}
        runs |= {planned_name(share) + suffix: partial(self.run_planned, share) for share in self.planning}
        return runs

    def compute_ratios(self) -> dict[str, tuple[float, float]]:
        """By contender: the share of cells or pixels, and of multiplications that were executed."""
        found = {}
        for share in SHARES:
            self.run_given(share)
            found[given_name(share)] = share, self.given.stats.compute_ratio
        for share, (session, _) in self.changing.items():
            self.run_changed(share)
            found[changed_name(share)] = session.stats.recompute_ratio, session.stats.compute_ratio
        for share, (session, _) in self.planning.items():
            self.run_planned(share)
            found[planned_name(share)] = session.stats.recompute_ratio, session.stats.compute_ratio
        return found

    def check(self, expected: list[Tensor], expected_of: Callable[[Tensor], list[Tensor]]) -> dict[str, float]:
        """Differences from the definition, after frames of all kinds but planned ones, which leave changes out."""
        found = {given_name(share): difference(self.run_given(share), expected) for share in SHARES}
        for share, (_, images) in self.changing.items():
            worst = 0.0
            for _ in range(2):
                out = self.run_changed(share)
                worst = max(worst, difference(out, expected_of(images[0])))
            found[changed_name(share)] = worst
        return found

    def measure_replays(self, repeats: int) -> dict[str, dict[str, float]]:
        """Device time of a frame's graph, back to back, and host time of one replay."""
        found = {}
        stream = stream_of(self.given)
        (captured,) = (c for key, c in stream.captured.items() if key[0])
        for share in SHARES:
            self.run_given(share)
            if captured.graph is None:
                continue
            device_ms = self.place.clock.each_of(captured.graph.replay, repeats)
            host_ms = sorted(self.place.clock.once(captured.graph.replay)[1] for _ in range(repeats))[repeats // 2]
            found[given_name(share)] = {"device_ms": device_ms, "host_ms": host_ms}
        return found

    def launches(self) -> dict[str, dict[str, int]]:
        """How many kernels of ours and calls of torch a frame has, by order of launches."""
        found = {}
        changing = [session for session, _ in self.changing.values()][:1]
        for name, session in (("given", self.given), *(("found", session) for session in changing)):
            captured = list(stream_of(session).captured.values())[-1]
            torch_calls = sum(isinstance(step, TorchCall) for step in captured.launches)
            found[name] = {"kernels": len(captured.launches) - torch_calls, "islands": torch_calls}
        return found


def given_name(share: float) -> str:
    """Of a contender whose work is given."""
    return f"FluxShard {share:.0%} work"


def changed_name(share: float) -> str:
    """Of a contender whose work is found."""
    return f"FluxShard {share:.0%} changed"


def planned_name(share: float) -> str:
    """Of a contender whose frames are planned from the image."""
    return f"FluxShard {share:.0%} changed, planned"


def planning_session(built: Built, place: Place) -> Session:
    """A stream with planned reuse whose images are tested where the network runs; results are leaves."""
    plan, options = built.engine.plan, CompileOptions(backend=place.device)  # type: ignore[arg-type]
    make_test = image_tests(plan, options, engine=built.engine)
    program = Program(built.engine, lambda leaves: leaves, make_test=make_test)
    return Session(lambda _: program, ReuseOptions(policy="planned", scene_cut=1.0))


def changed_image(case: Case, share: float) -> Tensor:
    """The image with other numbers in blocks of 64 pixels, the same that are given as work."""
    mask = torch.from_numpy(np.ascontiguousarray(forced_work(case.plan.grids[:1], share)[0])).to(case.image.device)
    other = torch.rand(case.image.shape, generator=torch.Generator().manual_seed(2)).to(case.image.device)
    return torch.where(mask, other, case.image)


def expected_of(case: Case) -> Callable[[Tensor], list[Tensor]]:
    """The definition in float32, on the device."""
    weights = {name: tensor.to(case.image.device) for name, tensor in case.weights.items()}

    def leaves(image: Tensor) -> list[Tensor]:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return [leaf for leaf in interpret(case.plan, weights, image) if isinstance(leaf, Tensor)]

    return leaves


def measure(
    case: Case, streams: Mapping[str, Streams], dense: list[gpu_dense.Contender], place: Place, rounds: int
) -> Frames:
    """Checks and times all contenders of a case.

    Args:
      case: the network.
      streams: FluxShard's, by what is appended to their names.
      dense: other engines.
      place: where.
      rounds: of measuring.
    """
    found = Frames(case.label)
    of = expected_of(case)
    expected = of(case.image)
    contenders: dict[str, Run] = {}
    for contender in dense:
        if contender.run is None or contender.outputs is None:
            found.unavailable[contender.name] = contender.reason
            continue
        found.agreement[contender.name] = difference(leaves_of(contender.outputs()), expected)
        contenders[contender.name] = contender.run
    ratios: dict[str, tuple[float, float]] = {}
    for suffix, stream in streams.items():
        found.agreement |= {name + suffix: error for name, error in stream.check(expected, of).items()}
        ratios |= {name + suffix: values for name, values in stream.compute_ratios().items()}
        contenders |= stream.contenders(suffix)
    with torch.compiler.set_stance("fail_on_recompile"):
        times = interleaved(contenders, rounds, place.clock)
    peers = [name for name in contenders if name not in ratios]
    right = [name for name in peers if name not in found.wrong]
    found.fastest = min(right or peers, key=lambda name: times[name].median_ms)
    found.times = {name: measured.ms for name, measured in times.items()}
    found.rows = [_row(name, times, found.fastest, ratios.get(name)) for name in contenders]
    return found


def _row(name: str, times: Mapping[str, Times], fastest: str, shares: tuple[float, float] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "contender": name, "median_ms": times[name].median_ms, "host_ms": times[name].median_host_ms,
        "ratio": ratio(times[name], times[fastest]), "share": None, "compute_ratio": None,
    }  # fmt: skip
    if shares is not None:
        share, compute_ratio = shares
        limit = min(SLOPE * compute_ratio + OFFSET, CEILING)
        row |= {"share": share, "compute_ratio": compute_ratio, "limit": limit, "met": row["ratio"] <= limit}
    return row


def profiled_kernels(run: Run) -> int | None:
    """Kernels and copies on the device in one frame, torch's own included, as a profiler counts them."""
    from torch.autograd import DeviceType

    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            run()
            torch.cuda.synchronize()
        return sum(event.device_type == DeviceType.CUDA for event in profile.events() or ()) or None
    except (RuntimeError, AssertionError):
        return None


def _allocated(place: Place) -> int:
    if not place.on_gpu:
        return 0
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()
