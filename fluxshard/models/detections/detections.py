"""Detections of one frame: boxes, scores, classes, masks and keypoints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.models.detections.mask_moves import Move, Pair, bilinear, sources, total_shift

if TYPE_CHECKING:
    from fluxshard.models.detections.mask_windows import MaskWindows

# rows and columns of a picture, and the mask there, `(len(rows), len(columns))` bool
CroppedMask = tuple[range, range, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """Masks as coefficients of prototypes, evaluated lazily per window.

    The logit of mask n at prototype cell (i, j) is `coefficients[n] @ prototypes[:, i, j]`, interpolated bilinearly
    between cells; the mask is where it is positive.

    Source: Bolya et al., YOLACT, ICCV 2019.

    Attributes:
      coefficients: `(N, K)` float32.
      prototypes: `(K, h, w)` float32.
      scale, offset: (y, x); the continuous pixel position p is at `p * scale + offset` in prototype cells.
      moves: how the masks were moved since, the last one last. Cells move along with their object, see `place`.
    """

    coefficients: NDArray[np.float32]
    prototypes: NDArray[np.float32]
    scale: Pair
    offset: Pair = (0.0, 0.0)
    moves: tuple[Move, ...] = ()

    def __repr__(self) -> str:
        return f"Masks({len(self.coefficients)} of {self.cells[0]}x{self.cells[1]} cells)"

    @property
    def cells(self) -> tuple[int, int]:
        """(h, w) of the prototypes."""
        return self.prototypes.shape[1], self.prototypes.shape[2]

    def place(self, index: int) -> Pair:
        """(y, x) offset of mask `index`: the pixel position p is at `p * scale + place` in its prototype cells."""
        return placed(self.offset, self.moves, index)

    def logits(self, index: int, rows: range, columns: range) -> NDArray[np.float32]:
        """Logits of mask `index` at its prototype cells, `(len(rows), len(columns))` float32."""
        return moved_logits(self._given, self.moves, self.cells, index, rows, columns)

    def has(self, index: int, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether continuous pixel positions lie in mask `index`, to its nearest cell and without its bends: `(n,)`.

        Args:
          index: mask.
          y, x: `(n,)` positions.
        """
        row, column = cell_at(self, index, y, x)
        prototypes = self.prototypes.reshape(len(self.prototypes), -1)
        return np.asarray(self.coefficients[index] @ prototypes.take(row * self.cells[1] + column, axis=1) > 0)

    def window(self, index: int, rows: range, columns: range) -> NDArray[np.bool_]:
        """Mask `index` at the pixels `rows` x `columns`, `(len(rows), len(columns))` bool, not cropped to its box."""
        return window_of(self, index, rows, columns)

    def select(self, index: NDArray[np.int64]) -> Masks:
        """The masks at the indices `index`, `(M,)` int64."""
        moves = tuple(move.select(index) for move in self.moves)
        return replace(self, coefficients=self.coefficients[index], moves=moves)

    def _given(self, index: int, rows: range, columns: range) -> NDArray[np.float32]:
        """Logits as the network gave them."""
        part = self.prototypes[:, rows.start : rows.stop, columns.start : columns.stop]
        return np.tensordot(self.coefficients[index], part, axes=1).astype(np.float32, copy=False)


def cell_at(
    masks: Masks | MaskWindows, index: int, y: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the cell of mask `index` that holds each continuous pixel position, or is nearest to it."""
    row, column = (
        np.minimum(np.maximum(position * scale + offset, 0), count - 1).astype(np.int64)
        for position, scale, offset, count in zip((y, x), masks.scale, masks.place(index), masks.cells, strict=True)
    )
    return row, column


def window_of(masks: Masks | MaskWindows, index: int, rows: range, columns: range) -> NDArray[np.bool_]:
    """`Masks.window` from the logits of masks."""
    if len(rows) == 0 or len(columns) == 0:
        return np.zeros((len(rows), len(columns)), np.bool_)
    (height, width), (y, x) = masks.cells, masks.place(index)
    top, bottom, ty = taps(rows, masks.scale[0], y, height)
    left, right, tx = taps(columns, masks.scale[1], x, width)
    first_row, first_column = int(top.min()), int(left.min())
    logits = masks.logits(index, range(first_row, int(bottom.max()) + 1), range(first_column, int(right.max()) + 1))
    lines = logits[top - first_row] * (1 - ty)[:, None] + logits[bottom - first_row] * ty[:, None]
    # in place, and by `take`: half the time of the same sum of fancy indices
    at_pixels = lines.take(left - first_column, axis=1)
    at_pixels *= 1 - tx
    second = lines.take(right - first_column, axis=1)
    second *= tx
    at_pixels += second
    return np.asarray(at_pixels > 0)


def placed(offset: Pair, moves: tuple[Move, ...], index: int) -> Pair:
    """`Masks.place` from its parts."""
    y, x = total_shift(moves, index)
    return offset[0] - y, offset[1] - x


def moved_logits(
    given: Callable[[int, range, range], NDArray[np.float32]],
    moves: tuple[Move, ...],
    cells: tuple[int, int],
    index: int,
    rows: range,
    columns: range,
) -> NDArray[np.float32]:
    """`Masks.logits` from those that the network gave.

    Args:
      given: the logits of a mask as the network gave them, at `rows` x `columns`.
      moves, cells: of the masks.
      index, rows, columns: see `Masks.logits`.
    """
    if not moves or len(rows) == 0 or len(columns) == 0:
        return given(index, rows, columns)
    y, x = (np.clip(at, 0, count - 1) for at, count in zip(sources(moves, index, rows, columns), cells, strict=True))
    top, left = int(y.min()), int(x.min())
    part = given(index, range(top, min(int(y.max()) + 2, cells[0])), range(left, min(int(x.max()) + 2, cells[1])))
    return bilinear(part, y - top, x - left).astype(np.float32)


def taps(
    pixels: range, scale: float, offset: float, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Bilinear taps along one axis: both cells of each pixel, and the weight of the second."""
    position = (np.arange(pixels.start, pixels.stop) + 0.5) * scale + offset - 0.5
    position = np.clip(position, 0, cells - 1)
    first = np.floor(position).astype(np.int64)
    return first, np.minimum(first + 1, cells - 1), (position - first).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Detected objects of one frame, in descending order of score.

    Attributes:
      boxes: `(N, 4)` float32 x1, y1, x2, y2 in pixels.
      scores: `(N,)` float32 in 0..1.
      classes: `(N,)` int64 class indices.
      shape: (H, W) of the image.
      masks: masks of the objects, as the network gives them or as windows; None without masks.
      keypoints: `(N, K, 2 or 3)` float32 x, y and confidence; None without keypoints.
      ids: `(N,)` int64 identity of each object over the frames of a video, from 0, -1 for one that is new; None where
        nobody tracked them.
      names: of classes; empty where they are not known.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    shape: tuple[int, int]
    masks: Masks | MaskWindows | None = None
    keypoints: NDArray[np.float32] | None = None
    ids: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        prefix = "" if self.names else "of class "
        counts = Counter(prefix + self.name(index) for index in range(len(self)))
        objects = ", ".join(f"{count} {name}" for name, count in counts.most_common(5))
        more = f" and {len(counts) - 5} classes more" if len(counts) > 5 else ""
        return f"Detections({objects or 'none'}{more}, in {self.shape[0]}x{self.shape[1]} px)"

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: NDArray[np.int64]) -> Detections:
        """The detections at the indices `index`, `(M,)` int64, in that order."""
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            classes=self.classes[index],
            masks=None if self.masks is None else self.masks.select(index),
            keypoints=None if self.keypoints is None else self.keypoints[index],
            ids=None if self.ids is None else self.ids[index],
        )

    def name(self, index: int) -> str:
        """Name of the class of object `index`; its number where there is none."""
        found = int(self.classes[index])
        return self.names[found] if 0 <= found < len(self.names) else str(found)

    def tone(self, index: int) -> int:
        """What decides the colour of object `index`: its identity where it has one, otherwise its class."""
        if self.ids is not None and self.ids[index] >= 0:
            return int(self.ids[index])
        return int(self.classes[index])

    def to_supervision(self) -> Any:
        """A `supervision.Detections`: boxes, masks on the whole image, scores, classes, ids, and names as `class_name`.

        Keypoints are in its `data`, `(N, K, 2 or 3)`.

        Raises:
          MissingExtraError: supervision is not installed.
        """
        from fluxshard.models.detections.conversions import to_supervision

        return to_supervision(self)

    def to_ultralytics(self, picture: NDArray[np.uint8] | None = None, path: str = "") -> Any:
        """An `ultralytics.engine.results.Results`: boxes, masks, keypoints, and ids where there are any.

        Args:
          picture: `(H, W, 3)` uint8 RGB that they were found in; None: a black one.
          path: of the picture, which some methods of the result ask for.

        Raises:
          MissingExtraError: ultralytics is not installed.
          ShapeError: a picture of another size or type.
        """
        from fluxshard.models.detections.conversions import to_ultralytics

        return to_ultralytics(self, picture, path)

    def pixels(self, index: int) -> tuple[range, range]:
        """Rows and columns of the pixels whose upper left corners are in box `index`, clipped to the image."""
        x1, y1, x2, y2 = self.boxes[index].tolist()
        height, width = self.shape
        return range(_edge(y1, height), _edge(y2, height)), range(_edge(x1, width), _edge(x2, width))

    def mask(self, index: int) -> CroppedMask:
        """Mask of object `index` cropped to its box: rows, columns and `(len(rows), len(columns))` bool.

        Raises:
          ValueError: these detections have no masks.
        """
        if self.masks is None:
            raise ValueError("these detections have no masks; mask() is for segmentation models")
        rows, columns = self.pixels(index)
        return rows, columns, self.masks.window(index, rows, columns)

    def to_picture(self, scale: Pair, offset: Pair, shape: tuple[int, int]) -> Detections:
        """Maps the detections from the letterboxed image to the original picture.

        Args:
          scale: (y, x) letterboxed pixels per picture pixel.
          offset: (y, x) position of the picture's upper left corner in the letterboxed image.
          shape: (H, W) of the picture; boxes are clipped to it.
        """
        step = np.asarray((scale[1], scale[0]), np.float32)
        origin = np.asarray((offset[1], offset[0]), np.float32)
        height, width = shape
        corners = (self.boxes.reshape(-1, 2, 2) - origin) / step
        boxes = np.clip(corners, 0, np.asarray((width, height), np.float32)).reshape(-1, 4).astype(np.float32)
        keypoints = self.keypoints
        if keypoints is not None:
            keypoints = np.concatenate(((keypoints[..., :2] - origin) / step, keypoints[..., 2:]), -1).astype(
                np.float32
            )
        masks = self.masks
        if masks is not None:
            masks = replace(
                masks,
                scale=(masks.scale[0] * scale[0], masks.scale[1] * scale[1]),
                offset=(masks.offset[0] + masks.scale[0] * offset[0], masks.offset[1] + masks.scale[1] * offset[1]),
            )
        return replace(self, boxes=boxes, keypoints=keypoints, masks=masks, shape=shape)


def _edge(at: float, n: int) -> int:
    """The first of n pixels whose corner is not before `at`; 0 for what is not a number."""
    if not at > 0:
        return 0
    return n if at >= n else math.ceil(at)
