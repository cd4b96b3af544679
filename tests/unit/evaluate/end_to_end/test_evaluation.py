"""The whole of it with a detector of known results, without processes: made once, and gone on with."""

from __future__ import annotations

import json
import shutil
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
from fluxshard.evaluate.end_to_end.entrants import H264, OFFLOAD, PAPERS, PLANNED, PLANNED_RAW
from fluxshard.evaluate.end_to_end.evaluation import EndToEnd, run_end_to_end
from fluxshard.evaluate.end_to_end.replays import ReplayOptions
from fluxshard.evaluate.end_to_end.sensitivity import calibrated
from fluxshard.evaluate.end_to_end.sensitivity.calibrated import CalibratedOn
from fluxshard.evaluate.end_to_end.sensitivity.configurations import Configuration
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


def test_a_still_clip_and_a_cut(pool: EncodedPool, request_: EndToEnd, tmp_path: Path) -> None:
    folder = tmp_path / "clips" / "dogs"
    folder.mkdir()
    for index in range(FRAMES):
        Image.fromarray(np.full((32, 48, 3), 200 + index, np.uint8)).save(folder / f"{index}.png")
    asked = replace(
        request_, clips=(*request_.clips, Clip("dogs", folder)), extremes=True, links={"low": request_.links["low"]}
    )
    results = run_end_to_end(asked)
    found = {(one.clip.clip.name, one.method): one for one in results.extremes}
    assert found["still", H264].figures.compute == 1
    assert found["still", PLANNED].figures.compute < results.methods["low", PLANNED].compute
    after = found["cut", PLANNED].after
    assert after is not None and after.work == pytest.approx(1, abs=0.05), "nothing of the old scene is of use"
    assert {one.tier for one in found.values()} == {"low"}


def test_budgets_of_calibration(pool: EncodedPool, request_: EndToEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (
        Configuration(entrant=PAPERS, budget=0.03, split=0.67),
        Configuration(entrant=PLANNED_RAW, budget=0.05),
    )
    cows = request_.clips[0]
    street = Clip("street", cows.source.parent / "street")
    shutil.copytree(cows.source, street.source)
    calibrated_on = CalibratedOn(clips=(street,), max_frames=FRAMES, points=2, layers=1, configurations=rows)
    monkeypatch.setattr(calibrated, "WorkerPool", pool)
    results = run_end_to_end(replace(request_, calibrated_on=calibrated_on))
    assert [one.configuration for one in results.sensitivity] == list(rows)
    for one in results.sensitivity:
        assert one.tier == "medium" and one.figures.loss is not None
        assert 0 < one.figures.compute < 1 and one.configuration.label in pool.ran
    body = json.loads((request_.out / "results.json").read_text())
    assert body["description"]["calibrated_on"]["clips"] == ["street"]
    with pytest.raises(EvaluationError, match="calibrated on cows"):
        run_end_to_end(replace(request_, calibrated_on=replace(calibrated_on, clips=(cows,))))
