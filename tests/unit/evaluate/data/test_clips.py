"""Clips: what is found at a place, and what is read of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fluxshard import video
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip, annotation_masks, find_clips, prepare
from fluxshard.testing.clips import write_clip
from fluxshard.testing.evaluation import window
from fluxshard.testing.pictures import panning

PICTURE = (48, 64)
PALETTE = [0, 0, 0, 236, 95, 103, 249, 145, 87]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def davis(root: Path, masks: tuple[str, ...] = ("bear", "cows"), resolution: str = "480p") -> Path:
    for name in ("cows", "bear", "dog"):
        touch(root / "JPEGImages" / resolution / name / "00000.jpg")
    for name in masks:
        touch(root / "Annotations" / resolution / name / "00000.png")
    touch(root / "JPEGImages" / resolution / "README.txt")
    return root


@pytest.mark.parametrize("resolution", ["480p", "."])
def test_davis(tmp_path: Path, resolution: str) -> None:
    root = davis(tmp_path, resolution=resolution)
    images, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    assert find_clips([root]) == [
        Clip("bear", images / "bear", masks / "bear"),
        Clip("cows", images / "cows", masks / "cows"),
        Clip("dog", images / "dog", None),
    ]


def test_davis_without_annotations(tmp_path: Path) -> None:
    assert [clip.annotations for clip in find_clips([davis(tmp_path, masks=())])] == [None] * 3


def test_a_directory_of_videos_by_name(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "c.avi", "notes.txt", "cover.png"):
        touch(tmp_path / name)
    assert find_clips([tmp_path]) == [
        Clip("a", tmp_path / "a.MKV"),
        Clip("b", tmp_path / "b.mp4"),
        Clip("c", tmp_path / "c.avi"),
    ]


def test_a_directory_of_images_is_one_clip(tmp_path: Path) -> None:
    touch(tmp_path / "walk" / "00001.JPG")
    touch(tmp_path / "walk" / "notes.txt")
    assert find_clips([tmp_path / "walk"]) == [Clip("walk", tmp_path / "walk")]


def test_files_and_places_in_the_given_order(tmp_path: Path) -> None:
    one, other = touch(tmp_path / "z.mp4"), touch(tmp_path / "folder" / "a.mp4")
    assert find_clips([one, other.parent]) == [Clip("z", one), Clip("a", other)]
    assert find_clips([]) == []


def test_nothing_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"'.*nowhere' does not exist; give videos"):
        find_clips([tmp_path / "nowhere"])
    touch(tmp_path / "some" / "notes.txt")
    with pytest.raises(EvaluationError, match=r"some' holds neither videos nor images nor a DAVIS layout"):
        find_clips([tmp_path / "some"])
    (tmp_path / "davis" / "JPEGImages" / "480p").mkdir(parents=True)
    with pytest.raises(EvaluationError, match="holds neither"):
        find_clips([tmp_path / "davis"])


def test_two_clips_of_one_name_are_an_error(tmp_path: Path) -> None:
    one, other = touch(tmp_path / "x" / "walk.mp4"), touch(tmp_path / "y" / "walk.avi")
    touch(tmp_path / "y" / "run.avi")
    with pytest.raises(EvaluationError, match="walk appears twice; names of clips must differ"):
        find_clips([one, other.parent])
    with pytest.raises(EvaluationError, match="walk"):
        find_clips([one, one])


@pytest.fixture(scope="module")
def pan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures that move by (2, -3) px."""
    return write_clip(tmp_path_factory.mktemp("clips") / "pan.mkv", panning(PICTURE, (2, -3), 6))


def annotate(folder: Path, masks: list[NDArray[np.bool_]], mode: str = "P") -> Path:
    folder.mkdir(exist_ok=True)
    for index, mask in enumerate(masks):
        image = Image.fromarray(mask.astype(np.uint8) * (2 if mode == "P" else 255))
        if mode == "P":
            image.putpalette(PALETTE)
        image.save(folder / f"{index:05d}.png")
    return folder


def test_frames_are_those_of_the_video(pan: Path) -> None:
    clip = prepare(Clip("pan", pan), (64, 96))
    with video.open(pan, size=(64, 96)) as source:
        frames = list(source)
    assert (clip.name, len(clip), clip.letterbox.picture_size) == ("pan", 6, PICTURE)
    assert clip.letterbox == frames[0].letterbox and clip.annotations is None
    for index, frame in enumerate(frames):
        assert clip.pixels[index].shape == (64, 96, 3) and clip.pixels[index].dtype == np.uint8
        assert torch.equal(clip.image(index), frame.image)
        motion = clip.motion[index]
        assert (motion is None) == (frame.motion is None) == (index == 0)
        if motion is not None and frame.motion is not None:
            assert (motion.displacement == frame.motion.displacement).all()
            assert (motion.valid == frame.motion.valid).all()
    assert len({pixels.tobytes() for pixels in clip.pixels}) == 6


def test_frames_as_a_camera_sends_them(pan: Path) -> None:
    """Pixels and motion are those of an H.264 video of the images."""
    clip = prepare(Clip("pan", pan), (64, 96), 4, encoded=True)
    with video.open(pan, size=(64, 96), vectors="encode", packets=True) as source:
        frames = list(source)[:4]
    assert len(clip) == 4
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(clip.pixels[index], frame.pixels)
        ours, theirs = clip.motion[index], frame.motion
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            np.testing.assert_array_equal(ours.displacement, theirs.displacement)
    plain = prepare(Clip("pan", pan), (64, 96), 4)
    assert not np.array_equal(plain.pixels[2], clip.pixels[2])


@pytest.mark.parametrize("mode", ["P", "L"])
def test_annotations_of_the_first_frames(pan: Path, tmp_path: Path, mode: str) -> None:
    """DAVIS keeps indices of objects as colours of a palette; others keep white on black."""
    masks = [window(PICTURE, (index, 20), (5, 30 + index)) for index in range(6)]
    clip = prepare(Clip("pan", pan, annotate(tmp_path / "masks", masks, mode)), (48, 64), max_frames=4)
    assert len(clip) == 4 and clip.annotations is not None and len(clip.annotations) == 4
    for mask, annotation in zip(masks, clip.annotations, strict=False):
        assert annotation.dtype == np.bool_ and (annotation == mask).all()


def test_annotations_that_do_not_fit_are_errors(pan: Path, tmp_path: Path) -> None:
    right = [window(PICTURE, (0, 9), (0, 9))] * 6
    few = Clip("pan", pan, annotate(tmp_path / "few", right[:5]))
    with pytest.raises(EvaluationError, match="clip 'pan' has 6 frames and 5 annotations; expected as many"):
        prepare(few, (48, 64))
    assert len(prepare(few, (48, 64), max_frames=5)) == 5
    turned = annotate(tmp_path / "turned", [*right[:2], right[2].T.copy(), *right[3:]])
    with pytest.raises(EvaluationError, match=r"00002\.png' is \(64, 48\); the clip's pictures are \(48, 64\)"):
        prepare(Clip("pan", pan, turned), (48, 64))
    damaged = annotate(tmp_path / "damaged", right)
    (damaged / "00001.png").write_bytes((damaged / "00001.png").read_bytes()[:40])
    with pytest.raises(EvaluationError, match=r"00001\.png' cannot be read"):
        prepare(Clip("pan", pan, damaged), (48, 64))
    (damaged / "00001.png").write_text("no image")
    with pytest.raises(EvaluationError, match=r"00001\.png' cannot be read"):
        annotation_masks(Clip("pan", pan, damaged), 2, PICTURE)
    assert annotation_masks(Clip("pan", pan, damaged), 1, PICTURE) is not None
    assert annotation_masks(dataclasses.replace(few, annotations=None), 6, PICTURE) is None


def test_no_flipped_bit_of_an_annotation_is_a_crash(tmp_path: Path) -> None:
    right = window((20, 20), (3, 12), (5, 20))
    clip = Clip("x", tmp_path, annotate(tmp_path, [right]))
    path = tmp_path / "00000.png"
    content = path.read_bytes()
    refused = 0
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            annotation_masks(clip, 1, (20, 20))
        except EvaluationError as error:
            assert "00000.png" in str(error)
            refused += 1
    assert refused > len(content) / 2


def test_a_video_that_cannot_be_read_is_an_error_with_the_clips_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(bytes(1000))
    with pytest.raises(EvaluationError, match=r"clip 'holiday': .*broken\.mp4"):
        prepare(Clip("holiday", path), (48, 64))
    touch(tmp_path / "images" / "a.png")
    with pytest.raises(EvaluationError, match=r"clip 'images': "):
        prepare(Clip("images", tmp_path / "images"), (48, 64))
