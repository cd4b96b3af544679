"""Edges as processes: all end well, or all are ended."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import fluxshard.evaluate.end_to_end.live.processes as processes_module
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.end_to_end.live.edge.spec import EdgeSpec
from fluxshard.evaluate.end_to_end.live.processes import run_edges

EDGE = """
import json, pathlib, sys, time
spec = json.loads(pathlib.Path(sys.argv[1]).read_text())
out = pathlib.Path(spec["out"])
if spec["method"] == "fails" and spec["edge"] == 1:
    sys.exit("the server is gone")
while spec["method"] != "ends":
    (out / "alive").write_text(str(time.monotonic()))
    time.sleep(0.02)
(out / "edge.json").write_text(json.dumps({"edge": spec["edge"]}))
"""


@pytest.fixture(autouse=True)
def edge_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "an_edge_for_tests.py").write_text(EDGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(processes_module, "_EDGE", "an_edge_for_tests")


def specs(method: str, folder: Path) -> list[EdgeSpec]:
    return [
        EdgeSpec(
            method=method, slowdown=1.0, weights="", task="auto", size=(32, 48), backend="auto", threads=1, cpus=(0,),
            pictures=(), frames=1, seconds=1.0, warm_s=0.0, most_s=1.0, scale=1.0, tau=0.1, tau_input=0.1,
            tau_features=0.1, server=None, certificates="", profiles={}, out=str(folder / f"edge-{edge}"), edge=edge,
            edges=3, meeting="",
        )
        for edge in range(3)
    ]  # fmt: skip


def test_facts_are_in_the_order_of_the_edges(tmp_path: Path) -> None:
    assert run_edges(specs("ends", tmp_path), None, 60) == [{"edge": 0}, {"edge": 1}, {"edge": 2}]


@pytest.mark.parametrize(
    ("method", "timeout_s", "said"),
    [("fails", 60.0, "failed with status 1: the server is gone"), ("hangs", 1.0, "took longer than 1 s")],
)
def test_where_one_fails_all_are_ended(tmp_path: Path, method: str, timeout_s: float, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        run_edges(specs(method, tmp_path), None, timeout_s)
    ended = time.monotonic()
    time.sleep(0.2)
    lives = [float(one.read_text() or 0) for one in tmp_path.glob("edge-*/alive")]
    assert all(one <= ended for one in lives)
