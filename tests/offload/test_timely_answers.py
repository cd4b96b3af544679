"""`fluxshard edge` with moved results: within a time (`--answer-within`), and instead of runs (`--skip-budget`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fluxshard.cli.main import main
from fluxshard.cli.run.output_directory import FRAMES, PLACEMENTS
from fluxshard.evaluate.offload.placement_replay import replay_run

pytestmark = pytest.mark.filterwarnings("ignore:loading .* runs Python code:UserWarning")
FRAMES_RUN = 24


def run_edge(data_dir: Path, out: Path, *flags: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines of frames and of placements, of an edge without a server."""
    with pytest.raises(SystemExit) as ended:
        main([
            "edge", str(data_dir / "davis/JPEGImages/480p/camel"), "--model", str(data_dir / "weights/yolo11n-seg.pt"),
            "--size", "192x320", "--server", "127.0.0.1:9", "--insecure", "--pace", "--frames", "every",
            "--max-frames", str(FRAMES_RUN), "--out", str(out), *flags,
        ])  # fmt: skip
    assert ended.value.code in (0, None)
    first, second = ((out / name).read_text().splitlines() for name in (FRAMES, PLACEMENTS))
    return [json.loads(line) for line in first], [json.loads(line) for line in second]


def test_frames_that_are_not_run_have_the_last_result(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    records, ran = run_edge(data_dir, out, "--skip-budget", "0.5", "--max-skip", "2")
    carried = [record["carried"] for record in records]
    assert [record["frame"] for record in records] == list(range(FRAMES_RUN)) and max(carried) == 2
    assert [record["frame"] for record in ran] == [number for number, one in enumerate(carried) if one == 0]
    assert all(record["detections"] for record in records) and replay_run(out).mismatches == ()
    assert json.loads((out / "summary.json").read_text())["skip"] == {"budget": 0.5, "most": 2}


def test_every_frame_is_answered_and_all_work_is_counted(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    records, ran = run_edge(data_dir, out, "--answer-within", "0.1")
    assert [record["frame"] for record in records] == list(range(FRAMES_RUN))
    assert records[0]["carried"] == 0 and sum(record["carried"] > 0 for record in records) > FRAMES_RUN // 2
    assert all(record["detections"] for record in records)
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
        (["--skip-budget", "0.1", "--plan", "server"], "--skip-budget needs --plan edge"),
        (["--server-work", "server", "--show-reuse", "--model", "net.pt"], "--show-reuse needs --server-work edge"),
        (["--server-work", "server", "--payload", "raw", "--model", "net.pt"], "needs the whole video"),
        (["--server-work", "server", "--policy", "propagated", "--model", "net.pt"], "is for --policy planned"),
        (["--skip-budget", "2", "--model", "net.pt"], "budget (=2.0)"),
        (["--skip-budget", "0.1", "--answer-within", "9", "--model", "net.pt"], "leave out --skip-budget"),
        (["--skip-budget", "0.1", "--policy", "propagated", "--model", "net.pt"], "is for --policy planned"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["edge", "film.mp4", "--server", "127.0.0.1:9", "--insecure", "--out", str(tmp_path / "out"), *flags])
    assert ended.value.code == 2 and says in " ".join(capsys.readouterr().err.split())
