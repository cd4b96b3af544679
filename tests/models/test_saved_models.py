"""Saved models of real networks: the same bits over real motion, and a start that imports no more than it needs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.cli import main
from fluxshard.models.loading.load import load

ROOT = Path(__file__).resolve().parents[2]
SIZE = (192, 320)
FRAMES = 6
# what takes long to import, or is not there where only frames are run
ABSENT = (
    "ultralytics", "torchvision", "matplotlib", "sympy", "torch._dynamo", "torch._inductor", "fluxshard.api",
    "torch.export.exported_program", "fluxshard.passes", "fluxshard.codegen.cuda.program", "fluxshard.cuda_engines",
)  # fmt: skip
# what a run without a film does not draw with, and what belongs to other commands
UNDRAWN = (
    "PIL.ImageDraw", "fluxshard.models.drawing.text", "fluxshard.pipeline.sinks.annotated_film", "grpc", "zstandard",
    "fluxshard.evaluate", "fluxshard.video.writer",
)  # fmt: skip


def digests(model: fluxshard.CompiledModel, clip: Path) -> list[str]:
    """One per frame: of all outputs, of the planned work, and of what was counted."""
    found = []
    # without a compiler there is no search for motion: an encoder's is the same with and without
    opened = fluxshard.video.open(str(clip), size=SIZE, max_frames=FRAMES, vectors="encode")
    with model.session() as session, opened as frames:
        for frame in frames:
            total = hashlib.sha256()
            for tensor in torch.utils._pytree.tree_leaves(session.run(frame.image, frame.motion)):
                total.update(tensor.contiguous().numpy().tobytes())
            assert session.planned is not None
            for grid, mask in sorted((session.planned.work or {}).items()):
                total.update(bytes([grid % 256]) + np.ascontiguousarray(mask).tobytes())
            found.append(f"{total.hexdigest()} {session.stats.compute_ratio:.6f}")
    return found


LOADED = """
import json, sys
import torch

torch.set_num_threads(2)
import fluxshard
from tests.models.test_saved_models import digests

model = fluxshard.load(sys.argv[1])
print(json.dumps([digests(model, sys.argv[2]), model.backend]))
"""

FIRST_FRAME = """
import sys
import torch

before = set(sys.modules)
import fluxshard

with fluxshard.load(sys.argv[1]).session() as session:
    session.run(torch.rand(1, 3, 192, 320))
print(*sorted(set(sys.modules) - before))
"""

FIRST_LINE = """
import sys
import torch

before = set(sys.modules)
from fluxshard.cli import main
from fluxshard.pipeline.sinks.json_lines import JsonLines

def prepare(self, *given):
    print("imported", *sorted(set(sys.modules) - before))
    return real(self, *given)

try:
    real, JsonLines.prepare = JsonLines.prepare, prepare
    main(["run", sys.argv[1], "--model", sys.argv[2], "--out", sys.argv[3], "--max-frames", "1", "--no-film"])
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.fixture(scope="module")
def saved(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[fluxshard.CompiledModel, Path]:
    pytest.importorskip("ultralytics")
    path = tmp_path_factory.mktemp("saved") / "seg.fluxshard"
    with pytest.warns(UserWarning, match="runs Python code stored in the file"):
        loaded = load(data_dir / "weights" / "yolo11n-seg.pt")
    model = fluxshard.compile(loaded.net, torch.zeros(1, 3, *SIZE))
    model.save(path, loaded=loaded)
    return model, path


def alone(code: str, cache: Path, *arguments: object) -> str:
    """What a process without a compiler and with an empty kernel cache prints."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "CXX": "/nonexistent", "FLUXSHARD_NO_COMPILE": "1",
        "FLUXSHARD_CACHE_DIR": str(cache),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.requires_compiler
def test_the_same_bits_over_real_motion(
    saved: tuple[fluxshard.CompiledModel, Path], data_dir: Path, tmp_path: Path
) -> None:
    model, path = saved
    clip = data_dir / "videos" / "sam2_woman_dog_720p30.mp4"
    found, backend = json.loads(alone(LOADED, tmp_path, path, clip))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert found == digests(model, clip) and backend == "cpp"
    finally:
        torch.set_num_threads(before)
    assert len(set(found)) == FRAMES and any(0 < float(one.split()[1]) < 0.5 for one in found)


@pytest.mark.requires_compiler
def test_a_start_waits_for_nothing_that_frames_do_not_need(
    saved: tuple[fluxshard.CompiledModel, Path], tmp_path: Path
) -> None:
    imported = alone(FIRST_FRAME, tmp_path, saved[1]).split()
    assert not [name for name in ABSENT if name in imported]
    assert not [name for name in imported if name.partition(".")[0] in ("av", "PIL", "rich", "typer", "grpc", "cuda")]


@pytest.mark.requires_compiler
def test_the_first_line_of_a_run_waits_for_nothing_that_it_does_not_need(
    saved: tuple[fluxshard.CompiledModel, Path], data_dir: Path, tmp_path: Path
) -> None:
    clip = data_dir / "videos" / "sam2_woman_dog_720p30.mp4"
    lines = alone(FIRST_LINE, tmp_path / "cache", clip, saved[1], tmp_path / "out").splitlines()
    imported = next(line for line in lines if line.startswith("imported ")).split()
    assert "av" in imported
    assert not [name for name in (*ABSENT, *UNDRAWN) if name in imported]


@pytest.mark.requires_compiler
def test_the_command_line_runs_it(
    saved: tuple[fluxshard.CompiledModel, Path], data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = data_dir / "videos" / "sam2_woman_dog_720p30.mp4"
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        main(["run", str(clip), "--model", str(saved[1]), "--out", str(out), "--max-frames", "3", "--compare", "dense"])
    assert ended.value.code == 0, capsys.readouterr().err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["task"] == "segment" and summary["network_size"] == list(SIZE) and summary["backend"] == "cpp"
    assert summary["plan"] == saved[0].plan.digest()
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    names = {one["name"] for line in lines for one in line["detections"]}
    assert {"person", "dog"} & names
    with pytest.raises(SystemExit) as refused:
        main(["run", str(clip), "--model", str(saved[1]), "--out", str(tmp_path / "b"), "--size", "640"])
    assert refused.value.code == 2
    assert "is 384x640 for these pictures, and the model was saved for 192x320" in capsys.readouterr().err
