"""Median prediction of flagged pixels as generated C++: parameters, text, and the loaded library. No torch."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.shared_library import load_library, zeroed
from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.cpp.program_cache import get_or_build
from fluxshard.errors import KernelError
from fluxshard.ir.kernel import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianPredictorParams:
    """All that the template sees besides the target. The size of a picture comes with every call.

    One program serves all streams: a server that compiled for sizes that strangers name could be kept busy compiling.

    Attributes:
      most_columns: width in pixels of the widest picture.
    """

    most_columns: int


class MedianArgs(ctypes.Structure):
    """Mirror of MedianArgs in templates/cpp/median_predictor.cpp.jinja."""

    _fields_ = [
        ("state", ctypes.c_void_p),
        ("pixels", ctypes.c_void_p),
        ("image", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("residuals", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
    ]


class MedianPredictorLibrary:
    """The loaded program; it keeps nothing between calls, so streams and threads share it.

    Attributes:
      path: the shared library; its source lies beside it.
      params: what it was rendered from.

    Raises:
      CompileTimeError: the library takes arguments of another size.
    """

    def __init__(self, path: Path, params: MedianPredictorParams) -> None:
        self.path = path
        self.params = params
        self._library = load_library(path, "fs_median", MedianArgs)
        for name in ("fs_median_encode", "fs_median_decode"):
            function = getattr(self._library, name)
            function.argtypes, function.restype = [ctypes.POINTER(MedianArgs)], ctypes.c_int32

    def encode(self, pixels: NDArray[np.uint8], mask: NDArray[np.bool_], residuals: NDArray[np.uint8]) -> None:
        """Writes the residuals of flagged pixels.

        Args:
          pixels: `(H, W, 3)` RGB, contiguous.
          mask: `(H, W)`, contiguous.
          residuals: `(3, n)`, contiguous, for the n flagged pixels in raster order.

        Raises:
          KernelError: another number of flagged pixels, or a picture that is too wide.
        """
        args = self._args(mask, residuals)
        args.pixels = pixels.ctypes.data
        self._run(self._library.fs_median_encode, args)

    def decode(self, residuals: NDArray[np.uint8], mask: NDArray[np.bool_], image: NDArray[np.uint8]) -> None:
        """Writes the flagged pixels of an image; arguments as those of `encode`.

        Raises:
          KernelError: another number of flagged pixels, or a picture that is too wide.
        """
        args = self._args(mask, residuals)
        args.image = image.ctypes.data
        self._run(self._library.fs_median_decode, args)

    @staticmethod
    def _args(mask: NDArray[np.bool_], residuals: NDArray[np.uint8]) -> MedianArgs:
        (height, width), count = mask.shape, residuals.shape[1]
        return MedianArgs(
            mask=mask.ctypes.data, residuals=residuals.ctypes.data, count=count, height=height, width=width
        )

    def _run(self, function: ctypes._NamedFuncPointer, args: MedianArgs) -> None:
        state = zeroed(self._library.fs_median_state_bytes())
        args.state = state.ctypes.data
        if function(ctypes.byref(args)):
            raise KernelError(
                f"{args.count} residuals do not fit the mask of {args.height}x{args.width} px, or it is wider than "
                f"{self.params.most_columns} px: give one residual per flagged pixel and plane"
            )


def render_median_predictor(params: MedianPredictorParams, target: Target) -> str:
    """The C++ source, which is also the cache key.

    Raises:
      RenderError: the template asked for something that its parameters do not have.
    """
    return render_template("cpp/median_predictor.cpp.jinja", p=params, t=target)


def build_median_predictor(
    params: MedianPredictorParams, target: Target, cache_dir: Path | None = None
) -> MedianPredictorLibrary:
    """Renders, compiles or finds, and loads the program.

    Args:
      params: widest picture.
      target: from `detect_target`.
      cache_dir: instead of `FLUXSHARD_CACHE_DIR`.

    Raises:
      CompileError, MissingKernelError: see `program_cache.get_or_build`.
    """
    text = render_median_predictor(params, target)
    return MedianPredictorLibrary(get_or_build("median-predictor", text, target, cache_dir), params)
