"""Which network a command runs, and on what: from flags to a compiled model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import fluxshard
from fluxshard.backends import check_target
from fluxshard.cli.support.checks import check_device
from fluxshard.cli.support.reuse_flags import RunReuse
from fluxshard.compile_loaded import compile_loaded
from fluxshard.errors import OptionError
from fluxshard.models.loading.checkpoint import identify
from fluxshard.models.loading.loaded_model import MAP_TASKS, LoadedModel
from fluxshard.models.loading.sizes import parse_size
from fluxshard.options import AnyDType, Backend, CompileOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFlags:
    """The flags about the network as given; see the help of `fluxshard run`."""

    model: Path
    task: str = "auto"
    size: str | None = None
    device: str = "cpu"
    dtype: AnyDType = "float32"
    backend: Backend = "auto"
    autotune: bool = False

    def options(self, canvas_px: int = 0) -> CompileOptions:
        """Options for compiling the model."""
        return CompileOptions(backend=self.backend, dtype=self.dtype, canvas_px=canvas_px, autotune=self.autotune)

    def check(self) -> None:
        """Checks what can be checked before anything is read.

        Raises:
          OptionError: flags that do not go together, or a value that is not allowed.
          ToolchainError: there is no such device.
        """
        check_device(self.device, self.dtype, self.backend)
        check_target(self.device, self.options())
        if self.size is not None:
            parse_size(self.size)

    def check_task(self) -> None:
        """Looks into the weights file, without loading it.

        Raises:
          OptionError: a task for weights that do not say what their outputs mean.
          ModelError: the file is missing, or no model.
        """
        if identify(self.model) not in ("ultralytics", "saved") and self.task not in ("auto", *MAP_TASKS):
            raise OptionError(
                f"--task {self.task} needs an Ultralytics checkpoint; use auto, {', '.join(MAP_TASKS[:-1])} or "
                f"{MAP_TASKS[-1]} for {str(self.model)!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedModel:
    """A model that is ready to run.

    Attributes:
      loaded: as read from its file.
      compiled: for images of `shape`.
      shape: (H, W) of the image.
      canvas_px: how much larger than the image the canvas is, per axis.
    """

    loaded: LoadedModel
    compiled: fluxshard.CompiledModel
    shape: tuple[int, int]
    canvas_px: int

    @property
    def canvas_shape(self) -> tuple[int, int]:
        """(H, W) of what the session's outputs describe."""
        return self.shape[0] + self.canvas_px, self.shape[1] + self.canvas_px


def prepare(
    flags: NetworkFlags, reuse: RunReuse, loaded: LoadedModel, shape: tuple[int, int],
    progress: Callable[[int, int], None] | None = None,
) -> PreparedModel:  # fmt: skip
    """Compiles a model, or opens a saved one, and checks that a threshold profile is its own.

    Args:
      flags: as given.
      reuse: what to reuse; it decides the canvas.
      loaded: as read from its file.
      shape: (H, W) of the image.
      progress: as for `fluxshard.compile`.

    Raises:
      FluxShardError: it cannot be compiled, or the threshold profile belongs to another.
    """
    canvas_px = reuse.canvas_px(loaded)
    options = flags.options(canvas_px)
    example = torch.zeros(1, 3, *shape)
    compiled = compile_loaded(loaded, example, options=options, target=flags.device, progress=progress)
    if reuse.threshold_profile is not None:
        reuse.threshold_profile.check(compiled.plan, compiled.weights)
    return PreparedModel(loaded=loaded, compiled=compiled, shape=shape, canvas_px=canvas_px)
