"""The input cache of propagated reuse as generated C++: parameters, text, and the loaded library. No torch."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.common.shared_library import load_library, zeroed
from fluxshard.codegen.common.templates import render_template
from fluxshard.codegen.cpp.program_cache import get_or_build
from fluxshard.ir.kernel import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCacheParams:
    """All that the template sees besides the target; thresholds come with every frame instead.

    Attributes:
      height, width, channels: of the image.
    """

    height: int
    width: int
    channels: int

    @property
    def stride(self) -> int:
        """Floats between pixels: as in the step, channels are padded to whole fours."""
        return round_up(self.channels, 4)


class InputArgs(ctypes.Structure):
    """Mirror of InputArgs in templates/cpp/input_cache.cpp.jinja."""

    _fields_ = [
        ("state", ctypes.c_void_p),
        ("image", ctypes.c_void_p),
        ("motion", ctypes.c_void_p),
        ("known", ctypes.c_void_p),
        ("given", ctypes.c_void_p),
        ("cell_px", ctypes.c_int32),
        ("motion_columns", ctypes.c_int32),
        ("keyframe", ctypes.c_int32),
        ("remap", ctypes.c_int32),
        ("fresh", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("tau", ctypes.c_float),
        ("scene_cut", ctypes.c_float),
        ("took_keyframe", ctypes.c_int32),
        ("still", ctypes.c_int32),
        ("pixels", ctypes.c_int64),
        ("fed", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
        ("dy", ctypes.c_void_p),
        ("dx", ctypes.c_void_p),
        ("valid", ctypes.c_void_p),
        ("source", ctypes.c_void_p),
    ]


class InputCacheLibrary:
    """One generated input cache; it keeps nothing, so streams share it.

    Attributes:
      path: the shared library; its source lies beside it.
      params: what it was rendered from.

    Raises:
      CompileTimeError: the library takes arguments of another size.
    """

    def __init__(self, path: Path, params: InputCacheParams) -> None:
        self.path = path
        self.params = params
        self._library = load_library(path, "fs_input", InputArgs)
        for name in ("fs_input_propose", "fs_input_commit"):
            function = getattr(self._library, name)
            function.argtypes, function.restype = [ctypes.POINTER(InputArgs)], None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.params.channels, self.params.height, self.params.width

    def new_state(self) -> NDArray[np.uint8]:
        """A stream's zeroed state, 64-byte aligned."""
        return zeroed(self._library.fs_input_state_bytes())

    @staticmethod
    def new_args() -> InputArgs:
        """An argument block, all zero."""
        return InputArgs()

    def propose(self, args: InputArgs) -> None:
        """Computes S_0 and the assembled input of a frame; only scratch of the state is written."""
        self._library.fs_input_propose(ctypes.byref(args))

    def commit(self, args: InputArgs) -> None:
        """Takes the last proposal; `args` are those of `propose`."""
        self._library.fs_input_commit(ctypes.byref(args))


def render_input_cache(params: InputCacheParams, target: Target) -> str:
    """The C++ source of an input cache, which is also the cache key.

    Raises:
      RenderError: the template asked for something that its parameters do not have.
    """
    return render_template("cpp/input_cache.cpp.jinja", p=params, t=target)


def build_input_cache(params: InputCacheParams, target: Target, cache_dir: Path | None = None) -> InputCacheLibrary:
    """Renders, compiles or finds, and loads an input cache.

    Args:
      params: size of the image.
      target: from `detect_target`.
      cache_dir: instead of `FLUXSHARD_CACHE_DIR`.

    Raises:
      CompileError, MissingKernelError: see `program_cache.get_or_build`.
    """
    text = render_input_cache(params, target)
    return InputCacheLibrary(get_or_build(f"input-{params.height}x{params.width}", text, target, cache_dir), params)
