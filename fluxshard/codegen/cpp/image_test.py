"""The image test of planned reuse as generated C++: parameters, text, and the loaded library. No torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.shared_library import load_library, zeroed
from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.cpp.program_cache import get_or_build
from fluxshard.geometry import Grid
from fluxshard.ir.kernel import Target
from fluxshard.motion import CELL_PX, cells


class LevelGeometry(Protocol):
    """What code depends on of a level; `runtime.planned.levels.Level` has it."""

    @property
    def stride(self) -> tuple[Fraction, Fraction]:
        """(y, x) pixels per feature cell."""
        ...

    @property
    def grids(self) -> tuple[int, ...]:
        """Indices of grids; the level moves as the first does."""
        ...

    @property
    def shard_px(self) -> int:
        """Side of a shard."""
        ...

    @property
    def low_pass_px(self) -> int:
        """Side of the squares whose means are compared."""
        ...

    @property
    def in_pixels(self) -> bool:
        """Content moves by single pixels, features by whole cells of what adds up."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTestLevel:
    """One level of the generated test.

    Attributes:
      stride: (y, x) pixels per feature cell.
      features: (rows, columns) of the grid that the level moves as.
      shard_px: side of a shard, a multiple of 8.
      low_pass_px: side of the squares whose means are compared: 1, 2, 4 or 8.
      in_pixels: content moves by single pixels, features by whole cells of what adds up.
    """

    stride: tuple[Fraction, Fraction]
    features: tuple[int, int]
    shard_px: int
    low_pass_px: int
    in_pixels: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTestGrid:
    """A grid whose cells are planned.

    Attributes:
      index: in the plan.
      level: whose shards its cells lie in; -1: it is recomputed where any level is.
      height, width: in cells.
      stride: (y, x) pixels per cell.
      whole_cells: cells without a source always lie in shards without one.
    """

    index: int
    level: int
    height: int
    width: int
    stride: tuple[Fraction, Fraction]
    whole_cells: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTestParams:
    """All that the template sees besides the target; thresholds and times come with every frame instead.

    Attributes:
      height, width, channels: of the image.
      levels: in the order of the masks.
      grids: whose cells are planned; the first is the image's.
    """

    height: int
    width: int
    channels: int
    levels: tuple[ImageTestLevel, ...]
    grids: tuple[ImageTestGrid, ...]

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each level's mask."""
        return tuple((cells(self.height, level.shard_px), cells(self.width, level.shard_px)) for level in self.levels)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each level's mask starts."""
        return tuple(accumulate((rows * columns for rows, columns in self.shapes), initial=0))[:-1]

    @property
    def mask_bytes(self) -> int:
        """Size of all masks."""
        return sum(rows * columns for rows, columns in self.shapes)

    def keeps_sums(self, level: ImageTestLevel) -> bool:
        """Whether all that a level compares are whole 8-px cells: then it keeps their sums, and no pixels."""
        whole = all(px.denominator == 1 and px % CELL_PX == 0 for px in (*level.stride, self.height, self.width))
        return whole and level.low_pass_px == CELL_PX and not level.in_pixels

    @property
    def slots(self) -> tuple[int, ...]:
        """The number of each level among those that keep pixels, or among those that keep sums."""
        kinds = [self.keeps_sums(level) for level in self.levels]
        return tuple(kinds[:number].count(kind) for number, kind in enumerate(kinds))

    @property
    def pictures(self) -> int:
        """Levels that keep pixels."""
        return sum(not self.keeps_sums(level) for level in self.levels)

    @property
    def tasks(self) -> list[tuple[int, int]]:
        """(level, row) of all rows of shards, from the top of the image down."""
        rows = [(level, row) for level, (n_rows, _) in enumerate(self.shapes) for row in range(n_rows)]
        return sorted(rows, key=lambda task: (task[1] * self.levels[task[0]].shard_px, -task[0]))

    @property
    def grid_offsets(self) -> tuple[int, ...]:
        """Where each grid's cells start."""
        return tuple(accumulate((grid.height * grid.width for grid in self.grids), initial=0))[:-1]


class ImageTestShapes:
    """What a program of an image test says of its sizes, whatever it runs on."""

    params: ImageTestParams

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.params.channels, self.params.height, self.params.width

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of each level's mask; the masks lie one after another."""
        return self.params.shapes

    @property
    def grids(self) -> tuple[tuple[int, int, int], ...]:
        """(index, rows, columns) of each grid whose cells are planned; the cells lie one after another."""
        return tuple((grid.index, grid.height, grid.width) for grid in self.params.grids)


class ShardArgs(ctypes.Structure):
    """Mirror of ShardArgs in templates/cpp/image_test.cpp.jinja."""

    _fields_ = [
        ("state", ctypes.c_void_p),
        ("hold", ctypes.c_void_p),
        ("image", ctypes.c_void_p),
        ("bytes", ctypes.c_void_p),
        ("byte_steps", ctypes.c_int64 * 3),
        ("motion", ctypes.c_void_p),
        ("known", ctypes.c_void_p),
        ("taus", ctypes.c_void_p),
        ("masks", ctypes.c_void_p),
        ("moved", ctypes.c_void_p),
        ("sourced", ctypes.c_void_p),
        ("work", ctypes.c_void_p),
        ("evaluated", ctypes.c_void_p),
        ("moves", ctypes.c_void_p),
        ("low", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("cell_px", ctypes.c_int32),
        ("motion_rows", ctypes.c_int32),
        ("motion_columns", ctypes.c_int32),
        ("has_regions", ctypes.c_int32),
        ("margin_cells", ctypes.c_int32),
        ("wait_frames", ctypes.c_int32),
        ("refresh_frames", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("candidates", ctypes.c_int32),
        ("strays", ctypes.c_int32),
        ("is_planned", ctypes.c_int32),
    ]


class ImageTestLibrary(ImageTestShapes):
    """One generated image test; it keeps nothing, so streams share it.

    Attributes:
      path: the shared library; its source lies beside it.
      source: the text.
      params: what it was rendered from.

    Raises:
      CompileTimeError: the library takes arguments of another size.
    """

    def __init__(self, path: Path, source: str, params: ImageTestParams) -> None:
        self.path = path
        self.source = source
        self.params = params
        self._library = load_library(path, "fs_shards", ShardArgs)
        for name in ("fs_shards_keyframe", "fs_shards_propose", "fs_shards_glance", "fs_shards_commit"):
            getattr(self._library, name).argtypes = [ctypes.POINTER(ShardArgs)]
        self._library.fs_shards_commit.restype = None

    def new_state(self) -> NDArray[np.uint8]:
        """A stream's zeroed state, 64-byte aligned."""
        return zeroed(self._library.fs_shards_state_bytes())

    @staticmethod
    def new_args() -> ShardArgs:
        """An argument block, all zero."""
        return ShardArgs()

    def keyframe(self, args: ShardArgs) -> bool:
        """Takes an image that was computed whole; whether it is finite. Without motion and masks."""
        return bool(self._library.fs_shards_keyframe(ctypes.byref(args)))

    def propose(self, args: ShardArgs) -> bool:
        """Writes the masks of a frame; False where its image is not finite. Only scratch of the state is written."""
        return bool(self._library.fs_shards_propose(ctypes.byref(args)))

    def glance(self, args: ShardArgs) -> bool:
        """The same for the last level alone, whose mask is all that is written to `masks`."""
        return bool(self._library.fs_shards_glance(ctypes.byref(args)))

    def commit(self, args: ShardArgs) -> None:
        """Takes the last proposal; `args` are those of `propose`, with everything that they point to."""
        self._library.fs_shards_commit(ctypes.byref(args))


def image_test_params(
    image: Grid, channels: int, levels: Sequence[LevelGeometry], grids: Sequence[Grid]
) -> ImageTestParams:
    """What the test of a stream is generated from.

    Args:
      image: the image's grid.
      channels: of the image.
      levels, grids: of the plan.
    """
    level_of = {index: number for number, level in enumerate(levels) for index in level.grids if index}

    def planned(index: int) -> ImageTestGrid:
        grid, level = grids[index], level_of.get(index, -1)
        # a level is tested by the motion of its first grid
        tested = (grid,) if level < 0 else (grid, grids[levels[level].grids[0]])
        return ImageTestGrid(
            index=index,
            level=level,
            height=grid.height,
            width=grid.width,
            stride=(grid.stride_y, grid.stride_x),
            whole_cells=all(one.has_whole_cells(image, CELL_PX) for one in tested),
        )

    return ImageTestParams(
        height=image.height,
        width=image.width,
        channels=channels,
        levels=tuple(
            ImageTestLevel(
                stride=level.stride,
                features=(grids[level.grids[0]].height, grids[level.grids[0]].width),
                shard_px=level.shard_px,
                low_pass_px=level.low_pass_px,
                in_pixels=level.in_pixels,
            )
            for level in levels
        ),
        grids=tuple(planned(index) for index in (0, *level_of)),
    )


def render_image_test(params: ImageTestParams, target: Target) -> str:
    """The C++ source of an image test, which is also the cache key.

    Raises:
      RenderError: the template asked for something that its parameters do not have.
    """
    return render_template("cpp/image_test.cpp.jinja", p=params, t=target)


def build_image_test(params: ImageTestParams, target: Target, cache_dir: Path | None = None) -> ImageTestLibrary:
    """Renders, compiles or finds, and loads an image test.

    Args:
      params: from `image_test_params`.
      target: from `detect_target`.
      cache_dir: instead of `FLUXSHARD_CACHE_DIR`.

    Raises:
      CompileError, MissingKernelError: see `cache.get_or_build`.
    """
    text = render_image_test(params, target)
    return ImageTestLibrary(
        get_or_build(f"shards-{params.height}x{params.width}", text, target, cache_dir), text, params
    )
