"""What `fluxshard.testing` needs to be imported and used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

USE = """
import sys

for name in ("av", "matplotlib", "ultralytics", "PIL", "rich", "typer", "pycocotools", "hypothesis", "pytest"):
    sys.modules[name] = None  # importing it fails

import torch

import fluxshard.testing
from fluxshard.testing import FakeEngine, frames

engine = FakeEngine((32, 48))
with engine.session() as session:
    for image, motion in frames("pan", (32, 48), 3, seed=0):
        out = session.run(image, motion)
        print(tuple(out.shape), session.stats.frame, session.stats.keyframe)
try:
    fluxshard.testing.write_clip("a.mp4", fluxshard.testing.panning((32, 48), (1, 2), 2))
except ModuleNotFoundError as error:
    print(error.name)
"""


def test_it_needs_no_video_no_pictures_and_no_models(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "(1, 3, 4, 6) 0 True" and len(lines) == 4
    assert lines[1].startswith("(1, 3, 4, 6) 1 ") and lines[3] == "av"


def test_all_that_it_promises_is_there() -> None:
    import fluxshard.testing

    modules = {path.stem for path in Path(fluxshard.testing.__file__).parent.glob("*.py")}
    for name in fluxshard.testing.__all__:
        assert hasattr(fluxshard.testing, name)
        assert name not in modules  # or the module would take the function's place
