"""A compiled step, loaded: sizes, offsets and raw pointers. No torch."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluxshard.codegen.common.shared_library import load_library, zeroed
from fluxshard.codegen.cpp.input_cache import InputCacheLibrary, InputCacheParams, build_input_cache
from fluxshard.codegen.cpp.layout import Layout
from fluxshard.codegen.cpp.lowering import StepSpec
from fluxshard.codegen.cpp.pack import pack_all
from fluxshard.errors import KernelError
from fluxshard.ir.kernel import Target
from fluxshard.ir.step_layout import Keep

ISLAND_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class FieldArgs(ctypes.Structure):
    """Mirror of Field in templates/cpp/field.h."""

    _fields_ = [
        ("dy", ctypes.c_void_p),
        ("dx", ctypes.c_void_p),
        ("valid", ctypes.c_void_p),
        ("source", ctypes.c_void_p),
        ("still", ctypes.c_int32),
    ]


class StepArgs(ctypes.Structure):
    """Mirror of StepArgs in templates/cpp/frame.h."""

    _fields_ = [
        ("arena", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("image", ctypes.c_void_p),
        ("bytes", ctypes.c_void_p),
        ("byte_values", ctypes.c_void_p),
        ("byte_steps", ctypes.c_int64 * 3),
        ("motion", ctypes.c_void_p),
        ("motion_valid", ctypes.c_void_p),
        ("grid_motion", ctypes.c_void_p),
        ("grid_motion_valid", ctypes.c_void_p),
        ("cell_px", ctypes.c_int32),
        ("motion_columns", ctypes.c_int32),
        ("keyframe", ctypes.c_int32),
        ("rfap", ctypes.c_int32),
        ("remap", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("keeps", ctypes.c_int32),
        ("fed", ctypes.c_void_p),
        ("input_mask", ctypes.c_void_p),
        ("field", FieldArgs),
        ("tau", ctypes.c_void_p),
        ("work", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("island", ISLAND_FUNCTION),
        ("user", ctypes.c_void_p),
        ("input_cells", ctypes.c_int64),
        ("candidates", ctypes.c_void_p),
        ("changed", ctypes.c_void_p),
        ("total_ns", ctypes.c_int64),
        ("conv_ns", ctypes.c_int64),
        ("island_ns", ctypes.c_int64),
    ]


class StepLibrary:
    """One generated program.

    Attributes:
      path: the shared library; its source lies beside it.
      source: the text.
      spec: what it was rendered from.
      target: what it was compiled for.

    Raises:
      CompileTimeError: the library takes arguments of another size.
    """

    def __init__(self, path: Path, source: str, spec: StepSpec, target: Target) -> None:
        self.path = path
        self.source = source
        self.spec = spec
        self.target = target
        self._library = load_library(path, "fs", StepArgs)
        self._library.fs_step.argtypes = [ctypes.POINTER(StepArgs)]
        self._library.fs_init.argtypes = [ctypes.c_void_p]
        for name in ("fs_split", "fs_join"):
            getattr(self._library, name).argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p]
            getattr(self._library, name).restype = None

    @property
    def layout(self) -> Layout:
        """Offsets of everything in a stream's state."""
        return self.spec.layout

    @property
    def in_torch(self) -> Mapping[str, str]:
        """Islands that the callback is called for, in order, and why; by layer."""
        return self.spec.in_torch

    def pack_weights(self, weights: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        """All weights in one blob, in the order in which kernels read them; shared by all streams."""
        return pack_all(self.layout, weights)

    def new_state(self, keep: Keep) -> NDArray[np.uint8]:
        """A stream's zeroed state, 64-byte aligned; its first frame must be a keyframe."""
        return zeroed(self.layout.sizes[keep])

    def new_scratch(self) -> NDArray[np.uint8]:
        """What a step has to itself while it runs, prepared, 64-byte aligned."""
        scratch = zeroed(self.layout.scratch_size)
        self._library.fs_init(scratch.ctypes.data)
        return scratch

    @property
    def itemsize(self) -> int:
        """Bytes of a stored number."""
        return self.target.itemsize

    def split(self, numbers: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
        """Stored numbers as planes, each of one byte of every number; both as long as whole numbers are."""
        self._library.fs_split(numbers.ctypes.data, numbers.nbytes // self.target.itemsize, planes.ctypes.data)

    def join(self, planes: NDArray[np.uint8], numbers: NDArray[np.uint8]) -> None:
        """The numbers that `split` was given."""
        self._library.fs_join(numbers.ctypes.data, numbers.nbytes // self.target.itemsize, planes.ctypes.data)

    def input_program(self) -> InputCacheLibrary:
        """The program of the input caches that belong to this one, from the same kernel cache.

        Raises:
          CompileError, MissingKernelError: see `program_cache.get_or_build`.
        """
        _, channels, height, width = self.spec.plan.value(self.spec.plan.input).shape
        params = InputCacheParams(height=height, width=width, channels=channels)
        return build_input_cache(params, self.target, self.path.parent.parent)

    @staticmethod
    def new_args() -> StepArgs:
        """An argument block, all zero."""
        return StepArgs()

    @staticmethod
    def callback(function: Callable[[int, int], int]) -> object:
        """A Python function of (user, island number) as the callback for islands; keep it alive during the step."""
        return ISLAND_FUNCTION(function)

    def step(self, args: StepArgs) -> None:
        """Runs one frame.

        Raises:
          KernelError: an island's callback failed.
        """
        code = self._library.fs_step(ctypes.byref(args))
        if code:
            raise KernelError(f"island {code - 1} failed; the stream starts anew with the next frame")
