"""What a run leaves at its end: summary, picture and the printed table."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from fluxshard.cli.run.files import write_results
from fluxshard.cli.run.summary_table import summary_table
from fluxshard.options import PlannedOptions
from fluxshard.testing.fake_session import FakeSession, detection
from tests.unit.pipeline.frame_loop import run_loop


@pytest.mark.parametrize("n", [0, 1, 2, 30])
@pytest.mark.parametrize("dense", [False, True])
def test_results_of_runs_of_any_length(tmp_path, n, dense):
    records = list(
        run_loop(tmp_path, FakeSession(drift=0.1), n=n, dense=(lambda image: detection(32.0)) if dense else None)
    )
    summary = write_results(records, {"model": "m.pt", "video": "v.mp4", "out": str(tmp_path)}, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (tmp_path / "summary.png").read_bytes().startswith(b"\x89PNG")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(summary))
    assert "frames" in console.export_text()


def test_results_of_a_run_on_a_canvas(tmp_path):
    """Agreement is summed up and drawn, though there is no difference of raw detection."""
    stream = FakeSession(step=(1, 1))
    records = list(
        run_loop(tmp_path, stream, dense=lambda image: detection(32.0), canvas_px=8, planned=PlannedOptions())
    )
    records = [
        replace(record, planned_work=share) for record, share in zip(records, (1, 0.2, 0.4, 0.2, 0.2), strict=True)
    ]
    facts = {"model": "m.pt", "video": "v.mp4", "out": str(tmp_path), "policy": "planned", "canvas_px": 8}
    summary = write_results(records, facts, tmp_path)
    assert summary["agreement"]["f1"] == 1.0 and summary["agreement"]["max_difference"] is None
    assert summary["planned_work"]["mean"] == pytest.approx(0.25)  # the first frame is left out
    assert summary["latency_ms"]["focus"]["median"] > 0
    assert (tmp_path / "summary.png").read_bytes().startswith(b"\x89PNG")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(summary))
    text = console.export_text()
    assert "planned, canvas +8 px" in text and "1.0000 (4 matched, 0 missed, 0 extra)" in text
    assert "objects for the next frame" in text and "largest raw difference" not in text
