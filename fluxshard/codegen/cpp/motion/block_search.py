"""Motion between pictures, found by comparing blocks, as generated C++: parameters, text, and the library. No torch."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.shared_library import load_library, zeroed
from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.common.toolchain import ISAS, processor_has, processor_target
from fluxshard.codegen.cpp.program_cache import find_program, get_or_build
from fluxshard.errors import CompileError, CompileTimeError
from fluxshard.ir.kernel import Target
from fluxshard.motion import CELL_PX, cells

_NAME = "block-search"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSearchParams:
    """All that the template sees besides the target. The size of pictures comes with every call.

    Differences are sums of absolute differences of grey values, 0..255 a pixel.

    Attributes:
      reach_px: largest motion along an axis that is found anew, a multiple of 4; faster motion is followed once found.
      rim_px: how far outside the picture a source may lie, a multiple of 4 that is at least `reach_px`.
      settled: largest difference of a block of 16x16 px to the one before in the same place that stays there
        unsearched, and to its source at which the two always look alike.
      stray: what a motion other than zero has to gain for a block, and what it costs to differ from neighbours by 4 px.
      rough: squares look like their sources, too, if they differ from these by no more than `rough` quarters of what
        either differs from its own mean by.
      flat: largest difference of a cell of 8x8 px to its source at which the two always look alike.
    """

    reach_px: int = 32
    rim_px: int = 64
    settled: int = 256
    stray: int = 16
    rough: int = 5
    flat: int = 128


class BlockSearchArgs(ctypes.Structure):
    """Mirror of SearchArgs in templates/cpp/block_search.cpp.jinja."""

    _fields_ = [
        ("state", ctypes.c_void_p),
        ("pixels", ctypes.c_void_p),
        ("displacement", ctypes.c_void_p),
        ("valid", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("parity", ctypes.c_int32),
        ("first", ctypes.c_int32),
    ]


class BlockSearchLibrary:
    """The loaded program; it keeps nothing between calls, so streams and threads share it.

    Attributes:
      path: the shared library; its source lies beside it.
      params: what it was rendered from.

    Raises:
      CompileTimeError: the library takes arguments of another size.
    """

    def __init__(self, path: Path, params: BlockSearchParams) -> None:
        self.path = path
        self.params = params
        self._library = load_library(path, "fs_search", BlockSearchArgs)
        self._library.fs_search_state_bytes.argtypes = [ctypes.c_int32, ctypes.c_int32]
        self._library.fs_search_motion.argtypes = [ctypes.POINTER(BlockSearchArgs)]
        self._library.fs_search_motion.restype = None

    def new_state(self, height: int, width: int) -> NDArray[np.uint8]:
        """A stream's zeroed state, 64-byte aligned, for pictures of `height` x `width` px."""
        return zeroed(self._library.fs_search_state_bytes(height, width))

    def motion(
        self, state: NDArray[np.uint8], pixels: NDArray[np.uint8], number: int, threads: int
    ) -> tuple[NDArray[np.int16], NDArray[np.bool_]] | None:
        """Takes a picture; finds where its content was in the one before.

        Args:
          state: from `new_state`, for the size of the picture.
          pixels: `(H, W, 3)`, contiguous; the order of red and blue does not matter.
          number: of the picture in the stream, from 0.
          threads: that share the work.

        Returns:
          `(rows, columns, 2)` pixels (dy, dx) per cell of 8 px, zero where unknown, and `(rows, columns)` where it is
          known; None for the first picture.
        """
        height, width = pixels.shape[:2]
        args = BlockSearchArgs(
            state=state.ctypes.data, pixels=pixels.ctypes.data, height=height, width=width, threads=threads,
            parity=number % 2, first=number == 0,
        )  # fmt: skip
        if number == 0:
            self._library.fs_search_motion(ctypes.byref(args))
            return None
        shape = cells(height, CELL_PX), cells(width, CELL_PX)
        displacement, valid = np.empty((*shape, 2), np.int16), np.empty(shape, np.bool_)
        args.displacement, args.valid = displacement.ctypes.data, valid.ctypes.data
        self._library.fs_search_motion(ctypes.byref(args))
        return displacement, valid


def render_block_search(params: BlockSearchParams, target: Target) -> str:
    """The C++ source, which is also the cache key.

    Raises:
      RenderError: the template asked for something that its parameters do not have.
    """
    return render_template("cpp/block_search.cpp.jinja", p=params, t=target)


def build_block_search(params: BlockSearchParams, target: Target, cache_dir: Path | None = None) -> BlockSearchLibrary:
    """Renders, compiles or finds, and loads the program.

    Args:
      params: what is searched.
      target: from `detect_target` or `processor_target`.
      cache_dir: instead of `FLUXSHARD_CACHE_DIR`.

    Raises:
      CompileError, MissingKernelError: see `program_cache.get_or_build`.
    """
    text = render_block_search(params, target)
    return BlockSearchLibrary(get_or_build(_NAME, text, target, cache_dir), params)


def own_block_search(params: BlockSearchParams) -> BlockSearchLibrary:
    """The program of this processor, from the kernel cache or compiled into it.

    Where its best instructions have none in the cache and it cannot be compiled, the cache is searched for those of the
    processor's other instruction sets: a saved model may have brought them. All find the same motion.

    Args:
      params: what is searched.

    Raises:
      ToolchainError, CompileError, MissingKernelError: there is none, and it cannot be built.
    """
    try:
        return build_block_search(params, processor_target())
    except CompileError:
        raise
    except CompileTimeError:
        has = processor_has()
        for target in (processor_target(isa) for isa in ISAS if isa in has):
            found = find_program(_NAME, render_block_search(params, target), target)
            if found is not None:
                return BlockSearchLibrary(found, params)
        raise
