"""The whole of it with a detector of known results, without processes: made once, and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fluxshard.errors import EvaluationError
from fluxshard.evaluate import runner
from fluxshard.evaluate.calibration import calibrate
from fluxshard.evaluate.data.clips import Clip, prepare
from fluxshard.evaluate.end_to_end.content import recordings
from fluxshard.evaluate.end_to_end.entrants import H264, OFFLOAD, PLANNED
from fluxshard.evaluate.end_to_end.evaluation import EndToEnd, run_end_to_end
from fluxshard.evaluate.end_to_end.replays import ReplayOptions
from fluxshard.evaluate.end_to_end.settings import SETTINGS
from fluxshard.evaluate.end_to_end.workload import SEG
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.traces.tracing import trace_clip
from fluxshard.evaluate.traces.workers import FinishedTask, Setup, Task
from fluxshard.testing.evaluation import bright_network
from fluxshard.testing.networks import bright_model
from tests.unit.evaluate.test_experiment import InlineExecutor

FRAMES = 8


class EncodedPool:
    """Runs tasks in this process, on clips as H.264, in place of a `WorkerPool`."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self._network = bright_network()

    def __call__(self, setup: Setup, workers: int | None = None, *, tasks: int | None = None) -> EncodedPool:
        assert setup.encoded
        return self

    def __enter__(self) -> EncodedPool:
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, tasks: Sequence[Task], on_frames: Callable[[int], None]) -> Iterator[FinishedTask]:
        for task in tasks:
            self.ran.append(task.method.name)
            clip = prepare(task.clip, (32, 48), encoded=True)
            yield FinishedTask(task, trace_clip(task.method, self._network, clip, on_frames), None)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> EncodedPool:
    made = EncodedPool()
    monkeypatch.setattr(runner, "WorkerPool", made)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", InlineExecutor)
    for module in (calibrate, recordings):
        monkeypatch.setattr(module, "load", lambda *_: bright_model())
    return made


@pytest.fixture
def request_(tmp_path: Path) -> EndToEnd:
    """A clip over a texture, in which a bright square moves; half a second of two links."""
    folder, weights = tmp_path / "clips" / "cows", tmp_path / "bright.pt"
    folder.mkdir(parents=True)
    weights.write_bytes(b"weights")
    texture = np.random.default_rng(0).integers(0, 80, (32, 48, 3)).astype(np.uint8)
    for index in range(FRAMES):
        picture = texture.copy()
        picture[8:16, 4 * index : 4 * index + 8] = 230
        Image.fromarray(picture).save(folder / f"{index}.png")
    return EndToEnd(
        clips=(Clip("cows", folder),),
        setup=Setup(weights=weights, size="32x48", backend="reference"),
        settings=SETTINGS["seg"],
        links={"low": [LinkTrace("slow", (0.2,))], "medium": [LinkTrace("fast", (40.0,))]},
        options=ReplayOptions(workload=SEG, seconds=0.5, optimum_links=1, edges=(1, 2)),
        out=tmp_path / "out",
        workers=1,
        command="the command",
    )


def test_everything_is_made_once(pool: EncodedPool, request_: EndToEnd) -> None:
    told: list[str] = []
    results = run_end_to_end(request_, tell=told.append)
    assert len(pool.ran) == len(set(pool.ran)) == 12
    medium = {name: results.methods["medium", name] for name in (OFFLOAD, H264, PLANNED)}
    assert medium[OFFLOAD].tx == pytest.approx(1) and medium[OFFLOAD].loss == pytest.approx(0)
    assert medium[PLANNED].mean_ms < medium[H264].mean_ms and medium[PLANNED].compute < 1
    assert results.methods["low", OFFLOAD].mean_ms > medium[OFFLOAD].mean_ms
    assert results.anytime["medium"].accuracy is not None
    body = json.loads((request_.out / "results.json").read_text())
    assert body["description"]["measure"] == "miou" and body["description"]["frames"] == {"cows": FRAMES}
    assert {one["tier"] for one in body["methods"]} == {"low", "medium"}
    assert any("slow: 1 of 2 links" in line for line in told)

    ran, told[:] = list(pool.ran), []
    run_end_to_end(request_, tell=told.append)
    assert pool.ran == ran and not any("links" in line for line in told)
    assert json.loads((request_.out / "results.json").read_text()) == body

    more = {**request_.links, "high": [LinkTrace("faster", (200.0,))]}
    run_end_to_end(replace(request_, links=more), tell=told.append)
    assert pool.ran == ran and "high: faster: 1 of 1 links" in told


def test_nothing_to_replay(pool: EncodedPool, request_: EndToEnd) -> None:
    for changes in ({"clips": ()}, {"links": {}}, {"links": {"low": []}}):
        with pytest.raises(EvaluationError, match="nothing to replay"):
            run_end_to_end(replace(request_, **changes))  # type: ignore[arg-type]
    assert pool.ran == []
