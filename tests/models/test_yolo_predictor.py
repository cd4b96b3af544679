"""Ultralytics' predict and track on sessions, against the library's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.test_recipes import ROOT, TORCHVISION, cut

pytest.importorskip("ultralytics", reason="needs the ultralytics package")

# both networks in one process, as torchvision's stand-in is for all of it
CODE = """
import json, sys, warnings
warnings.simplefilter("ignore")
from ultralytics import YOLO
import fluxshard
found = {}
def rows(results):
    return [[r.boxes.xyxy.tolist(), r.boxes.conf.tolist(), 0 if r.masks is None else int(r.masks.data.sum()),
             0 if r.keypoints is None else r.keypoints.data.tolist(), r.boxes.id is None] for r in results]
name, size = sys.argv[1], 320  # 192x320 of the clip, as other tests compile them
found["own"] = rows(YOLO(name).predict("walk.mp4", stream=True, imgsz=size, verbose=False))
yolo = YOLO(name)
model = fluxshard.compile(yolo)
exact = fluxshard.yolo_predictor(model, exact=True)
found["exact"] = rows(yolo.predict("walk.mp4", stream=True, imgsz=size, verbose=False, predictor=exact))
found["exact runs"] = type(yolo.predictor) is exact and repr(model)
planned = fluxshard.yolo_predictor(model)
found["planned"] = rows(yolo.predict("walk.mp4", stream=True, imgsz=size, verbose=False, predictor=planned))
found["batch"] = rows(yolo.predict(["walk.png"] * 3, imgsz=size, batch=3, verbose=False, predictor=exact))
found["one"] = rows(yolo.predict("walk.png", imgsz=size, verbose=False, predictor=exact))
try:
    list(yolo.predict("walk.png", imgsz=size, verbose=False, augment=True, predictor=exact))
except fluxshard.FluxShardError as error:
    found["augment"] = str(error)
print(json.dumps(found))
"""


@pytest.mark.timeout(700)
@pytest.mark.parametrize("name", ["yolo11n", "yolo11n-seg", "yolo11n-pose"])
def test_an_exact_session_gives_the_librarys_own_results(name: str, data_dir: Path, tmp_path: Path) -> None:
    weights, clip = data_dir / "weights" / f"{name}.pt", data_dir / "videos" / "sam2_juggle_720p24.mp4"
    for path in (weights, clip):
        if not path.is_file():
            pytest.skip(f"no {path}")
    (tmp_path / weights.name).symlink_to(weights)
    cut(clip, tmp_path / "walk.mp4", 4)
    write_picture(tmp_path / "walk.mp4", tmp_path / "walk.png")
    there = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-c", TORCHVISION + CODE, weights.name], cwd=tmp_path, capture_output=True, text=True,
        timeout=580, env=there,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert "cpp on cpu" in found["exact runs"] or "reference on cpu" in found["exact runs"]
    assert len(found["own"]) == 4 and any(len(boxes) for boxes, *_ in found["own"])
    for (boxes, scores, area, points, untracked), own in zip(found["exact"], found["own"], strict=True):
        assert untracked and len(boxes) == len(own[0])
        for box, wanted in zip(boxes, own[0], strict=True):
            assert box == pytest.approx(wanted, abs=0.05)
        assert scores == pytest.approx(own[1], abs=1e-3) and area == pytest.approx(own[2], rel=0.02)
        assert (points == 0) == (own[3] == 0)
    assert all(len(row[0]) for row in found["planned"])
    assert len(found["batch"]) == 3 and found["batch"] == found["one"] * 3
    assert "augment (=True) needs the dense network" in found["augment"]


def write_picture(clip: Path, path: Path) -> None:
    """The first frame of a video, as a file."""
    import av

    with av.open(str(clip)) as given:
        next(given.decode(video=0)).to_image().save(path)
