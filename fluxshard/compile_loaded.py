"""A network from a file, ready to run: compiled, or opened as it was saved."""

from __future__ import annotations

from collections.abc import Callable

from fluxshard.compiled.example import Example
from fluxshard.compiled.load import open_loaded
from fluxshard.compiled.model import CompiledModel
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.options import CompileOptions


def compile_loaded(
    loaded: LoadedModel,
    example: Example | None = None,
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
    if loaded.saved is None:
        from fluxshard.api import compile  # brings torch.export and all passes

        return compile(loaded, example, options=options, target=target, progress=progress)
    return open_loaded(loaded, loaded.saved, example, options=options or CompileOptions(), target=target)
