"""Draws the things of the street: cars, pedestrians, trees and lamp posts, as premultiplied RGBA rasters.

A raster is float32 `(H, W, 4)` in 0..1, colours premultiplied by alpha, the ground contact on the last row
and one empty column on either side, so that a raster can be shifted by a fraction of a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

FloatArray = NDArray[np.float32]
Colour = tuple[int, int, int]

OVERSAMPLE = 4
WALK_PHASES = 12
WHEEL_PHASES = 4

_PAINT: tuple[Colour, ...] = (
    (176, 32, 34), (34, 62, 128), (206, 206, 210), (58, 62, 68),
    (222, 178, 52), (38, 104, 92), (236, 236, 230), (120, 68, 44),
)  # fmt: skip
_CLOTH: tuple[Colour, ...] = (
    (198, 54, 48), (44, 84, 160), (230, 200, 70), (70, 140, 80),
    (110, 60, 130), (230, 120, 50), (60, 60, 66), (222, 222, 214),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = ((38, 44, 70), (66, 58, 50), (30, 30, 34), (96, 100, 108), (120, 100, 74))
_SKIN: tuple[Colour, ...] = ((236, 194, 160), (206, 154, 116), (148, 100, 70), (98, 64, 46))
_HAIR: tuple[Colour, ...] = ((40, 28, 20), (92, 60, 32), (186, 148, 84), (24, 24, 26), (150, 150, 150))


class Sprite:
    """A thing that looks different from phase to phase; a phase is drawn when it is first asked for.

    Attributes:
      phases: number of phases.
      width_px: width of its rasters.
    """

    def __init__(self, phases: int, width_px: int, draw: Callable[[int], FloatArray]) -> None:
        self.phases = phases
        self.width_px = width_px + 2
        self._draw = lru_cache(maxsize=None)(draw)

    def raster(self, phase: int) -> FloatArray:
        """The raster of a phase; every phase has the same shape."""
        return self._draw(phase % self.phases)


def shade(colour: Colour, gain: float) -> Colour:
    """The colour, lighter (gain > 1) or darker."""
    red, green, blue = (int(min(255.0, channel * gain)) for channel in colour)
    return red, green, blue


def premultiplied(image: Image.Image, height: int, width: int) -> FloatArray:
    """An RGBA drawing scaled to `(height, width)`, premultiplied, with an empty column on either side."""
    source = np.asarray(image, np.float32) / 255.0
    source[..., :3] *= source[..., 3:]
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(source[..., k])).resize((width, height), Image.Resampling.BOX))
        for k in range(4)
    ]
    return np.pad(np.stack(planes, -1), ((0, 0), (1, 1), (0, 0))).astype(np.float32)


def car(rng: np.random.Generator, length_px: int, *, faces_right: bool, kind: str) -> Sprite:
    """A car from its side, in WHEEL_PHASES positions of its wheels; kind is "saloon", "hatch" or "van"."""
    height_px = round(length_px * {"saloon": 0.33, "hatch": 0.38, "van": 0.46}[kind])
    paint = _PAINT[rng.integers(len(_PAINT))]
    glass = shade((120, 150, 172), rng.uniform(0.55, 0.95))

    def draw(phase: int) -> FloatArray:
        size = length_px * OVERSAMPLE, height_px * OVERSAMPLE
        return premultiplied(_car(*size, paint, glass, kind, faces_right, phase / WHEEL_PHASES), height_px, length_px)

    return Sprite(WHEEL_PHASES, length_px, draw)


def _car(w: int, h: int, paint: Colour, glass: Colour, kind: str, faces_right: bool, turn: float) -> Image.Image:
    image = Image.new("RGBA", (w, h))
    draw = ImageDraw.Draw(image)

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [((x if faces_right else 1.0 - x) * w, y * h) for x, y in points]

    roof = {
        "saloon": at((0.17, 0.44), (0.28, 0.05), (0.58, 0.02), (0.73, 0.42)),
        "hatch": at((0.03, 0.42), (0.10, 0.06), (0.55, 0.02), (0.74, 0.42)),
        "van": at((0.01, 0.44), (0.02, 0.02), (0.72, 0.02), (0.87, 0.44)),
    }[kind]
    body = at(
        (0.0, 0.80), (0.01, 0.46), (0.16, 0.40), (0.72, 0.39), (0.95, 0.49), (1.0, 0.62), (1.0, 0.80), (0.5, 0.86)
    )  # fmt: skip
    draw.polygon(roof, fill=paint)
    draw.polygon(body, fill=paint)
    draw.polygon(at((0.0, 0.70), (1.0, 0.70), (1.0, 0.82), (0.0, 0.82)), fill=shade(paint, 0.62))
    draw.polygon(at((0.02, 0.47), (0.95, 0.50), (0.95, 0.54), (0.02, 0.51)), fill=shade(paint, 1.25))
    windows = {
        "saloon": (
            ((0.22, 0.41), (0.30, 0.11), (0.44, 0.09), (0.44, 0.41)),
            ((0.47, 0.41), (0.47, 0.09), (0.57, 0.09), (0.68, 0.41)),
        ),
        "hatch": (
            ((0.08, 0.39), (0.14, 0.12), (0.36, 0.10), (0.36, 0.39)),
            ((0.40, 0.39), (0.40, 0.10), (0.53, 0.09), (0.68, 0.39)),
        ),
        "van": (
            ((0.66, 0.42), (0.66, 0.09), (0.71, 0.09), (0.83, 0.42)),
            ((0.50, 0.42), (0.50, 0.09), (0.63, 0.09), (0.63, 0.42)),
        ),
    }[kind]  # fmt: skip
    for window in windows:
        draw.polygon(at(*window), fill=glass)
        (x0, y0), (x1, y1) = window[0], window[1]
        draw.line(at((x0 + 0.02, y0 - 0.03), (x1 + 0.02, y1 + 0.04)), fill=shade(glass, 1.4), width=max(w // 130, 1))
    for x in (0.455, 0.70) if kind != "van" else (0.48, 0.86):
        draw.line(at((x, 0.44), (x - 0.01, 0.80)), fill=shade(paint, 0.45), width=max(w // 220, 1))
    draw.polygon(at((0.95, 0.52), (1.0, 0.58), (1.0, 0.64), (0.95, 0.60)), fill=(250, 242, 200))
    draw.polygon(at((0.0, 0.50), (0.025, 0.50), (0.025, 0.62), (0.0, 0.62)), fill=(190, 24, 24))
    radius = 0.082 * w
    for centre in (0.19, 0.80):
        (x, y) = at((centre, 1.0))[0]
        y -= radius
        for share, colour in ((1.18, (18, 18, 20)), (1.0, (34, 34, 36)), (0.60, (168, 170, 174)), (0.16, (60, 60, 64))):
            r = radius * share
            draw.ellipse((x - r, y - r, x + r, min(y + r, h - 1)), fill=colour)
        for spoke in range(5):
            angle = (turn + spoke) * math.tau / 5 * (1 if faces_right else -1)
            tip = (x + math.cos(angle) * radius * 0.56, y + math.sin(angle) * radius * 0.56)
            draw.line([(x, y), tip], fill=(92, 94, 98), width=max(int(radius * 0.14), 1))
    return image


def pedestrian(rng: np.random.Generator, height_px: int, *, faces_right: bool) -> Sprite:
    """A pedestrian from the side, in WALK_PHASES positions of one stride."""
    colours = tuple(choice[rng.integers(len(choice))] for choice in (_CLOTH, _TROUSERS, _SKIN, _HAIR))
    bag = bool(rng.random() < 0.35)
    width_px = max(round(height_px * 0.52), 6)

    def draw(phase: int) -> FloatArray:
        image = _pedestrian(width_px * OVERSAMPLE, height_px * OVERSAMPLE, colours, bag, faces_right, phase)
        return premultiplied(image, height_px, width_px)

    return Sprite(WALK_PHASES, width_px, draw)


def _pedestrian(w: int, h: int, colours: tuple[Colour, ...], bag: bool, faces_right: bool, phase: int) -> Image.Image:
    cloth, trousers, skin, hair = colours
    image = Image.new("RGBA", (w, h))
    draw = ImageDraw.Draw(image)
    swing = math.sin(phase / WALK_PHASES * math.tau)
    mirror = 1.0 if faces_right else -1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return w / 2 + mirror * x * h, y * h

    def limb(points: list[tuple[float, float]], width: float, colour: Colour) -> None:
        corners = [at(x, y) for x, y in points]
        draw.line(corners, fill=colour, width=int(width * h), joint="curve")
        for x, y in (corners[0], corners[-1]):
            r = width * h / 2
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    for side, gain in ((-1.0, 0.72), (1.0, 1.0)):
        lift = max(0.0, -side * math.cos(phase / WALK_PHASES * math.tau)) * 0.035
        foot = side * swing * 0.155
        limb([(0.0, 0.52), (foot * 0.45 + 0.02, 0.73), (foot, 0.955 - lift)], 0.072, shade(trousers, gain))
        limb([(foot, 0.975 - lift), (foot + 0.05, 0.975 - lift)], 0.045, (28, 24, 22))
        if side < 0:
            limb([(0.0, 0.24), (0.10 * swing, 0.40), (0.15 * swing + 0.03, 0.52)], 0.052, shade(cloth, 0.66))
    draw.rounded_rectangle((w / 2 - 0.088 * h, 0.175 * h, w / 2 + 0.088 * h, 0.56 * h), radius=0.05 * h, fill=cloth)
    if bag:
        x, y = at(-0.10, 0.22)
        draw.rounded_rectangle((x - 0.055 * h, y, x + 0.055 * h, y + 0.2 * h), radius=0.03 * h, fill=shade(cloth, 0.45))
    limb([(0.0, 0.24), (-0.10 * swing, 0.40), (-0.15 * swing + 0.03, 0.52)], 0.050, shade(cloth, 0.86))
    x, y = at(-0.15 * swing + 0.035, 0.535)
    draw.ellipse((x - 0.022 * h, y - 0.022 * h, x + 0.022 * h, y + 0.022 * h), fill=skin)
    x, y = at(0.012, 0.09)
    draw.rectangle((x - 0.03 * h, 0.13 * h, x + 0.03 * h, 0.19 * h), fill=shade(skin, 0.8))
    draw.ellipse((x - 0.066 * h, y - 0.085 * h, x + 0.066 * h, y + 0.075 * h), fill=skin)
    x, y = at(-0.012, 0.07)
    draw.ellipse((x - 0.068 * h, y - 0.068 * h, x + 0.056 * h, y + 0.045 * h), fill=hair)
    return image


def tree(rng: np.random.Generator, height_px: int) -> Sprite:
    """A tree with a crown of many leaves."""
    width_px = max(round(height_px * rng.uniform(0.55, 0.75)), 8)
    w, h = width_px * OVERSAMPLE, height_px * OVERSAMPLE
    image = Image.new("RGBA", (w, h))
    draw = ImageDraw.Draw(image)
    trunk = shade((92, 70, 50), rng.uniform(0.7, 1.2))
    draw.polygon([(0.46 * w, h), (0.475 * w, 0.45 * h), (0.525 * w, 0.45 * h), (0.55 * w, h)], fill=trunk)
    for x in (0.30, 0.68):
        draw.line([(0.5 * w, 0.66 * h), (x * w, 0.42 * h)], fill=trunk, width=max(w // 40, 1))
    hue = np.array([rng.uniform(48, 92), rng.uniform(98, 140), rng.uniform(38, 62)])
    for layer, gain in enumerate((0.62, 0.82, 1.0, 1.18)):
        for _ in range(60 - 8 * layer):
            angle, radius = rng.uniform(0, math.tau), math.sqrt(rng.random()) * (0.97 - 0.1 * layer)
            x = (0.5 - 0.03 * layer + 0.40 * radius * math.cos(angle)) * w
            y = (0.34 - 0.03 * layer + 0.28 * radius * math.sin(angle)) * h
            r = rng.uniform(0.05, 0.095) * w
            red, green, blue = (int(c * gain * rng.uniform(0.9, 1.1)) for c in hue)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(red, min(green, 255), blue))
    raster = premultiplied(image, height_px, width_px)
    return Sprite(1, width_px, lambda _: raster)


def lamp_post(height_px: int) -> Sprite:
    """A street lamp."""
    width_px = max(round(height_px * 0.22), 6)
    w, h = width_px * OVERSAMPLE, height_px * OVERSAMPLE
    image = Image.new("RGBA", (w, h))
    draw = ImageDraw.Draw(image)
    steel: Colour = (74, 80, 84)
    thick = max(int(0.022 * h), 2)
    draw.rectangle((0.3 * w - thick / 2, 0.05 * h, 0.3 * w + thick / 2, h), fill=steel)
    draw.rectangle((0.3 * w - thick, 0.90 * h, 0.3 * w + thick, h), fill=shade(steel, 0.8))
    draw.line([(0.3 * w, 0.06 * h), (0.85 * w, 0.03 * h)], fill=steel, width=thick)
    draw.rounded_rectangle((0.62 * w, 0.02 * h, 0.98 * w, 0.055 * h), radius=thick / 2, fill=(232, 226, 190))
    raster = premultiplied(image, height_px, width_px)
    return Sprite(1, width_px, lambda _: raster)


def shadow(width_px: int, height_px: int, strength: float) -> FloatArray:
    """A soft dark ellipse for the ground under a car or a pedestrian."""
    width_px, height_px = max(width_px, 4), max(height_px, 3)
    image = Image.new("L", (width_px, height_px))
    inset_x, inset_y = width_px * 0.06, height_px * 0.18
    ImageDraw.Draw(image).ellipse((inset_x, inset_y, width_px - inset_x, height_px - inset_y), fill=int(255 * strength))
    alpha = np.asarray(image.filter(ImageFilter.GaussianBlur(max(height_px * 0.12, 1.0))), np.float32) / 255.0
    raster = np.zeros((height_px, width_px + 2, 4), np.float32)
    raster[:, 1:-1, 3] = alpha
    return raster
