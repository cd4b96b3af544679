"""The image test of planned reuse as generated CUDA: memory of a stream, launches, and what is uploaded. No torch."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.cpp.image_test import ImageTestLevel, ImageTestParams, ImageTestShapes
from fluxshard.codegen.cuda.launches.frame_kernels import bookkeeping
from fluxshard.codegen.cuda.launches.kernels import Kernel, name_of
from fluxshard.codegen.cuda.launches.launch import Args, Launch, i, p
from fluxshard.codegen.cuda.launches.memory import State
from fluxshard.codegen.cuda.program import Bound, Loaded, Loader
from fluxshard.ir.stream_layout import FIRST_SHARD_COUNT, ShardControl, ShardLayout
from fluxshard.motion import CELL_PX, cells

_CONTROL = struct.Struct("<QQqqqQQQff12i")  # TestControl in templates/cuda/image_test.cuh
_TAUS = 6  # numbers of struct Taus
_LARGEST = 16000  # 4 x 32767 px x this fits 32 bits
_MOST_ARGS = 4000  # bytes of a struct of arguments; the driver takes 4096
_WORK_CELLS = 1024  # of a grid that a block counts


def fits_device(params: ImageTestParams) -> bool:
    """Whether kernels can test such images: some level, strides that fit their numbers, and few enough of both."""
    strides = [*(level.stride for level in params.levels), *(grid.stride for grid in params.grids)]
    largest = max(max(one.numerator, one.denominator) for pair in strides for one in pair)
    if not params.levels or largest > _LARGEST:
        return False
    return 120 * len(params.levels) + 48 * len(params.grids) + 104 <= _MOST_ARGS


class CudaImageTestProgram(ImageTestShapes):
    """The kernels of an image test, loaded; it keeps nothing of a stream, so streams share it.

    Args:
      params: geometry, for which `fits_device`.
      n_grids: of the plan.
      loader: makes kernels of texts.

    Attributes:
      params: as given.
      proposed: layout of a proposal.
      size, blocks: bytes of a stream's memory; offset and bytes of each part.

    Raises:
      CompileError: a kernel is refused.
    """

    def __init__(self, params: ImageTestParams, n_grids: int, loader: Loader) -> None:
        assert fits_device(params), "the test of such images is for the host"
        self.params = params
        self._rows, self._columns = cells(params.height, CELL_PX), cells(params.width, CELL_PX)
        n = self._rows * self._columns
        counted = max(grid.index for grid in params.grids) + 1
        self.proposed = self._lay_out_proposal(counted, n)
        state = State("test")
        self._tau_bytes = 4 * _TAUS * len(params.levels)
        self._regions_at = round_up(_CONTROL.size + self._tau_bytes, 16)
        self._motion_at = round_up(self._regions_at + n, 16)
        self._room = 5 * n  # of a motion field with cells of 8 px
        self._control = state.take(self._motion_at + self._room)
        self._tables = self._find_tables(n_grids, n)
        self._table_at = state.take(self._tables.nbytes)
        self._args = self._describe(state, n)
        self.size, self.blocks = state.size, tuple(state.blocks)
        self._launches = self._launches_of()
        self._loaded: dict[str, Loaded] = loader.load(kernels_of(self))

    @property
    def launches(self) -> dict[str, tuple[Launch, ...]]:
        """Of `propose`, `commit` and `keyframe`."""
        return self._launches

    @property
    def tables(self) -> tuple[int, NDArray[np.uint8]]:
        """Offset and bytes of what a stream's memory holds from the first frame on; the rest of it is zero."""
        return self._table_at.offset, self._tables.view(np.uint8)

    @property
    def starts(self) -> int:
        """Offset of where the motion of every grid begins in `ShardLayout.moved`: int32 per grid, in cells."""
        return self._table_at.offset

    @property
    def control(self) -> int:
        """Offset of what `block` gives."""
        return self._control.offset

    def motion_at(self, n_cells: int) -> int | None:
        """Offset of a motion field of so many cells that is uploaded with the control block; None: it does not fit."""
        return self._control.offset + self._motion_at if 5 * n_cells <= self._room else None

    def block(
        self, control: ShardControl, taus: NDArray[np.int32], regions: NDArray[np.uint8] | None,
        motion: Sequence[NDArray[np.uint8]],
    ) -> NDArray[np.uint8]:  # fmt: skip
        """Bytes to upload once a proposal.

        Args:
          control: numbers and addresses.
          taus: `(levels, 6)`.
          regions: `(rows, columns)`, where new ones came: bit 0 for what is near an object, bit 1 for a small one.
          motion: bytes of displacements and of where they are known, if they go with the block.
        """
        packed = _CONTROL.pack(
            control.image, control.bytes, *control.steps, control.motion, control.known, control.out, control.low,
            control.scale, control.cell_px, control.motion_columns, *control.dominant, control.has_regions,
            regions is not None, control.hold_frames, control.margin_cells, control.wait_frames, control.refresh_frames,
            control.searches, control.parity,
        )  # fmt: skip
        size = self._regions_at
        if regions is not None:
            size += regions.size
        if motion:
            size = self._motion_at + sum(part.size for part in motion)
        block = np.zeros(size, np.uint8)
        block[: len(packed)] = np.frombuffer(packed, np.uint8)
        block[len(packed) : len(packed) + taus.nbytes] = taus.view(np.uint8).reshape(-1)
        if regions is not None:
            block[self._regions_at : self._regions_at + regions.size] = regions.reshape(-1)
        at = self._motion_at
        for part in motion:
            block[at : at + part.size] = part
            at += part.size
        return block

    def bind(self, memory: int) -> dict[str, tuple[Bound, ...]]:
        """Launches of `launches` for a stream whose memory lies at an address."""
        return {kind: tuple(self._bound(step, memory) for step in steps) for kind, steps in self._launches.items()}

    def _bound(self, step: Launch, memory: int) -> Bound:
        loaded = self._loaded[name_of(step.kernel)]
        blocks = loaded.blocks(step.blocks) if step.persistent else step.blocks
        return loaded.bind(blocks, step.args.encode({"test": memory}), alone=step.alone)

    # ---- memory

    def _lay_out_proposal(self, grids: int, n: int) -> ShardLayout:
        levels = len(self.params.levels)
        shards = 4 * (FIRST_SHARD_COUNT + 2 * grids)
        head = shards + self.params.mask_bytes
        moved = round_up(head, 64)
        sourced = moved + 4 * (levels + 1) * n
        at = round_up(sourced + (levels + 1) * n, 64)
        return ShardLayout(
            grids=grids, shards=shards, head_bytes=head, moved=moved, sourced=sourced, cells=at,
            size=at + sum(grid.height * grid.width for grid in self.params.grids),
        )  # fmt: skip

    def _find_tables(self, n_grids: int, n: int) -> NDArray[np.int32]:
        """Starts of the grids' motion, then per level the pixels that rows and columns of cells look theirs up at."""
        level_of = {grid.index: grid.level for grid in self.params.grids}
        starts = [(level_of.get(grid, -1) + 1) * n for grid in range(n_grids)]
        self._n_starts = round_up(len(starts), 2)
        parts = [np.array(starts + [0] * (len(starts) % 2), np.int32)]
        for level in self.params.levels:
            sizes = (self._rows, self.params.height), (self._columns, self.params.width)
            for axis, (count, n_px) in enumerate(sizes):
                points = [_feature_point(level, axis, cell, n_px) for cell in range(count)]
                parts.append(np.array(points + [0] * (count % 2), np.int32))
        return np.concatenate(parts)

    def _describe(self, state: State, n: int) -> Args:
        """Struct TestArgs."""
        params, proposed = self.params, self.proposed
        picture = params.height * params.width * round_up(params.channels, 4)
        control, frame = self._control, state.take(picture)
        hold, held, near = state.take(2 * n), state.take(2 * n), state.take(n)
        bins = 1 << (2 * n - 1).bit_length()
        args = p(control, control + _CONTROL.size, frame, control + self._regions_at, hold, held, near)
        args += p(state.take(8), state.take(8 * bins))
        args += i(proposed.shards, proposed.moved, proposed.sourced, proposed.numbers, bins, 0)
        table = self._table_at + 4 * self._n_starts
        for number, (level, (rows, columns)) in enumerate(zip(params.levels, params.shapes, strict=True)):
            at_y, at_x = table, table + 4 * round_up(self._rows, 2)
            table = at_x + 4 * round_up(self._columns, 2)
            lags = (state.take(4 * n), state.take(4 * n)) if level.in_pixels else (None, None)
            args += p(state.take(picture), state.take(picture), state.take(n), state.take(n), *lags)
            args += p(state.take(4 * n), state.take(rows * columns), at_y, at_x)
            args += i(*(part for one in level.stride for part in (one.numerator, one.denominator)))
            args += i(level.shard_px // CELL_PX, rows, columns, params.offsets[number], level.low_pass_px, number)
        return args

    # ---- launches

    def _launches_of(self) -> dict[str, tuple[Launch, ...]]:
        params = self.params
        frame, n = f"Frame<{params.height}, {params.width}, {params.channels}>", len(params.levels)
        label, pixels = f"{params.height}x{params.width}_{n}", params.height * params.width
        shards = sum(rows * columns for rows, columns in params.shapes)

        def launch(name: str, items: int, header: str = "image_test") -> Launch:
            kernel = bookkeeping(f"{name}_{label}", header, f"{name}<{frame}, {n}>", f"TestArgs<{n}>")
            return Launch(kernel=kernel, args=self._args, blocks=-(-items // 256))

        small = self._rows * self._columns
        begin = launch("test_begin", small)
        kinds = {
            "propose": (
                begin, launch("test_take", pixels), launch("test_near", small),
                launch("test_shards", 32 * shards, "image_choice"), launch("test_masks", shards),
                self._work(frame, n, label),
            ),
            "commit": (launch("test_keep", pixels),),
            "keyframe": (begin, launch("test_keyframe", pixels)),
        }  # fmt: skip
        return {kind: (replace(first, alone=True), *others) for kind, (first, *others) in kinds.items()}

    def _work(self, frame: str, n: int, label: str) -> Launch:
        grids = self.params.grids
        args, first = self._args, 0
        for grid, offset in zip(grids, self.params.grid_offsets, strict=True):
            args += i(grid.index, grid.level, grid.height, grid.width)
            args += i(*(part for one in grid.stride for part in (one.numerator, one.denominator)))
            args += i(grid.whole_cells, offset, first, 0)
            first += -(-grid.height * grid.width // _WORK_CELLS)
        args += i(self.proposed.cells, FIRST_SHARD_COUNT + self.proposed.grids)
        sizes = f"{n}, {len(grids)}"
        kernel = bookkeeping(
            f"test_work_{label}_{len(grids)}", "image_work", f"test_work<{frame}, {sizes}>", f"WorkArgs<{sizes}>"
        )
        return Launch(kernel=kernel, args=args, blocks=first, persistent=False)


def kernels_of(program: CudaImageTestProgram) -> dict[str, tuple[Kernel, int]]:
    """Every kernel of a test by name, with the bytes of its arguments."""
    steps = [step for of in program.launches.values() for step in of]
    return {name_of(step.kernel): (step.kernel, step.args.size) for step in steps}


def _feature_point(level: ImageTestLevel, axis: int, cell: int, n_px: int) -> int:
    """The pixel whose motion the features below an 8-px cell have."""
    stride: Fraction = level.stride[axis]
    centre = min(cell * CELL_PX + CELL_PX // 2, n_px - 1)
    feature = min(centre * stride.denominator // stride.numerator, level.features[axis] - 1)
    return min((2 * feature + 1) * stride.numerator // (2 * stride.denominator), n_px - 1)
