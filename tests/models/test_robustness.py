"""Planned reuse where video is at its worst: cuts, black frames, flicker, shake, noise, and long streams."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fluxshard
from fluxshard.motion import MotionField
from fluxshard.options import PlannedOptions
from fluxshard.video.letterbox import to_image
from fluxshard.video.motion.encoder_motion import MotionEncoder

pytestmark = [pytest.mark.models, pytest.mark.requires_compiler]
SIZE = (96, 128)
PLANNED = fluxshard.ReuseOptions(policy="planned", planned=PlannedOptions(tau=0.03))


class Strided(nn.Module):
    """A backbone of strides 2 to 16 with a path back up, as detectors have it."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 8, 16, 16, 24)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.SiLU(), nn.Conv2d(b, b, 3, 1, 1), nn.SiLU())
            for a, b in itertools.pairwise(widths)
        )
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(24, 16, 1), nn.SiLU())
        self.head = nn.Conv2d(32, 8, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for stage in self.down:
            x = stage(x)
            kept.append(x)
        return self.head(torch.cat((self.up(kept[3]), kept[2]), 1))


@pytest.fixture(scope="module")
def net() -> Strided:
    torch.manual_seed(0)
    return Strided().eval()


@pytest.fixture(scope="module")
def model(net: Strided) -> fluxshard.CompiledModel:
    return fluxshard.compile(net, torch.zeros(1, 3, *SIZE))


def scene(seed: int) -> np.ndarray:
    """A picture three times as large as a frame, smooth enough for motion to be found: `(h, w, 3)` uint8."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, 3 * SIZE[0] // 8, 3 * SIZE[1] // 8)))
    large = nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")[0].permute(1, 2, 0).numpy()
    return (255 * np.clip(1.6 * large - 0.3, 0, 1)).astype(np.uint8)


def view(picture: np.ndarray, y: float, x: float) -> np.ndarray:
    top, left = round(y), round(x)
    return np.ascontiguousarray(picture[top : top + SIZE[0], left : left + SIZE[1]])


def filmed(pictures: Iterator[np.ndarray]) -> Iterator[tuple[Tensor, MotionField | None]]:
    """Frames with the motion that a codec finds."""
    encoder = MotionEncoder(*SIZE)
    for pixels in pictures:
        motion = encoder.motion(pixels)
        yield to_image(pixels), motion


def pan(seed: int, n: int) -> Iterator[np.ndarray]:
    picture = scene(seed)
    for index in range(n):
        yield view(picture, 60 + 0.7 * index, 80 + 1.3 * index)


def error(found: Tensor, expected: Tensor) -> float:
    """Mean difference over the mean size of what is expected."""
    return float((found - expected).abs().mean() / expected.abs().mean())


@torch.inference_mode()
def run(
    net: nn.Module, model: fluxshard.CompiledModel, frames: Iterator[tuple[Tensor, MotionField | None]]
) -> tuple[np.ndarray, list[fluxshard.FrameStats]]:
    errors, stats = [], []
    with model.session(PLANNED) as session:
        for image, motion in frames:
            errors.append(error(session.run(image, motion), net(image)))
            stats.append(session.stats)
    return np.asarray(errors), stats


def test_a_cut_is_exact_at_once(net: nn.Module, model: fluxshard.CompiledModel) -> None:
    errors, stats = run(net, model, filmed([*pan(1, 8), *pan(2, 8)]))
    assert stats[8].keyframe and errors[8] < 1e-5
    before = [one.compute_ratio for one in stats[1:8]]  # a scene that pans by less than a feature's stride
    assert not all(one.keyframe for one in stats[1:8]) and np.mean(before) < 0.95


def test_a_cut_between_scenes_of_one_palette_is_seen(data_dir: Path) -> None:
    """Real scenes look alike in places: a third of a new one may be left to features of the old, and is not."""
    size = (384, 640)
    places = sorted((data_dir / "davis" / "JPEGImages" / "480p").iterdir())
    torch.manual_seed(0)
    model = fluxshard.compile(Strided().eval(), torch.zeros(1, 3, *size))

    def pictures(place: Path, n: int) -> list[np.ndarray]:
        shown = [Image.open(path).resize(size[::-1]) for path in sorted(place.iterdir())[:n]]
        return [np.asarray(one) for one in shown]

    nothing = np.zeros((size[0] // 8, size[1] // 8), np.uint8)  # no objects: thresholds are those of backgrounds
    for before, after in zip(places, places[1:] + places[:1], strict=True):
        encoder = MotionEncoder(*size)
        with model.session("planned") as session, torch.inference_mode():
            keyframes = []
            for pixels in [*pictures(before, 4), *pictures(after, 3)]:
                session.run(to_image(pixels), encoder.motion(pixels))
                session.focus(nothing)
                keyframes.append(session.stats.keyframe)
        assert keyframes == [True, False, False, False, True, False, False], (before.name, after.name)


def test_black_frames_and_back(net: nn.Module, model: fluxshard.CompiledModel) -> None:
    dark = [np.zeros((*SIZE, 3), np.uint8)] * 3
    errors, stats = run(net, model, filmed([*pan(3, 5), *dark, *pan(3, 5)]))
    assert stats[5].keyframe and errors[5] < 1e-5  # black at once
    assert max(stats[6].compute_ratio, stats[7].compute_ratio) < 0.05  # then only blocks that the codec coded anew
    assert stats[8].keyframe and errors[8] < 1e-5


def test_flicker_of_the_exposure(net: nn.Module, model: fluxshard.CompiledModel) -> None:
    """Half a percent up and down is below the threshold: next to nothing is recomputed, the error stays small."""
    picture = view(scene(4), 60, 80).astype(np.float32)
    frames = [np.clip(picture * (1.005 if index % 2 else 0.995), 0, 255).astype(np.uint8) for index in range(12)]
    errors, stats = run(net, model, filmed(iter(frames)))
    assert np.mean([one.compute_ratio for one in stats[1:]]) < 0.2
    assert errors.max() < 0.1


def test_flicker_above_the_threshold_is_followed(net: nn.Module, model: fluxshard.CompiledModel) -> None:
    picture = view(scene(4), 60, 80).astype(np.float32)
    frames = [np.clip(picture * (1.3 if index % 2 else 0.7), 0, 255).astype(np.uint8) for index in range(8)]
    errors, _ = run(net, model, filmed(iter(frames)))
    assert errors.max() < 0.1


def test_shake(net: nn.Module, model: fluxshard.CompiledModel) -> None:
    """Jumps of up to 12 px in any direction: whatever cannot be reused is recomputed."""
    rng = np.random.default_rng(5)
    picture = scene(5)
    frames = [view(picture, 90 + rng.integers(-12, 13), 120 + rng.integers(-12, 13)) for _ in range(20)]
    errors, stats = run(net, model, filmed(iter(frames)))
    assert errors.mean() < 0.1 and max(one.compute_ratio for one in stats) <= 1.0


def test_noise_is_computed_whole(net: nn.Module, model: fluxshard.CompiledModel) -> None:
    rng = np.random.default_rng(6)
    frames = [rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(6)]
    errors, stats = run(net, model, filmed(iter(frames)))
    assert all(one.keyframe for one in stats) and errors.max() < 1e-5


def test_two_thousand_frames_do_not_drift(net: nn.Module, model: fluxshard.CompiledModel) -> None:
    """A camera that wanders for 2,000 frames over a scene in slowly changing light: the error does not grow."""

    def wandering() -> Iterator[np.ndarray]:
        picture = scene(7)
        for index in range(2000):
            pixels = view(picture, 90 + 80 * np.sin(index / 97), 120 + 110 * np.sin(index / 61))
            light = 1 + 0.3 * np.sin(index / 211)
            yield np.clip(pixels * light, 0, 255).astype(np.uint8)

    errors, stats = run(net, model, filmed(wandering()))
    early, late = errors[1:301].mean(), errors[-300:].mean()
    assert late < 1.5 * early + 0.01 and errors.max() < 0.3
    assert np.mean([one.compute_ratio for one in stats[1:]]) < 0.9


CORRUPTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "half of it": lambda image, index: torch.where(torch.arange(SIZE[1]) < SIZE[1] // 2, image, image.flip(3)),
    "out of range": lambda image, index: image * (3 if index % 2 else -1),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_broken_pictures(net: nn.Module, model: fluxshard.CompiledModel, kind: str) -> None:
    """What a decoder may give after damage: results stay near the dense network's."""
    frames = [(CORRUPTIONS[kind](image, index), motion) for index, (image, motion) in enumerate(filmed(pan(8, 8)))]
    errors, _ = run(net, model, iter(frames))
    assert np.isfinite(errors).all() and errors.max() < 0.3
