"""The drawn street, the network trained on it, and the demo end to end."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import fluxshard
from examples.street import demo
from examples.street.film import encode
from examples.street.metrics import Score
from examples.street.model import WEIGHTS, Detection, class_map, detections, load_trained, to_image
from examples.street.scene import (
    BUILDING,
    CAR,
    CLASSES,
    OBJECT_CLASSES,
    PAVEMENT,
    PERSON,
    ROAD,
    SKY,
    TREE,
    Scene,
    SceneObject,
)
from examples.street.train import HELD_OUT_SEEDS, TRAIN_SEEDS, evaluate
from fluxshard import video

ROOT = Path(__file__).resolve().parents[2]
SHORT = 12


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def test_same_seed_same_pixels_other_seed_other_street(scene: Scene) -> None:
    first, again, other = scene.render(40), Scene(scene.seed).render(40), Scene(scene.seed + 1).render(40)
    assert first.picture.shape == (320, 512, 3) and first.picture.dtype == np.uint8
    assert np.array_equal(first.picture, again.picture)
    assert np.array_equal(first.identities, again.identities) and first.objects == again.objects
    assert (first.picture != other.picture).mean() > 0.5


def test_truth_is_consistent(scene: Scene) -> None:
    seen: set[int] = set()
    for index in (0, 30, 55, 90, 119):
        frame = scene.render(index)
        seen |= set(np.unique(frame.class_map).tolist())
        assert {o.identity for o in frame.objects} == set(np.unique(frame.identities).tolist()) - {-1}
        for thing in frame.objects:
            mask = frame.mask(thing.identity)
            assert (frame.class_map[mask] == thing.label).all() and thing.label in OBJECT_CLASSES
            assert mask.sum() == thing.visible_px and 0 < thing.visible_share <= 1
            y0, x0, y1, x1 = thing.box
            inside = mask[y0:y1, x0:x1]
            assert inside.sum() == mask.sum()
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
        belongs = np.isin(frame.class_map, OBJECT_CLASSES)
        assert np.array_equal(belongs, frame.identities >= 0)
    assert seen == {SKY, BUILDING, TREE, ROAD, PAVEMENT, CAR, PERSON}


def test_camera_stands_drives_and_pans_and_things_come_and_go(scene: Scene) -> None:
    calm = Scene(scene.seed, noise=0.0)
    frames = [calm.render(k) for k in (2, 3, 40, 41, 90, 91)]
    assert [f.camera for f in frames] == ["still", "still", "drive", "drive", "pan", "pan"]
    changed = [(a.picture != b.picture).any(-1).mean() for a, b in zip(frames[::2], frames[1::2], strict=True)]
    assert changed[0] < 0.3 < min(changed[1:])
    here = [{o.identity for o in calm.render(k).objects} for k in (0, 119)]
    assert here[0] - here[1] and here[1] - here[0]


def test_film_has_vectors_from_the_frame_before(scene: Scene, tmp_path: Path) -> None:
    pictures = [scene.render(index).picture for index in range(30, 36)]
    size = encode(pictures, tmp_path / "street.mp4")
    assert size == (tmp_path / "street.mp4").stat().st_size > 1000
    with video.open(tmp_path / "street.mp4", size=(320, 512)) as film:
        frames = list(film)
    assert len(frames) == len(pictures)
    assert [frame.motion_source for frame in frames[1:]] == ["codec"] * 5
    assert frames[-1].motion is not None and frames[-1].motion.displacement.any()
    error = np.abs(frames[-1].picture.astype(int) - pictures[-1]).mean()
    assert error < 4.0


def test_score_counts() -> None:
    score = Score()
    truth = np.zeros((8, 8), np.uint8)
    guess = truth.copy()
    guess[:, :4] = 1
    target = SceneObject(3, CAR, (0, 0, 10, 20), 150, 0.9)
    hidden = SceneObject(4, PERSON, (0, 40, 10, 46), 30, 0.1)
    found = [
        Detection(CAR, (0, 0, 10, 19), 0.9),
        Detection(CAR, (0, 1, 10, 20), 0.8),  # the same car again
        Detection(PERSON, (0, 40, 10, 46), 0.7),  # counts neither way
    ]
    score.add(truth, guess, [target, hidden], found)
    assert score.class_iou == {"sky": 0.5, "building": 0.0} and score.mean_iou == 0.25
    assert (score.hits, score.misses, score.false_alarms) == (1, 0, 1)
    assert score.f1 == pytest.approx(2 / 3)


def test_network_exports_and_fits_the_repository() -> None:
    assert WEIGHTS.stat().st_size < 1 << 20
    net = load_trained()
    assert sum(p.numel() for p in net.parameters()) < 250_000
    image = to_image(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    program = torch.export.export(net, (image,))
    outputs, expected = program.module()(image), net(image)
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {
        "classes": (1, len(CLASSES), 16, 24),
        "centres": (1, len(OBJECT_CLASSES), 16, 24),
        "boxes": (1, 4, 16, 24),
    }
    for name, value in outputs.items():
        torch.testing.assert_close(value, expected[name])
    assert class_map(outputs).shape == (64, 96)
    assert len(detections(outputs, threshold=0.0)) > 0


def test_network_is_accurate_on_streets_it_has_never_seen() -> None:
    assert not set(HELD_OUT_SEEDS) & set(TRAIN_SEEDS) and Scene().seed not in TRAIN_SEEDS
    score = evaluate(load_trained(), HELD_OUT_SEEDS[:4], frames_per_scene=3)
    assert score.mean_iou > 0.89
    assert score.f1 > 0.88


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_demo_end_to_end(backend: str, tmp_path: Path) -> None:
    text = io.StringIO()
    frames = SHORT if backend == "auto" else 4
    summary = demo.run(tmp_path / "new" / "demo", frames, backend, Console(file=text, width=120))  # type: ignore[arg-type]
    out = tmp_path / "new" / "demo"
    assert json.loads((out / "summary.json").read_text()) == summary
    assert summary["film"]["frames"] == frames and set(summary["whole"]) == {"dense", "exact", "reuse"}
    exact, reuse, dense = (summary["whole"][name] for name in ("exact", "reuse", "dense"))
    assert exact["largest_difference"] < 1e-3
    assert exact["f1_against_dense"] == 1.0 and exact["pixels_as_dense"] > 0.9999
    assert exact["compute_ratio"] <= 1.0 and reuse["compute_ratio"] < 0.7
    assert reuse["mean_iou"] > dense["mean_iou"] - 0.02
    assert summary["network"]["cache_bytes"] > 1 << 20
    with av.open(str(out / "annotated.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == frames
    with Image.open(out / "reuse.png") as picture:
        assert picture.width > 3 * 512 and picture.height >= 320
    assert "multiplications" in text.getvalue()


def test_demo_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"demo: error: .*file"):
        demo.main(["--out", str(tmp_path / "file"), "--frames", "2", "--backend", "reference"])
    with pytest.raises(SystemExit) as usage:
        demo.main(["--frames", "1"])
    assert usage.value.code == 2
    monkeypatch.delenv("FLUXSHARD_YOLO", raising=False)
    with pytest.raises(SystemExit) as usage:
        demo.main(["--video", "walk.mp4"])
    assert usage.value.code == 2


def test_demo_hands_a_yolo_model_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(demo, "fluxshard_command", given.append)
    monkeypatch.setenv("FLUXSHARD_YOLO", "yolo11n.pt")
    demo.main(["--out", str(tmp_path), "--frames", "2"])
    assert given[0][:5] == ["run", str(tmp_path / "street.mp4"), "--model", "yolo11n.pt", "--out"]
    with video.open(tmp_path / "street.mp4") as film:
        assert film.picture_size == (640, 1024) and len(list(film)) == 2


def test_scene_module_is_light() -> None:
    """Drawing needs neither torch nor the package."""
    code = "import sys, examples.street.scene; sys.exit('torch' in sys.modules or 'fluxshard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_compiled_network_is_sparse_throughout() -> None:
    model = fluxshard.compile(
        load_trained(), torch.zeros(1, 3, 64, 96), options=fluxshard.CompileOptions(backend="reference")
    )
    assert all(layer.mode != "dense" for layer in model.plan.layers)
