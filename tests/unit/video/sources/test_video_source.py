from __future__ import annotations

import functools
import http.server
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange
from numpy.typing import NDArray
from PIL import Image

from fluxshard import video
from fluxshard.motion import MotionField, accumulate
from fluxshard.testing.clips import QUARTER_X264, write_clip
from fluxshard.testing.pictures import Picture, panning, quarter_panning, texture
from fluxshard.video.motion.motion_tracker import MotionTracker

MPEG4 = {"qscale": "2", "bf": "0", "g": "300", "flags": "+qscale", "me_range": "64"}
MPEG4_QPEL = {**MPEG4, "qscale": "1", "flags": "+qscale+qpel"}
B_FRAMES = {"preset": "medium", "bf": "2", "x264-params": "b-adapt=0:keyint=infinite:scenecut=0"}
SIZE = (160, 224)


def half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)


def sources(source: video.VideoSource) -> list[str]:
    return [frame.motion_source for frame in source]


def inner(motion: MotionField, rows: range, columns: range, margin_px: int) -> NDArray[np.int64]:
    """`(N, 3)`: displacement and validity of the cells that lie `margin_px` inside the given pixels."""
    cell = motion.cell_px
    y = [i for i in range(motion.valid.shape[0]) if rows.start + margin_px <= i * cell < rows.stop - margin_px - cell]
    x = [
        j
        for j in range(motion.valid.shape[1])
        if columns.start + margin_px <= j * cell < columns.stop - margin_px - cell
    ]
    window = np.ix_(y, x)
    assert y and x
    return (
        np.concatenate((motion.displacement[window], motion.valid[window][..., None]), -1)
        .reshape(-1, 3)
        .astype(np.int64)
    )


def share(cells: NDArray[np.int64], displacement: Sequence[int]) -> float:
    """Share of the cells of `inner` that are valid and moved by `displacement`."""
    return float((cells == (*displacement, 1)).all(-1).mean())


def agreement(frames: list[video.Frame], step: tuple[int, int], margin_px: int = 40) -> float:
    """The least share of inner cells, over the frames after the first, that moved by `step`."""
    shares = []
    for frame in frames[1:]:
        assert frame.motion is not None
        shares.append(share(inner(frame.motion, *frame.letterbox.crop, margin_px), step))
    return min(shares)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("picture", [(241, 427), (240, 320)])
@pytest.mark.parametrize("step", [(6, -4), (-3, 5)])
def test_motion_of_a_pan_through_the_letterbox(
    tmp_path: Path, codec: str, picture: tuple[int, int], step: tuple[int, int]
) -> None:
    path = write_clip(tmp_path / "pan.mkv", panning(picture, step, 4), codec, None if codec == "libx264" else MPEG4)
    for size in ((320, 320), (192, 352), (100, 203), (600, 600), None):
        with video.open(path, size=size) as source:
            frames = list(source)
        box = frames[0].letterbox
        expected = tuple(half_up(step[axis] * box.content_size[axis], picture[axis]) for axis in (0, 1))
        assert [frame.motion_source for frame in frames] == ["none", "codec", "codec", "codec"]
        assert agreement(frames, expected, 30) >= 0.98
        rows, columns = box.crop
        for frame in frames:
            assert frame.image.shape == (1, 3, *box.size) and frame.picture.shape == (*picture, 3)
            assert torch.equal(frame.image, box.apply(frame.picture))
            if frame.motion is not None:
                frame.motion.check_covers(*box.size)
                bars = np.ones(frame.motion.valid.shape, np.bool_)
                bars[rows.start // 8 : -(-rows.stop // 8), columns.start // 8 : -(-columns.stop // 8)] = False
                assert frame.motion.valid[bars].all() and not frame.motion.displacement[bars].any()


@pytest.mark.parametrize(
    ("codec", "options", "step"),
    [
        ("libx264", {"preset": "medium", "crf": "12", "x264-params": QUARTER_X264}, (5, -3)),
        ("mpeg4", {**MPEG4, "qscale": "1"}, (2, -6)),
        ("mpeg4", MPEG4_QPEL, (5, -3)),
    ],
)
def test_fractions_of_a_pixel_are_scaled_before_they_are_rounded(
    tmp_path: Path, codec: str, options: dict[str, str], step: tuple[int, int]
) -> None:
    path = write_clip(tmp_path / "pan.mkv", quarter_panning((120, 200), step, 3), codec, options)
    with video.open(path, size=(480, 800)) as source:
        assert agreement(list(source), step, 100) >= 0.98  # quarter pixels of the picture are whole pixels here
    with video.open(path, size=(120, 200)) as source:
        assert agreement(list(source), (half_up(step[0], 4), half_up(step[1], 4)), 24) >= 0.98


def test_a_new_object_is_intra_coded_and_invalid(tmp_path: Path) -> None:
    pictures = panning(SIZE, (2, 3), 4)
    pictures[2] = pictures[2].copy()
    pictures[2][48:112, 64:144] = (40, 200, 90)
    with video.open(write_clip(tmp_path / "a.mkv", pictures), size=SIZE) as source:
        motion = list(source)[2].motion
    assert motion is not None
    assert motion.valid[7:13, 9:17].mean() < 0.1
    around = motion.valid.copy()
    around[6:14, 8:18] = True
    assert around[2:-2, 2:-2].mean() > 0.98


def test_a_static_scene_has_zero_motion_everywhere(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", [texture(*SIZE)] * 4)
    for vectors in ("codec", "encode"):
        with video.open(path, size=SIZE, vectors=vectors) as source:
            for frame in list(source)[1:]:
                assert frame.motion is not None
                assert frame.motion.valid.all() and not frame.motion.displacement.any()


@pytest.mark.parametrize(("vectors", "share"), [("codec", 1), ("search", 0.98), ("encode", 1)])
def test_a_cut_leaves_hardly_any_motion_and_what_follows_is_right(
    tmp_path: Path, vectors: video.source.Vectors, share: float
) -> None:
    dark = [picture // 8 for picture in panning(SIZE, (-4, 2), 3, seed=7)]
    pictures = panning(SIZE, (2, 3), 3) + dark
    with video.open(write_clip(tmp_path / "a.mkv", pictures), size=SIZE, vectors=vectors) as source:
        frames = list(source)
    cut = frames[3].motion
    assert cut is None or cut.valid.mean() < 0.5
    assert agreement(frames[:3], (2, 3)) >= share
    assert agreement(frames[3:], (-4, 2)) >= 0.9


def key_every_three(tmp_path: Path, pictures: list[Picture]) -> Path:
    options = {"preset": "medium", "x264-params": "keyint=3:min-keyint=3:bframes=0:ref=1:scenecut=0:weightp=0"}
    return write_clip(tmp_path / "key.mkv", pictures, "libx264", options)


def test_nothing_is_known_at_an_intra_picture(tmp_path: Path) -> None:
    path = key_every_three(tmp_path, panning(SIZE, (2, 3), 7))
    with video.open(path, size=SIZE) as source:
        assert sources(source) == ["none", "codec", "codec"] * 2 + ["none"]
    with video.open(path, size=SIZE, stride=2) as source:  # 0, 2, 4 (over 3), 6
        assert sources(source) == ["none", "codec", "none", "none"]
    with video.open(path, size=SIZE, stride=4) as source:  # 0, 4 (over 3)
        assert sources(source) == ["none", "none"]


def rolled(frames: list[video.Frame]) -> MotionField:
    motion = frames[0].motion
    assert motion is not None
    for frame in frames[1:]:
        assert frame.motion is not None
        motion = accumulate(motion, frame.motion, *frame.letterbox.size)
    return motion


def same(a: MotionField | None, b: MotionField) -> bool:
    return a is not None and bool((a.valid == b.valid).all() and (a.displacement == b.displacement).all())


def test_motion_of_dropped_frames_is_accumulated(tmp_path: Path) -> None:
    pictures = panning(SIZE, (2, -3), 10)
    path = write_clip(tmp_path / "a.mkv", pictures)
    with video.open(path, size=SIZE) as source:
        every = list(source)
    for picture, frame in zip(pictures, every, strict=True):
        assert np.abs(picture.astype(int) - frame.picture).mean() < 12  # others differ by 60
    with video.open(path, size=SIZE, stride=3) as source:
        third = list(source)
    assert [frame.index for frame in third] == [0, 3, 6, 9]
    assert agreement(third, (6, -9)) == 1
    for frame in third[1:]:
        assert same(frame.motion, rolled(every[frame.index - 2 : frame.index + 1]))
    with video.open(path, size=SIZE) as source:
        next(source)
        assert source.skip(4) == 4
        frame = next(source)
        assert frame.index == 5 and same(frame.motion, rolled(every[1:6]))
        assert next(source).motion_source == "codec"
        assert source.skip(100) == 3 and list(source) == []
    with video.open(path, size=SIZE) as source:
        assert source.skip(3) == 3
        assert next(source).motion is None  # nothing was yielded that it could refer to
        assert same(next(source).motion, every[4].motion or pytest.fail("no motion"))


@pytest.mark.parametrize("vectors", ["codec", "search", "encode"])
def test_a_lower_rate_drops_frames(tmp_path: Path, vectors: video.source.Vectors) -> None:
    path = write_clip(tmp_path / "a.mkv", panning(SIZE, (2, -3), 11), fps=25)
    with video.open(path, size=SIZE, fps=10, vectors=vectors) as source:
        assert (source.fps, source.picture_size, source.size) == (10, SIZE, SIZE)
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 3, 5, 8, 10]
    assert np.allclose([frame.time_s for frame in frames], [0, 0.12, 0.2, 0.32, 0.4], atol=1e-3)
    assert agreement(frames[:2], (6, -9)) >= 0.98 and agreement(frames[1:3], (4, -6)) >= 0.98
    with video.open(path, fps=100, max_frames=4) as source:
        assert source.fps == 25 and [frame.index for frame in source] == [0, 1, 2, 3]


def test_pictures_out_of_order_are_searched_instead(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "b.mkv", panning(SIZE, (3, -5), 8), "libx264", B_FRAMES)
    with video.open(path, size=SIZE) as source:
        frames = list(source)
    assert [frame.motion_source for frame in frames] == ["none"] + ["block_matching"] * 7
    assert agreement(frames, (3, -5)) >= 0.98
    for vectors in ("codec", "none"):
        with video.open(path, size=SIZE, vectors=vectors) as source:
            assert all(frame.motion is None and frame.motion_source == "none" for frame in source)
    with video.open(path, size=SIZE, stride=3) as source:
        assert agreement(list(source), (9, -15)) >= 0.95


def test_a_stream_that_turns_to_b_frames_goes_over_without_a_gap(tmp_path: Path) -> None:
    pictures = panning((96, 128), (1, -2), 90)
    head = write_clip(tmp_path / "head.h264", pictures[:80], format="h264")
    tail = write_clip(tmp_path / "tail.h264", pictures[80:], "libx264", B_FRAMES, format="h264")
    both = tmp_path / "both.h264"
    both.write_bytes(head.read_bytes() + tail.read_bytes())
    with video.open(both, size=(96, 128)) as source:
        frames = list(source)
    kinds = [frame.motion_source for frame in frames]
    assert len(kinds) == 90 and kinds[:81] == ["none"] + ["codec"] * 79 + ["none"]  # frame 80 is intra
    assert kinds[81:] == ["block_matching"] * 9
    assert agreement(frames[80:], (1, -2), 24) >= 0.9
    with video.open(both, size=(96, 128), vectors="codec") as source:
        assert sources(source)[80:] == ["none"] * 10


@pytest.mark.parametrize(
    ("codec", "options"), [("mjpeg", {"qscale": "2"}), ("libx265", {"x265-params": "log-level=none"})]
)
def test_pictures_of_codecs_without_vectors_are_searched(tmp_path: Path, codec: str, options: dict[str, str]) -> None:
    path = write_clip(tmp_path / "a.mkv", panning(SIZE, (3, -5), 4), codec, options)
    with video.open(path, size=SIZE) as source:
        frames = list(source)
    assert agreement(frames, (3, -5)) >= 0.98
    with video.open(path, size=SIZE, vectors="codec") as source:
        assert sources(source) == ["none"] * 4


def test_directory_of_images(tmp_path: Path) -> None:
    pictures = panning((121, 203), (3, -5), 12)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"frame%d_{index}.png")  # neither zero-padded nor a pattern
    (tmp_path / "notes.txt").write_text("not an image")
    with video.open(tmp_path, size=(242, 406)) as source:
        assert (source.frame_count, source.fps, source.picture_size) == (12, 30.0, (121, 203))
        frames = list(source)
    assert all((frame.picture == picture).all() for frame, picture in zip(frames, pictures, strict=True))
    assert [frame.motion_source for frame in frames] == ["none"] + ["block_matching"] * 11
    assert agreement(frames, (6, -10), 40) >= 0.98
    with video.open(tmp_path, size=None, fps=10, stride=5, max_frames=2) as source:
        assert (source.frame_count, source.fps, source.size) == (2, 2.0, (128, 224))
        assert [(frame.index, frame.time_s) for frame in source] == [(0, 0.0), (5, 0.5)]
    with video.open(tmp_path / "frame%d_3.png") as source:
        (frame,) = source
        assert (frame.picture == pictures[3]).all()


def test_grey_and_transparent_images(tmp_path: Path) -> None:
    grey = texture(40, 56)[..., 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(np.dstack((texture(40, 56), np.full((40, 56), 9, np.uint8)))).save(tmp_path / "b.png")
    with video.open(tmp_path) as source:
        first, second = source
    assert (first.picture == grey[..., None]).all() and (second.picture == texture(40, 56)).all()


def test_full_range_colours_survive(tmp_path: Path) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:, :32], picture[:, 32:64], picture[:, 64:] = (250, 250, 250), (200, 40, 30), (3, 3, 3)
    path = write_clip(tmp_path / "a.mkv", [picture], "mjpeg", {"qscale": "1"})
    with video.open(path) as source:
        seen = next(source).picture.astype(int)
    for column in (16, 48, 80):
        assert np.abs(seen[32, column] - picture[32, column]).max() <= 6


def test_full_range_is_known_from_the_tag_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    shades = np.repeat(np.arange(0, 256, 5, np.uint8), 4)
    picture = np.broadcast_to(shades[None, :, None], (64, shades.size, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, shades.size, "yuv420p"
        stream.codec_context.color_range = ColorRange.JPEG
        stream.options = {"crf": "4", "b": "0"}
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv420p", dst_color_range=ColorRange.JPEG)))
        container.mux(stream.encode(None))
    with video.open(path) as source:
        assert np.abs(next(source).picture.astype(int) - picture).max() <= 8


def test_motion_that_refers_to_nothing_yielded_is_unknown(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", panning(SIZE, (3, -5), 3))
    tracker = MotionTracker(video.Letterbox(SIZE, SIZE), "auto", has_vectors=True)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.options = {"flags2": "+export_mvs"}
        _, late, later = container.decode(video=0)
        tracker.decoded(late, intact=True)  # as if a stream was joined here
        assert tracker.yielded(texture(*SIZE)) == (None, "none")
        tracker.decoded(later, intact=True)
        motion, kind = tracker.yielded(texture(*SIZE))
    assert motion is not None and kind == "codec"


def test_rotated_film_is_upright(tmp_path: Path) -> None:
    """A phone held upright writes landscape pictures and a matrix that turns them."""
    pictures = panning(SIZE, (3, -5), 3)
    data = bytearray(write_clip(tmp_path / "a.mp4", pictures).read_bytes())
    header = data.index(b"tkhd") + 4
    one = 1 << 16
    struct.pack_into(">9i", data, header + 40, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)  # a quarter turn clockwise
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    with video.open(path, size=SIZE[::-1]) as source:
        assert source.picture_size == SIZE[::-1]
        frames = list(source)
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.abs(np.rot90(picture, -1).astype(int) - frame.picture).mean() < 12
    assert agreement(frames, (-5, -3)) >= 0.98  # down becomes left, left becomes up
    assert frames[1].motion_source == "block_matching"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.timeout(60)
def test_stream_over_the_network(tmp_path: Path, server: str) -> None:
    write_clip(tmp_path / "a.mkv", panning(SIZE, (3, -5), 4))
    with video.open(f"{server}/a.mkv", size=SIZE) as source:
        frames = list(source)
    assert [frame.motion_source for frame in frames] == ["none", "codec", "codec", "codec"]
    assert agreement(frames, (3, -5)) == 1


def test_names_that_look_like_urls_or_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.mkv", "0"):
        write_clip(tmp_path / "plain.mkv", panning(SIZE, (3, -5), 2)).rename(name)
        with video.open(name) as source:
            assert len(list(source)) == 2


def test_a_closed_source_is_at_its_end(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", panning(SIZE, (3, -5), 4))
    with video.open(path) as source:
        next(source)
    assert list(source) == [] and source.skip(3) == 0
