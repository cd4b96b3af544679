"""A street seen from a moving camera, drawn frame by frame, with exact ground truth.

The camera stands on the near pavement, looks across the road, drives along it and pans. Everything has a depth, so near
things pass faster than far ones; cars and pedestrians enter, leave and hide one another. Same seed, same pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from examples.street import backdrop, sprites
from examples.street.sprites import FloatArray

CLASSES = ("sky", "building", "tree", "road", "pavement", "car", "person")
SKY, BUILDING, TREE, ROAD, PAVEMENT, CAR, PERSON = range(7)
OBJECT_CLASSES = (CAR, PERSON)
DEMO_SEED = 7
FPS = 25

_FOCAL_SHARE, _HORIZON_SHARE, _CAMERA_HEIGHT_M = 0.85, 0.42, 2.2
_SPAN_M = 96.0  # things outside this window around the camera come back on its other side
_GAMUT = 255.0


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of the camera's way: from `start_s` to `end_s` it drives `drive_m` and pans `pan_px`, smoothly."""

    start_s: float
    end_s: float
    drive_m: float = 0.0
    pan_px: float = 0.0


# 4.8 s: stand, drive, stand at the crossing, pan, stand
DEMO_WAY = (Leg(0.9, 2.5, drive_m=3.2), Leg(3.2, 4.2, pan_px=-56.0))


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A car or pedestrian in one frame.

    Attributes:
      identity: the same in every frame; the value of its pixels in `SceneFrame.identities`.
      label: CAR or PERSON.
      box: (y0, x0, y1, x1) of its visible pixels, half-open.
      visible_px: number of visible pixels.
      visible_share: visible pixels over its pixels without occlusion by other things, the frame's border included.
    """

    identity: int
    label: int
    box: tuple[int, int, int, int]
    visible_px: int
    visible_share: float


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """One picture and its truth.

    Attributes:
      index: frame number.
      picture: uint8 `(H, W, 3)`.
      class_map: uint8 `(H, W)`, indices of CLASSES.
      identities: int16 `(H, W)`: the object a pixel belongs to, -1 elsewhere.
      objects: visible objects, by identity.
      camera: "still", "drive" or "pan".
    """

    index: int
    picture: NDArray[np.uint8]
    class_map: NDArray[np.uint8]
    identities: NDArray[np.int16]
    objects: tuple[SceneObject, ...]
    camera: str

    def mask(self, identity: int) -> NDArray[np.bool_]:
        """Visible pixels of one object, bool `(H, W)`."""
        return np.asarray(self.identities == identity)


@dataclass(frozen=True, slots=True)
class _Thing:
    sprite: sprites.Sprite
    label: int
    depth_m: float
    start_m: float
    speed_m_s: float = 0.0
    metres_per_cycle: float = 0.0
    identity: int = -1


@dataclass(frozen=True)
class Scene:
    """A street of its own for every seed.

    Attributes:
      seed: fixes buildings, things, colours and noise.
      height, width: picture in pixels.
      way: the camera's legs, in time order; None takes DEMO_WAY.
      noise: standard deviation of the sensor's noise in grey levels.
    """

    seed: int = DEMO_SEED
    height: int = 320
    width: int = 512
    way: tuple[Leg, ...] | None = None
    noise: float = 1.0

    @property
    def focal_px(self) -> float:
        """Focal length."""
        return _FOCAL_SHARE * self.width

    @property
    def horizon_px(self) -> int:
        """Row of the horizon."""
        return round(_HORIZON_SHARE * self.height)

    def row_of(self, depth_m: float) -> int:
        """Row where the ground at a depth is seen."""
        return self.horizon_px + round(self.focal_px * _CAMERA_HEIGHT_M / depth_m)

    def frames(self, count: int, start: int = 0) -> Iterator[SceneFrame]:
        """Renders `count` frames at FPS."""
        for index in range(start, start + count):
            yield self.render(index)

    @cached_property
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng((self.seed, 1))

    @cached_property
    def _base_row(self) -> int:
        return self.row_of(backdrop.FRONT_M)

    @cached_property
    def _ground_depth(self) -> NDArray[np.float64]:
        rows = np.arange(self._base_row, self.height) + 0.5 - self.horizon_px
        return np.asarray(self.focal_px * _CAMERA_HEIGHT_M / rows, np.float64)

    @cached_property
    def _ground_classes(self) -> NDArray[np.uint8]:
        road = (self._ground_depth >= backdrop.KERB_NEAR_M) & (self._ground_depth < backdrop.KERB_FAR_M)
        return np.where(road, ROAD, PAVEMENT).astype(np.uint8)

    @cached_property
    def _backdrop(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        rng = np.random.default_rng((self.seed, 2))
        return (
            backdrop.sky(rng, self._base_row, 2 * self.width),
            backdrop.skyline(rng, self._base_row - round(0.16 * self.height), self.focal_px / backdrop.SKYLINE_M),
            backdrop.fronts(rng, self._base_row, self.focal_px / backdrop.FRONT_M),
            backdrop.ground(rng, self._ground_depth, self.focal_px),
        )

    @cached_property
    def _cast(self) -> tuple[_Thing, ...]:
        """Everything on the street, the farthest first."""
        rng = self._rng
        things: list[_Thing] = []

        def size(metres: float, depth: float) -> int:
            return max(round(metres * self.focal_px / depth), 6)

        for start in _spread(rng, 7.0, 12.0):
            if rng.random() < 0.75:
                tall = size(rng.uniform(4.0, 5.6), 18.6)
                things.append(_Thing(sprites.tree(rng, tall), TREE, 18.6, start))
        for start in _spread(rng, 15.0, 22.0):
            things.append(_Thing(sprites.lamp_post(size(6.2, 16.0)), BUILDING, 16.0, start))
        for start in _spread(rng, 22.0, 34.0):
            things.append(_Thing(sprites.lamp_post(size(4.9, 7.1)), BUILDING, 7.1, start))
        for start in _spread(rng, 5.2, 11.0):
            if rng.random() < 0.6:
                things.append(self._car(rng, 14.7, start, 0.0))
        for depth, way in ((12.4, -1.0), (9.4, 1.0)):
            speed = way * rng.uniform(4.0, 9.0)
            for start in _spread(rng, 8.0, 26.0):
                things.append(self._car(rng, depth, start, speed))
        for near, far, gap in ((16.2, 18.2, 9.0), (5.7, 6.9, 10.0)):
            for start in _spread(rng, 0.3 * gap, gap):
                depth = rng.uniform(near, far)
                right = bool(rng.random() < 0.5)
                sprite = sprites.pedestrian(rng, size(rng.uniform(1.55, 1.9), depth), faces_right=right)
                speed = rng.uniform(0.9, 1.6) * (1.0 if right else -1.0)
                things.append(_Thing(sprite, PERSON, depth, start, speed, 1.4))
        things.sort(key=lambda thing: -thing.depth_m)
        return tuple(replace(t, identity=k if t.label in OBJECT_CLASSES else -1) for k, t in enumerate(things))

    def _car(self, rng: np.random.Generator, depth_m: float, start_m: float, speed_m_s: float) -> _Thing:
        kind = ("saloon", "hatch", "van")[rng.choice(3, p=(0.42, 0.38, 0.2))]
        length = {"saloon": 4.5, "hatch": 4.0, "van": 4.9}[kind]
        right = speed_m_s > 0 if speed_m_s else bool(rng.random() < 0.5)
        sprite = sprites.car(rng, round(length * self.focal_px / depth_m), faces_right=right, kind=kind)
        return _Thing(sprite, CAR, depth_m, start_m, speed_m_s, 0.4)

    def camera(self, time_s: float) -> tuple[float, float, str]:
        """The camera at a time: metres driven, pixels panned, and "still", "drive" or "pan"."""
        drive = pan = 0.0
        doing = "still"
        for leg in DEMO_WAY if self.way is None else self.way:
            share = min(max((time_s - leg.start_s) / (leg.end_s - leg.start_s), 0.0), 1.0)
            share = share * share * (3.0 - 2.0 * share)
            drive += leg.drive_m * share
            pan += leg.pan_px * share
            if leg.start_s < time_s <= leg.end_s + 0.5 / FPS:
                doing = "drive" if leg.drive_m else "pan"
        return drive, pan, doing

    def render(self, index: int) -> SceneFrame:
        """Renders one frame."""
        time_s = index / FPS
        drive, pan, doing = self.camera(time_s)
        canvas = np.empty((self.height, self.width, 3), np.float32)
        classes = np.empty((self.height, self.width), np.uint8)
        identities = np.full((self.height, self.width), -1, np.int16)
        self._paint_backdrop(canvas, classes, drive, pan)
        whole: dict[int, int] = {}
        for thing in self._cast:
            self._paint_thing(thing, time_s, drive, pan, canvas, classes, identities, whole)
        canvas *= _GAMUT
        if self.noise:
            rng = np.random.default_rng((self.seed, 3, index))
            canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(self.noise)
        picture = np.clip(np.rint(canvas), 0, _GAMUT).astype(np.uint8)
        return SceneFrame(index, picture, classes, identities, _objects(identities, classes, whole), doing)

    def _paint_backdrop(self, canvas: FloatArray, classes: NDArray[np.uint8], drive: float, pan: float) -> None:
        sky, skyline, fronts, ground = self._backdrop
        base = self._base_row
        canvas[:base] = _window(sky, -pan, self.width)
        classes[:base] = SKY
        for strip, depth in ((skyline, backdrop.SKYLINE_M), (fronts, backdrop.FRONT_M)):
            top = base - strip.shape[0]
            part = _window(strip, drive * self.focal_px / depth - pan, self.width)
            _over(canvas[top:base], part)
            classes[top:base][part[..., 3] >= 0.5] = BUILDING
        per_sample = backdrop.PERIOD_M / backdrop.GROUND_SAMPLES
        columns = np.arange(self.width) + 0.5 - self.width / 2 - pan
        u = (drive + columns[None] * (self._ground_depth / self.focal_px)[:, None]) / per_sample
        low = np.floor(u)
        share = (u - low).astype(np.float32)[..., None]
        left = low.astype(np.int64) % backdrop.GROUND_SAMPLES
        rows = np.arange(len(u))[:, None]
        canvas[base:] = ground[rows, left] * (1 - share) + ground[rows, (left + 1) % backdrop.GROUND_SAMPLES] * share
        classes[base:] = self._ground_classes[:, None]

    def _paint_thing(
        self,
        thing: _Thing,
        time_s: float,
        drive: float,
        pan: float,
        canvas: FloatArray,
        classes: NDArray[np.uint8],
        identities: NDArray[np.int16],
        whole: dict[int, int],
    ) -> None:
        travelled = thing.speed_m_s * time_s
        offset = (thing.start_m + travelled - drive + _SPAN_M / 2) % _SPAN_M - _SPAN_M / 2
        centre = self.width / 2 + pan + offset * self.focal_px / thing.depth_m
        phase = 0
        if thing.metres_per_cycle:
            phase = int(abs(travelled) / thing.metres_per_cycle * thing.sprite.phases)
        foot = self.row_of(thing.depth_m)
        left = centre - thing.sprite.width_px / 2
        if left >= self.width or left + thing.sprite.width_px <= 0:
            return
        raster = thing.sprite.raster(phase)
        if thing.identity >= 0 or thing.label == TREE:
            across = round((raster.shape[1] - 2) * (1.0 if thing.label == CAR else 0.8))
            dark = sprites.shadow(across, round(0.10 * across) + 2, 0.45)
            _blit(canvas, dark, foot + dark.shape[0] // 3, centre - dark.shape[1] / 2)
        placed = _blit(canvas, raster, foot, left)
        if placed is None:
            return
        (rows, columns), alpha = placed
        solid = alpha >= 0.5
        classes[rows, columns][solid] = thing.label
        identities[rows, columns][solid] = thing.identity
        if thing.identity >= 0:
            whole[thing.identity] = int(np.count_nonzero(raster[..., 3] >= 0.5))


def _spread(rng: np.random.Generator, least_m: float, most_m: float) -> list[float]:
    """Positions along the street with random gaps, which still fit where the street comes back."""
    positions, x = [], float(rng.uniform(0.0, most_m))
    while x < _SPAN_M - least_m:
        positions.append(x - _SPAN_M / 2)
        x += float(rng.uniform(least_m, most_m))
    return positions


def _window(strip: FloatArray, start_px: float, width: int) -> FloatArray:
    """`width` columns of a periodic strip from a fractional position."""
    low = int(np.floor(start_px))
    share = np.float32(start_px - low)
    columns = np.arange(low, low + width + 1) % strip.shape[1]
    part = strip[:, columns]
    return part[:, :-1] * (1 - share) + part[:, 1:] * share


def _over(target: FloatArray, source: FloatArray) -> None:
    target *= 1.0 - source[..., 3:]
    target += source[..., :3]


def _blit(
    canvas: FloatArray, raster: FloatArray, foot: int, left: float
) -> tuple[tuple[slice, slice], FloatArray] | None:
    """Paints a raster whose last row is `foot - 1`, shifted by a fraction of a pixel; returns where, and its alpha."""
    height, width = canvas.shape[:2]
    low = int(np.floor(left))
    share = np.float32(left - low)
    y0, y1 = max(foot - raster.shape[0], 0), min(foot, height)
    x0, x1 = max(low + 1, 0), min(low + raster.shape[1], width)
    if y0 >= y1 or x0 >= x1:
        return None
    top, first = foot - raster.shape[0], x0 - low
    rows = raster[y0 - top : y1 - top]
    # the column x shows the raster at x - left = (x - low) - share
    part = rows[:, first : first + x1 - x0] * (1 - share) + rows[:, first - 1 : first - 1 + x1 - x0] * share
    where = slice(y0, y1), slice(x0, x1)
    _over(canvas[where], part)
    return where, part[..., 3]


def _objects(
    identities: NDArray[np.int16], classes: NDArray[np.uint8], whole: dict[int, int]
) -> tuple[SceneObject, ...]:
    found = []
    for identity in sorted(whole):
        mask = identities == identity
        visible = int(np.count_nonzero(mask))
        if not visible:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
        label = int(classes[rows[0], np.flatnonzero(mask[rows[0]])[0]])
        found.append(SceneObject(identity, label, box, visible, min(visible / max(whole[identity], 1), 1.0)))
    return tuple(found)
