"""`fluxshard edge --answer-within`: every frame is answered, most with moved results, and all work is counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fluxshard.cli.main import main
from fluxshard.cli.run.output_directory import FRAMES, PLACEMENTS
from fluxshard.evaluate.offload.placement_replay import replay_run

pytestmark = pytest.mark.filterwarnings("ignore:loading .* runs Python code:UserWarning")
FRAMES_RUN = 24


def test_every_frame_is_answered_and_all_work_is_counted(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main([
            "edge", str(data_dir / "davis/JPEGImages/480p/camel"), "--model", str(data_dir / "weights/yolo11n-seg.pt"),
            "--size", "192x320", "--server", "127.0.0.1:9", "--insecure", "--pace", "--frames", "every",
            "--max-frames", str(FRAMES_RUN), "--answer-within", "0.1", "--out", str(out),
        ])  # fmt: skip
    assert ended.value.code in (0, None)
    records = [json.loads(line) for line in (out / FRAMES).read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(FRAMES_RUN))
    assert records[0]["carried"] == 0 and sum(record["carried"] > 0 for record in records) > FRAMES_RUN // 2
    assert all(record["detections"] for record in records)
    ran = [json.loads(line) for line in (out / PLACEMENTS).read_text().splitlines()]
    work = np.cumsum([record["edge_work"] for record in ran])
    # what ran last, nobody has asked for
    assert any(sum(record["planned_work"] for record in records) == pytest.approx(some) for some in work[-3:])
    assert replay_run(out).mismatches == ()
    summary = json.loads((out / "summary.json").read_text())
    assert summary["carried_counted"] == sum(record["carried"] > 0 for record in records[1:])
    assert summary["carried_frames"]["mean"] >= 1 and summary["answer_within_ms"] == 0.1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--answer-within", "0", "--model", "net.pt"], "--answer-within (=0) must be above 0, in milliseconds"),
        (["--answer-within", "9", "--plan", "server"], "--answer-within needs --plan edge"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["edge", "film.mp4", "--server", "127.0.0.1:9", "--insecure", "--out", str(tmp_path / "out"), *flags])
    assert ended.value.code == 2 and says in " ".join(capsys.readouterr().err.split())
