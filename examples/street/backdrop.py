"""Bakes what does not move by itself: sky, skyline, building fronts and the ground, as periodic strips.

A strip repeats every `PERIOD_M` metres of street, so a camera can drive for ever. Strips are float32 in 0..1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from examples.street.sprites import Colour, FloatArray, shade

PERIOD_M = 64.0
GROUND_SAMPLES = 4096
KERB_NEAR_M, KERB_FAR_M = 7.4, 15.6
FRONT_M = 19.5
SKYLINE_M = 70.0

_WALLS: tuple[Colour, ...] = (
    (178, 108, 82), (206, 186, 150), (150, 150, 152), (196, 160, 120),
    (126, 82, 68), (214, 208, 196), (120, 136, 142), (188, 138, 108),
)  # fmt: skip


def periodic_noise(rng: np.random.Generator, height: int, width: int, cell_px: int) -> FloatArray:
    """Smooth noise `(height, width)` with zero mean, about -1..1, periodic along x."""
    rows, columns = -(-height // cell_px) + 2, max(-(-width // cell_px), 2)
    coarse = rng.uniform(-1.0, 1.0, (rows, columns))
    y = np.arange(height) / cell_px
    x = np.arange(width) * (columns / width)
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = (y - y0)[:, None], (x - x0)[None, :]
    fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
    x1 = (x0 + 1) % columns
    top = coarse[y0][:, x0] * (1 - fx) + coarse[y0][:, x1] * fx
    bottom = coarse[y0 + 1][:, x0] * (1 - fx) + coarse[y0 + 1][:, x1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy, np.float32)


def sky(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """A gradient with faint clouds, `(height, width, 3)`, periodic along x."""
    top = np.array([0.36, 0.56, 0.84]) * rng.uniform(0.85, 1.1)
    bottom = np.array([0.80, 0.87, 0.93]) * rng.uniform(0.9, 1.05)
    share = np.linspace(0.0, 1.0, height)[:, None, None]
    gradient = top * (1 - share) + bottom * share
    clouds = sum(periodic_noise(rng, height, width, cell) * gain for cell, gain in ((96, 0.6), (40, 0.3), (18, 0.12)))
    cover = np.clip((np.asarray(clouds) - 0.05) * 1.4, 0.0, 0.65)[..., None]
    return np.clip(gradient * (1 - cover) + 0.96 * cover, 0.0, 1.0).astype(np.float32)


def skyline(rng: np.random.Generator, height: int, pixels_per_m: float) -> FloatArray:
    """Distant buildings in haze, premultiplied `(height, width, 4)`, the ground on the last row."""
    width = round(PERIOD_M * pixels_per_m * 4)
    strip = np.zeros((height, width, 4), np.float32)
    x = 0
    while x < width:
        across = int(rng.integers(14, 46))
        tall = int(rng.integers(height // 4, height))
        colour = np.array([0.58, 0.64, 0.72]) * rng.uniform(0.85, 1.1)
        strip[height - tall :, x : x + across, :3] = colour
        strip[height - tall :, x : x + across, 3] = 1.0
        for y in range(height - tall + 4, height, 7):
            strip[y : y + 2, x + 3 : min(x + across, width) - 3, :3] *= 0.9
        x += across + int(rng.integers(0, 8))
    return strip


def fronts(rng: np.random.Generator, height: int, pixels_per_m: float) -> FloatArray:
    """Building fronts with windows, doors and shops, premultiplied `(height, width, 4)`, the ground on the last row."""
    factor = 2
    scale = pixels_per_m * factor
    w, h = round(PERIOD_M * pixels_per_m) * factor, height * factor
    image = Image.new("RGBA", (w, h))
    draw = ImageDraw.Draw(image)
    x_m = 0.0
    while x_m < PERIOD_M - 4.0:
        width_m = min(float(rng.uniform(6.5, 13.0)), PERIOD_M - x_m)
        storeys = int(rng.integers(1, 4))
        _building(draw, rng, x_m * scale, h, width_m * scale, storeys, scale)
        x_m += width_m + float(rng.choice([0.0, 0.0, 1.2, 3.0]))
    raster = np.asarray(image, np.float32) / 255.0
    # plaster and brick: fine grain on the walls, none on glass would be more work than it shows
    grain = periodic_noise(rng, h, w, 3) * 0.022 + periodic_noise(rng, h, w, 40) * 0.035
    raster[..., :3] = np.clip(raster[..., :3] + grain[..., None], 0.0, 1.0) * raster[..., 3:]
    return np.asarray(raster.reshape(height, factor, w // factor, factor, 4).mean((1, 3)), np.float32)


def _building(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, ground: int, width: float, storeys: int, scale: float
) -> None:
    wall = shade(_WALLS[rng.integers(len(_WALLS))], float(rng.uniform(0.8, 1.1)))
    storey, shop = 2.75 * scale, 3.1 * scale
    top = ground - shop - (storeys - 1) * storey - 0.5 * scale
    draw.rectangle((x, top, x + width, ground), fill=wall)
    draw.rectangle((x, top, x + width, top + 0.4 * scale), fill=shade(wall, 0.72))
    draw.line([(x, top), (x, ground)], fill=shade(wall, 0.55), width=3)
    if rng.random() < 0.5:  # courses of brick
        y = top + 0.4 * scale
        while y < ground - shop:
            draw.line([(x, y), (x + width, y)], fill=shade(wall, 0.9), width=1)
            y += 0.24 * scale
    columns = max(int(width / (2.1 * scale)), 1)
    pitch = width / columns
    frame = shade((226, 222, 212), float(rng.uniform(0.55, 1.05)))
    pane_w, pane_h = pitch * float(rng.uniform(0.42, 0.6)), storey * 0.56
    for row in range(storeys - 1):
        y = top + 0.5 * scale + row * storey + 0.5 * scale
        for column in range(columns):
            left = x + pitch * column + (pitch - pane_w) / 2
            glass = (246, 222, 150) if rng.random() < 0.12 else shade((92, 112, 132), float(rng.uniform(0.6, 1.25)))
            edge = 0.09 * scale
            draw.rectangle((left - edge, y - edge, left + pane_w + edge, y + pane_h + edge), fill=frame)
            draw.rectangle((left, y, left + pane_w, y + pane_h), fill=glass)
            draw.line([(left + pane_w / 2, y), (left + pane_w / 2, y + pane_h)], fill=frame, width=3)
            draw.rectangle(
                (left - edge * 2, y + pane_h + edge, left + pane_w + edge * 2, y + pane_h + edge * 2.2),
                fill=shade(wall, 0.7),
            )
    _shop(draw, rng, x, ground, width, shop, scale, wall)


def _shop(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    x: float,
    ground: int,
    width: float,
    shop: float,
    scale: float,
    wall: Colour,
) -> None:
    sign: Colour = shade(_WALLS[rng.integers(len(_WALLS))], float(rng.uniform(0.4, 0.9)))
    y = ground - shop
    draw.rectangle((x, y, x + width, y + 0.55 * scale), fill=sign)
    letter = x + 0.12 * width
    while letter < x + 0.7 * width:
        across = float(rng.uniform(0.15, 0.5)) * scale
        draw.rectangle((letter, y + 0.17 * scale, letter + across, y + 0.40 * scale), fill=shade(sign, 2.0))
        letter += across + 0.12 * scale
    door = x + width * float(rng.uniform(0.1, 0.8)) - 0.5 * scale
    left = x + 0.3 * scale
    while left < x + width - 1.2 * scale:
        across = float(rng.uniform(1.2, 2.4)) * scale
        right = min(left + across, x + width - 0.3 * scale)
        draw.rectangle(
            (left, y + 0.75 * scale, right, ground - 0.55 * scale),
            fill=shade((70, 88, 102), float(rng.uniform(0.7, 1.5))),
        )
        draw.line([(left, ground - 0.55 * scale), (right, y + 0.75 * scale)], fill=shade((150, 165, 176), 0.8), width=2)
        left = right + 0.25 * scale
    draw.rectangle((door, y + 0.75 * scale, door + 1.0 * scale, ground), fill=shade(sign, 0.7))
    draw.rectangle((x, ground - 0.12 * scale, x + width, ground), fill=shade(wall, 0.5))
    if rng.random() < 0.4:  # a striped awning
        stripe, k = 0.3 * scale, 0
        while k * stripe < width - stripe:
            colour = (224, 220, 210) if k % 2 else shade(sign, 1.2)
            draw.rectangle((x + k * stripe, y + 0.5 * scale, x + (k + 1) * stripe, y + 1.0 * scale), fill=colour)
            k += 1


def ground(rng: np.random.Generator, depth_m: NDArray[np.float64], focal_px: float) -> FloatArray:
    """Road and pavements, `(rows, GROUND_SAMPLES, 3)`: one periodic line of street per picture row.

    Args:
      depth_m: `(rows,)` distance of each row's ground from the camera.
      focal_px: focal length, which says how coarsely a far row is seen: each line is averaged over its pixel.
    """
    rows = len(depth_m)
    x_m = np.arange(GROUND_SAMPLES) * (PERIOD_M / GROUND_SAMPLES)
    strip = np.empty((rows, GROUND_SAMPLES, 3), np.float32)
    wear = [periodic_noise(rng, 512, GROUND_SAMPLES, cell) for cell in (6, 48, 400)]
    asphalt = np.array([0.34, 0.345, 0.36]) * rng.uniform(0.85, 1.15)
    paving = np.array([0.64, 0.615, 0.57]) * rng.uniform(0.85, 1.1)
    thickness = np.abs(np.gradient(depth_m))
    centre = (KERB_NEAR_M + KERB_FAR_M) / 2
    for row, depth in enumerate(depth_m):
        texel = int(depth * 20) % 512
        tone = wear[0][texel] * 0.035 + wear[1][texel] * 0.035 + wear[2][texel] * 0.05
        half = max(thickness[row] / 2, 0.05)
        if KERB_NEAR_M <= depth < KERB_FAR_M:
            line = np.repeat(asphalt[None], GROUND_SAMPLES, 0) * (1 + tone[:, None] * 2)
            dash = (x_m % 4.0) < 2.2
            line[dash & (abs(depth - centre) < 0.08 + half)] = 0.86
            if min(abs(depth - KERB_NEAR_M - 0.35), abs(depth - KERB_FAR_M + 0.35)) < 0.05 + half:
                line[:] = line * 0.4 + 0.45
        else:
            line = np.repeat(paving[None], GROUND_SAMPLES, 0) * (1 + tone[:, None])
            slab = int(depth / 0.8)
            line[((x_m + 0.4 * (slab % 2)) % 0.8) < 0.04] *= 0.78
            if depth % 0.8 < max(0.04, thickness[row] * 0.8):
                line *= 0.86
        if min(abs(depth - KERB_NEAR_M), abs(depth - KERB_FAR_M)) < 0.10 + half:
            line = np.full_like(line, 0.72) * (1 + tone[:, None])
        strip[row] = _smoothed(line, max(round(depth / focal_px * GROUND_SAMPLES / PERIOD_M), 1))
    return np.clip(strip, 0.0, 1.0)


def _smoothed(line: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    if width <= 1:
        return line
    padded = np.concatenate([line[-width:], line])
    total = np.cumsum(padded, 0)
    shift = math.floor(width / 2)
    return np.roll((total[width:] - total[:-width]) / width, -shift, 0)
