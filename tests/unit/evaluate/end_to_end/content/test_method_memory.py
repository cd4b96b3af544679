"""Memory of methods: what they cache, and that it is measured once."""

from __future__ import annotations

import math
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.content import method_memory as module
from fluxshard.evaluate.end_to_end.content import recordings
from fluxshard.evaluate.end_to_end.content.method_memory import ROLES, TORCH, method_memory
from fluxshard.evaluate.end_to_end.settings import SETTINGS, methods_of
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.testing.networks import bright_model

PICTURE_BYTES = 4 * 3 * 32 * 48


class InlinePool:
    """Runs jobs in this process."""

    started = 0

    def __init__(self, workers: int, context: object, *, max_tasks_per_child: int) -> None:
        assert (workers, max_tasks_per_child) == (1, 1)
        InlinePool.started += 1

    def __enter__(self) -> InlinePool:
        return self

    def __exit__(self, *_: object) -> None: ...

    def submit(self, function: Any, *given: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*given))
        return future


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(module, "ProcessPoolExecutor", InlinePool)
    monkeypatch.setattr(recordings, "load", lambda *_: bright_model())
    folder = tmp_path / "cows"
    folder.mkdir()
    for index in range(3):
        Image.fromarray(np.full((32, 48, 3), 40 * index, np.uint8)).save(folder / f"{index}.png")
    (tmp_path / "bright.pt").write_bytes(b"weights")
    setup = Setup(weights=tmp_path / "bright.pt", size="32x48", backend="reference", encoded=True)
    return {
        "setup": setup,
        "clip": Clip("cows", folder),
        "methods": methods_of(SETTINGS["seg"], 32),
        "out": tmp_path / "out",
    }


def test_memory_is_measured_once(given: dict[str, Any]) -> None:
    started = InlinePool.started
    found = method_memory(**given)
    methods = given["methods"]
    assert [one.name for one in found] == [TORCH, *(methods[role].name for role in ROLES)]
    cached = {one.name: one.cached_bytes for one in found}
    assert cached[TORCH] == cached["dense"] == 0 and cached[methods["coach"].name] == PICTURE_BYTES
    assert cached[methods["propagated"].name] > PICTURE_BYTES / 4
    assert cached[methods["planned"].name] == cached[methods["carried"].name] > 0
    assert cached[methods["motion-deltacnn"].name] > cached[methods["deltacnn"].name], "its canvas is larger"
    assert all(math.isnan(one.peak_mib) or one.peak_mib > 1 for one in found)
    assert method_memory(**given) == found and InlinePool.started == started + 1


def test_damage_is_told(given: dict[str, Any]) -> None:
    method_memory(**given)
    (path,) = given["out"].rglob("*-memory-*.json")
    for text in ("{", '[{"name": 1}]'):
        path.write_text(text)
        with pytest.raises(EvaluationError, match="evaluate again"):
            method_memory(**given)
