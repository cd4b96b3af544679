"""Edge and server as two processes with mutual TLS: outputs are those of a replay in one process, bit for bit."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

import fluxshard
from fluxshard import video
from fluxshard.cli.run.output_directory import OUTPUTS, PLACEMENTS
from fluxshard.cloud.edge.connection.link import LinkOptions
from fluxshard.cloud.edge.offloaded_session import OffloadedSession
from fluxshard.cloud.edge.options import OffloadOptions, PayloadName, ServerWork
from fluxshard.cloud.edge.placement import PlacementRecord
from fluxshard.evaluate.offload.placement_replay import replay_run
from fluxshard.models.detections.regions import regions
from fluxshard.models.loading.load import load
from fluxshard.options import ReuseOptions
from fluxshard.pipeline.detection_head import DetectionHead
from fluxshard.pipeline.json_values import plain
from fluxshard.pipeline.sinks.json_lines import read_records
from fluxshard.runtime.offload.dispatch import DispatchOptions
from fluxshard.testing.offload.hooked_engine import HookedEngine
from fluxshard.testing.offload.two_places import Replay
from tests.offload.link_proxy import LinkProxy
from tests.offload.served import Served, served

pytestmark = pytest.mark.filterwarnings("ignore:loading .* runs Python code:UserWarning")
SIZE = (384, 640)
REUSE = ReuseOptions(policy="planned")
CLOUD_FIRST = DispatchOptions(margin_ms=200.0)


@dataclass(frozen=True)
class Case:
    """A network on a video."""

    weights: str
    video: str
    payload: PayloadName
    server_work: ServerWork = "auto"


CASES = {
    "pose, raw": Case("yolo11n-pose.pt", "videos/openpose_street_720p50.avi", "raw"),
    "segment, packed": Case("yolo11n-seg.pt", "davis/JPEGImages/480p/camel", "packed"),
    "segment, the camera's own packets": Case("yolo11n-seg.pt", "videos/carnd_solidWhiteRight_540p25.mp4", "bitstream"),
    "segment, packets with the edge's masks": Case(
        "yolo11n-seg.pt", "videos/carnd_solidWhiteRight_540p25.mp4", "bitstream", "edge"
    ),
    "pose, packets encoded here": Case("yolo11n-pose.pt", "videos/openpose_street_720p50.avi", "bitstream"),
    "segment, packets encoded here": Case("yolo11n-seg.pt", "davis/JPEGImages/480p/parkour", "bitstream"),
    "pose, packed": Case("yolo11n-pose.pt", "videos/openpose_street_720p50.avi", "packed"),
    "segment, raw": Case("yolo11n-seg.pt", "davis/JPEGImages/480p/parkour", "raw"),
}
QUICK = {"segment, packed": 40, "segment, the camera's own packets": 80}  # frames; a keyframe each 30


@dataclass
class Run:
    """What a stream gave."""

    frames: list[video.Frame] = field(default_factory=list)
    outputs: list[object] = field(default_factory=list)
    focused: list[np.ndarray | None] = field(default_factory=list)
    settled: list[PlacementRecord] = field(default_factory=list)

    def take(self, frame: video.Frame, outputs: object, focused: np.ndarray | None) -> None:
        """A frame and what it gave; None where it was not run."""
        self.frames.append(frame)
        self.outputs.append(outputs)
        self.focused.append(focused)


@cache
def compiled(data_dir: Path, weights: str) -> tuple[fluxshard.CompiledModel, DetectionHead]:
    """A network for images of `SIZE`, and its head."""
    loaded = load(data_dir / "weights" / weights, "auto")
    assert loaded.layout is not None
    head = DetectionHead(loaded.layout, SIZE, confidence=0.1)
    return fluxshard.compile(loaded.net, torch.zeros(1, 3, *SIZE)), head


def play(
    data_dir: Path,
    case: Case,
    server: Served,
    port: int,
    n: int,
    before: Callable[[int, OffloadedSession], None] = lambda *_: None,
    dispatch: DispatchOptions = CLOUD_FIRST,
    stream: str = "test",
    fast: bool = False,
    hedge_share: float = 0.5,
    skipped: Callable[[int], bool] = lambda _: False,
    until: Callable[[Run], bool] = lambda _: True,
) -> Run:
    """Runs a video in two places.

    Args:
      data_dir: of the test data.
      case: network, video and payload.
      server: that runs.
      port: of the server, or of a proxy before it.
      n: frames, at least.
      before: called with the number of every frame before it is run.
      dispatch: who answers.
      stream: its name.
      fast: the next frame follows at once, not when its time has come.
      hedge_share: of frames that the edge may start beside the cloud; where it is fast, it answers them.
      skipped: by number, frames that are not run.
      until: on a busy machine it takes more frames, up to three times as many, until this is so.
    """
    model, head = compiled(data_dir, case.weights)
    options = OffloadOptions(
        payload=case.payload, server_work=case.server_work, dispatch=dispatch, stream=stream,
        tls=server.client_tls(), hedge_share=hedge_share, link=LinkOptions(silence_s=2.0),
    )  # fmt: skip
    run = Run()
    with (
        video.open(data_dir / case.video, size=SIZE, max_frames=3 * n, packets=case.payload == "bitstream") as source,
        fluxshard.offload(
            model, f"127.0.0.1:{port}", reuse=REUSE, options=options, on_settled=run.settled.append,
            video=source if case.payload == "bitstream" else None,
        ) as session,
    ):  # fmt: skip
        started = time.monotonic()
        for frame in source:
            # as a camera gives them: as fast as the edge takes them, the stream is over before the server has joined it
            if not fast:
                time.sleep(max(0.0, started + frame.time_s - time.monotonic()))
            before(len(run.frames), session)
            if skipped(len(run.frames)):
                session.skip(frame)
                run.take(frame, None, None)
                continue
            outputs = session.run(frame)
            marked = regions(head(outputs), 0.1, REUSE.planned.small_px)
            session.focus(marked)
            run.take(frame, outputs, marked)
            if len(run.frames) == 1:
                wait_for(lambda: session.link.is_open)
                started = time.monotonic() - frame.time_s
            if len(run.frames) >= n and until(run):
                break
    assert len(run.frames) >= n
    return run


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def assert_replays(data_dir: Path, case: Case, run: Run) -> None:
    ran = [number for number, outputs in enumerate(run.outputs) if outputs is not None]
    assert [record.frame for record in run.settled] == ran
    records = {record.frame: record for record in run.settled}
    model, head = compiled(data_dir, case.weights)
    program = model.specialise(torch.zeros(1, 3, *SIZE)).program
    replay = Replay(program, REUSE, SIZE, sparse_image=case.payload != "bitstream", detect=head)
    for number, (frame, outputs, marked) in enumerate(zip(run.frames, run.outputs, run.focused, strict=True)):
        record = records.get(number)
        if record is None or marked is None:
            replay.skip(frame)
            continue
        expected = replay.run(frame, record)
        pairs = zip(tree_leaves(outputs), tree_leaves(expected), strict=True)
        apart = [float((one - other).abs().max()) for one, other in pairs if not torch.equal(one, other)]
        seen = f"frame {record.frame}, answered by the {record.answered_by}, hedged: {record.hedged}"
        assert not apart, f"{seen}, is apart by {apart}\n{torch.__config__.parallel_info()}"
        replay.focus(marked)


@pytest.fixture(scope="module")
def servers(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Served]]:
    """A server for weights, started when it is first asked for."""
    open_servers: dict[str, Served] = {}
    contexts = []

    def get(weights: str) -> Served:
        if weights not in open_servers:
            context = served(
                ["--model", str(data_dir / "weights" / weights), "--size", "384x640"], tmp_path_factory.mktemp("served")
            )
            open_servers[weights] = context.__enter__()
            contexts.append(context)
        return open_servers[weights]

    yield get
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_outputs_are_those_of_a_replay(data_dir: Path, servers: Callable[[str], Served], name: str) -> None:
    case = CASES[name]
    server = servers(case.weights)

    def both_answered(run: Run) -> bool:
        answered = [record.answered_by for record in run.settled]
        return "edge" in answered and answered.count("cloud") >= 5

    run = play(data_dir, case, server, server.port, QUICK.get(name, 100), hedge_share=0.05, until=both_answered)
    assert_replays(data_dir, case, run)
    assert both_answered(run)
    ratios = [record.server["compute_ratio"] for record in run.settled if record.server is not None]
    assert np.mean(ratios) < 0.7


@pytest.mark.parametrize("name", ["segment, the camera's own packets", "segment, packed"])
def test_frames_that_are_not_run_change_no_bit_of_those_that_are(
    data_dir: Path, servers: Callable[[str], Served], name: str
) -> None:
    """Their packets go up nevertheless, so the server decodes what comes after them."""
    case = CASES[name]
    server = servers(case.weights)

    def answered(run: Run) -> bool:
        return sum(record.answered_by == "cloud" for record in run.settled) >= 5

    run = play(data_dir, case, server, server.port, 60, hedge_share=0.05, skipped=lambda n: n % 3 == 1, until=answered)
    assert_replays(data_dir, case, run)
    assert answered(run) and len(run.settled) == sum(n % 3 != 1 for n in range(len(run.frames)))
    assert all(record.cloud_outcome != "key needed" for record in run.settled)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_faults_change_nothing_but_who_answers(data_dir: Path, servers: Callable[[str], Served], name: str) -> None:
    """A cut, a silence and a server that is killed and started again: every frame is answered, and replays."""
    case = CASES[name]
    server = servers(case.weights)
    with LinkProxy(server.port) as proxy:

        def before(frame: int, session: OffloadedSession) -> None:
            if frame in (20, 32, 46):
                wait_for(lambda: session.link.is_open)
            if frame == 20:
                proxy.cut()
            elif frame == 32:
                proxy.silent = True
            elif frame == 38:
                proxy.silent = False
                proxy.cut()
            elif frame == 46:
                server.kill()
            elif frame == 50:
                server.start()
                wait_for(lambda: session.link.is_open)

        def is_back(run: Run) -> bool:
            return any(record.cloud_ran for record in run.settled[52:])

        run = play(data_dir, case, server, proxy.port, 70, before, until=is_back)
    assert_replays(data_dir, case, run)
    outcomes = {record.cloud_outcome for record in run.settled}
    assert {"answered", "lost"} <= outcomes
    assert is_back(run)


def test_everything_that_can_happen_to_a_frame_happens(data_dir: Path, tmp_path: Path) -> None:
    """Edge, cloud, a hedge won by either, a key that is needed, a refusal: each of them, and all of it replays."""
    case = CASES["segment, packed"]
    arguments = ["--model", str(data_dir / "weights" / case.weights), "--size", "384x640", "--lease", "0.5"]
    records: list[PlacementRecord] = []
    with served(arguments, tmp_path) as server, LinkProxy(server.port) as proxy:

        def before(frame: int, session: OffloadedSession) -> None:
            proxy.up_bytes_per_s = 3e5 if frame in (24, 25) else 0.0  # a frame takes a second
            if frame == 32:
                time.sleep(1.0)  # longer than the lease

        run = play(data_dir, case, server, proxy.port, 45, before)
        assert_replays(data_dir, case, run)
        records += run.settled
        counted = sum(record.bytes_sent for record in run.settled)
        # what is left of a frame that needs a key, or was under way at the end, is not sent
        cut_short = sum(record.bytes_sent for record in run.settled if record.cloud_outcome != "answered")
        # TLS, HTTP/2 and a handshake come on top
        assert counted - cut_short < proxy.bytes_up < 1.05 * counted + 30_000

        def late_edge(frame: int, session: OffloadedSession) -> None:
            """From the middle on, the cloud answers before an edge that was started beside it."""
            if frame == 30:
                assert session._runner is not None
                stream = session._runner._stream
                engine = HookedEngine(stream._program.engine, lambda _: time.sleep(0.25))
                stream._program = replace(stream._program, engine=engine)

        # frames that have to be answered sooner than anybody can: a server that runs another stream's frame refuses
        # them, and that stream has a frame there most of the time, however fast this machine is
        over = threading.Event()

        def keep_busy() -> None:
            while not over.is_set():
                play(data_dir, case, server, server.port, 60, stream="rival", fast=True)

        rival = threading.Thread(target=keep_busy)
        rival.start()
        hurried = DispatchOptions(margin_ms=200.0, deadline_ms=5.0)
        try:
            run = play(data_dir, case, server, proxy.port, 60, late_edge, hurried, stream="hurried")
        finally:
            over.set()
            rival.join()
        assert_replays(data_dir, case, run)
        records += run.settled
    assert {record.answered_by for record in records} == {"edge", "cloud"}
    assert {record.answered_by for record in records if record.hedged} == {"edge", "cloud"}
    assert {"answered", "key needed", "refused"} <= {record.cloud_outcome for record in records}


@pytest.mark.parametrize("payload", ["packed", "bitstream"])
def test_the_commands_agree_with_a_replay(
    data_dir: Path, servers: Callable[[str], Served], tmp_path: Path, payload: str
) -> None:
    """`fluxshard edge` beside `fluxshard serve`: detections, as they are written, are those of a replay."""
    case = CASES["segment, packed"]
    server = servers(case.weights)
    tls, out = server.client_tls(), tmp_path / "out"
    command = [
        sys.executable, "-c", "from fluxshard.cli import main; main()", "edge", str(data_dir / case.video),
        "--model", str(data_dir / "weights" / case.weights), "--size", "384x640", "--out", str(out),
        "--server", f"127.0.0.1:{server.port}", "--ca", str(tls.authority), "--cert", str(tls.certificate),
        "--key", str(tls.key), "--payload", payload, "--margin", "200", "--max-frames", "40",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=280, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {*OUTPUTS, PLACEMENTS}
    records = read_records(out / "frames.jsonl")
    assert len(records) == 40 and {record.stats["placement"] for record in records} == {"edge", "cloud"}
    assert all(record.placement is not None and record.age_ms > 0 for record in records)
    assert all(record.placement["server_planned"] is (payload == "bitstream") for record in records if record.placement)
    replayed = replay_run(out)
    assert replayed.frames == 40 and replayed.mismatches == () and replayed.compared is not None
    assert "the server is there" in done.stdout and "answered" in done.stdout
    assert plain(records[0].stats)["keyframe"] is True
