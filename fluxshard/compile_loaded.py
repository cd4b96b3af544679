"""A network from a file, ready to run: compiled, or opened as it was saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from fluxshard.compiled.load import open_saved
from fluxshard.compiled.model import CompiledModel
from fluxshard.errors import OptionError
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.options import CompileOptions


def compile_loaded(
    loaded: LoadedModel,
    example: Tensor | None = None,
    *,
    options: CompileOptions | None = None,
    target: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> CompiledModel:
    """Compiles a network from a file, or opens it where it is a saved model; nothing that compiles is imported then.

    A saved model stores what it was saved with, unless another type than float32 is asked for.

    Args:
      loaded: as read from its file.
      example, options, target, progress: as for `fluxshard.compile`.

    Raises:
      OptionError: a canvas that a saved model was not saved with.
      ShapeError: an example of a size that a saved model was not saved for.
      FluxShardError: as for `fluxshard.compile` and `fluxshard.load`.
    """
    options = options or CompileOptions()
    if loaded.saved is None:
        from fluxshard.api import compile  # brings torch.export and all passes

        return compile(loaded.net, example, options=options, target=target, progress=progress)
    saved_px = loaded.saved.options.canvas_px
    if options.canvas_px != saved_px:
        raise OptionError(
            f"a canvas of {options.canvas_px} px is wanted, and {loaded.saved.path!r} was saved with one of "
            f"{saved_px} px: export the network again with such a canvas, or give its weights file"
        )
    if options.dtype == "float32" and options.backend != "reference":
        options = replace(options, dtype="auto")  # nothing else was asked for: as it was saved
    model = open_saved(loaded.saved, options=options, target=target)
    if example is not None:
        model.specialise(example)
    return model
