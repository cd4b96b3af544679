"""CompiledModel: joins plans, generated code and sessions; what compile() returns, and load()."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from fluxshard.backends import CppPrograms, image_tests, make_engine, stored_type
from fluxshard.compiled.detecting_session import DetectingSession
from fluxshard.compiled.example import Example, example_image
from fluxshard.compiled.lowered import Network
from fluxshard.compiled.memory import memory_finder
from fluxshard.compiled.outputs import PlacedFrame, Placing, decoded, head_of, in_picture, placing_of
from fluxshard.compiled.reuse_choice import SessionKind, chosen_reuse
from fluxshard.compiled.specialisation import Specialisation
from fluxshard.errors import OptionError, ShapeError, StateError, TraceError
from fluxshard.explain import Explanation, describe
from fluxshard.ir.plan import Plan
from fluxshard.models.detections.detections import Detections
from fluxshard.models.loading.loaded_model import LoadedModel, Task
from fluxshard.options import (
    AnyDType,
    Backend,
    CompileOptions,
    DType,
    Isa,
    ReuseOptions,
    check_kind,
    check_path,
)
from fluxshard.runtime.stream import Program
from fluxshard.runtime.threshold_profile import ThresholdProfile

if TYPE_CHECKING:
    from fluxshard.codegen.cuda.report import KernelReport
    from fluxshard.saved.saved_model import SavedModel

_log = logging.getLogger("fluxshard")


class CompiledModel:
    """A model ready to run: kernels and weights, shared by its sessions. Made by `compile()` and by `load()`.

    Args:
      network: gives the plan for an image size.
      options: see `CompileOptions`.
      target: from `backends.check_target`.
      programs: where generated C++ comes from; None: from this machine's compiler and kernel cache.
      profile: thresholds of sessions that are not told otherwise; None: those that are shipped.
      progress: as for `compile`.
      loaded: what is known of the network besides; None: nothing.
    """

    def __init__(
        self,
        network: Network,
        options: CompileOptions,
        target: str = "cpu",
        *,
        programs: CppPrograms | None = None,
        profile: ThresholdProfile | None = None,
        progress: Callable[[int, int], None] | None = None,
        loaded: LoadedModel | None = None,
    ) -> None:
        self._network = network
        self._options = options
        self._target = target
        self._programs = programs
        self._profile = profile
        self._progress = progress
        self._loaded = loaded
        self._lock = threading.Lock()
        self._compiled: dict[tuple[int, ...], Specialisation] = {}
        self._latest: Specialisation | None = None

    def __repr__(self) -> str:
        sizes = ", ".join("x".join(map(str, shape[2:])) for shape in self._compiled)
        if self._latest is None:
            return f"CompiledModel(not compiled for any size yet, {self._options.backend} on {self._target})"
        return f"CompiledModel({describe(self.plan)}, {self.backend} on {self.device}, sizes {sizes})"

    def _repr_html_(self) -> str | None:
        """The layers as a table, for notebooks."""
        return None if self._latest is None else self.explain()._repr_html_()

    def session(
        self, reuse: ReuseOptions | SessionKind | None = None, *, exact: bool = False, keep_all: bool = False
    ) -> DetectingSession:
        """A new video stream.

        Args:
          reuse: what to reuse; None: what the model was saved with, otherwise planned reuse at its shipped thresholds,
            as `fluxshard run`. "planned" and "propagated" are `ReuseOptions(policy=...)`, "exact" is the next argument.
          exact: outputs equal the dense network's up to rounding (`ReuseOptions.exact`); takes the place of `reuse`.
          keep_all: keep all features for `Session.inspect`. Otherwise a stream of planned reuse keeps those that later
            frames read, which takes less memory; outputs are the same.

        Raises:
          ProfileError: a profile that cannot be read; or, at the first frame, one of another network or other weights.
          OptionError: a profile that was found with another canvas; both `reuse` and `exact`; something else.
        """
        own = None if self._profile is None else self._profile.reuse
        reuse = chosen_reuse(reuse, exact=exact, own=own)
        if reuse.profile is None:
            return self._session(lambda image: self.specialise(image, in_stream=True).program, reuse, keep_all)
        profile = ThresholdProfile.load(reuse.profile)
        if profile.canvas_px != self._options.canvas_px:
            raise OptionError(
                f"the profile was found with canvas_px={profile.canvas_px}, and the model is compiled with "
                f"{self._options.canvas_px}: compile it with CompileOptions(canvas_px={profile.canvas_px})"
            )

        def checked(image: Tensor) -> Program:
            found = self.specialise(image, in_stream=True)
            profile.check(found.program.engine.plan, found.weights)
            return found.program

        return self._session(checked, profile.reuse, keep_all)

    def _session(
        self, program_for: Callable[[Tensor], Program], reuse: ReuseOptions, keep_all: bool
    ) -> DetectingSession:
        extra = self._options.canvas_px
        return DetectingSession(program_for, reuse, self._loaded, canvas_px=extra, keep_all=keep_all)

    def specialise(self, example: Tensor, *, in_stream: bool = False) -> Specialisation:
        """Compiles for the shape of `example`, float32 or bytes, or returns what is already compiled for it.

        Args:
          example: `(1, C, H, W)`.
          in_stream: a frame waits for it: another size than the first is a warning in the log then.
        """
        shape = tuple(example.shape)
        with self._lock:
            found = self._compiled.get(shape)
            if found is None:
                found = self._compile_another(torch.zeros(shape, dtype=_network_type(example)), in_stream=in_stream)
                # another dictionary: somebody may be going through this one, without the lock
                self._compiled = {**self._compiled, shape: found}
            self._latest = found
            return found

    def detections(
        self,
        outputs: Any,
        frame: PlacedFrame | Placing | None = None,
        *,
        confidence: float = 0.25,
        iou: float = 0.7,
        origin: tuple[int, int] = (0, 0),
    ) -> Detections:
        """What a detector's outputs say, of models that were compiled from a weights file, or loaded.

        Args:
          outputs: of `Session.run`.
          frame: of `fluxshard.video` that was run, or the letterbox that made the image: detections are in pixels of
            the picture then. Without, in those of the image of the size compiled last.
          confidence: detections score above.
          iou: of two boxes of a class that overlap by more, the one of lower score is suppressed.
          origin: `Session.origin`, where the model has a canvas.

        Raises:
          ModelError: what the outputs mean is not known, or these are not the model's.
          OptionError: a threshold outside 0..1.
        """
        head_of(self._loaded)
        extra, placing = self._options.canvas_px, placing_of(frame)
        canvas = self.plan.image_size if placing is None else (placing.size[0] + extra, placing.size[1] + extra)
        found = decoded(outputs, self._loaded, canvas, confidence=confidence, iou=iou)
        return in_picture(found, extra, origin, placing)

    @property
    def loaded(self) -> LoadedModel | None:
        """What is known of the network besides: None for one that was given as a module."""
        return self._loaded

    @property
    def task(self) -> Task:
        """Meaning of the outputs: "detect", "segment", "pose", or "raw" where it is not known."""
        return "raw" if self._loaded is None else self._loaded.task

    @property
    def names(self) -> tuple[str, ...]:
        """Class names; empty where they are not known."""
        return () if self._loaded is None else self._loaded.names

    def save(
        self,
        path: Path | str,
        *,
        loaded: LoadedModel | None = None,
        profile: ThresholdProfile | None = None,
        isas: Sequence[Isa] = (),
        overwrite: bool = False,
    ) -> SavedModel:
        """Writes one file that `fluxshard.load` opens without a compiler: plans, weights and compiled programs.

        All sizes that are compiled are kept. It is for machines of the same kind of processor; elsewhere the programs
        are compiled again when it is loaded. CUDA kernels are not kept.

        Args:
          path: of the file; its name should end in `.fluxshard`.
          loaded: the network as read from its weights file: what its outputs mean is kept, too. None takes what the
            model knows of itself.
          profile: thresholds for sessions that are not told otherwise; None keeps those that the model was loaded with.
          isas: instruction sets to keep C++ programs for; without any, the one in use.
          overwrite: replace an existing file.

        Returns:
          what was written.

        Raises:
          StateError: the model is not compiled for any size yet.
          OptionError: the file exists, or the profile was found with another canvas.
          ProfileError: the profile belongs to another network or to other weights.
          ToolchainError: an instruction set that this processor lacks, or no compiler for it.
          OSError: the file cannot be written.
        """
        from fluxshard.compiled.save import checked_isas, save_model

        if path is None:
            raise OptionError("path (=None) must be the path of a file")
        check_path("path", path)
        check_kind("loaded", loaded, LoadedModel, optional=True)
        check_kind("profile", profile, ThresholdProfile, optional=True)
        latest = self._last()
        sizes = [one for one in self._compiled.values() if one is not latest]
        return save_model(
            [*(one.lowered for one in sizes), latest.lowered],
            replace(self._options, backend=cast(Backend, self.backend), dtype=self.dtype),
            Path(path),
            loaded=loaded or self._loaded,
            profile=profile or self._profile,
            isas=checked_isas(isas),
            programs=self._programs,
            overwrite=overwrite,
        )

    @property
    def options(self) -> CompileOptions:
        """Options that the model is compiled with."""
        return self._options

    @property
    def plan(self) -> Plan:
        """The plan of the size compiled last.

        Raises:
          StateError: nothing is compiled yet.
        """
        return self._last().program.engine.plan

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Weights of the plan by name, batch norms folded."""
        return self._last().weights

    @property
    def graph_module(self) -> torch.fx.GraphModule:
        """The final graph: printable, drawable and runnable (densely).

        Raises:
          StateError: the model was loaded from a file, which holds plans, and no graph; or is not compiled yet.
        """
        graph = self._last().lowered.graph_module
        if graph is None:
            raise StateError(
                "a loaded model has no graph_module: its file holds plans (model.plan); compile the network for a graph"
            )
        return graph

    @property
    def backend(self) -> str:
        """Backend of the engine: "cpp", "cuda", "reference" or "emulated"."""
        return self._last().program.engine.name

    @property
    def device(self) -> torch.device:
        """Device of images and results; the emulator takes and gives tensors of the CPU."""
        return torch.device("cpu" if self._options.backend == "emulated" else self._target)

    @property
    def dtype(self) -> DType:
        """What features are stored as, on this machine; the reference backend stands in with float32."""
        stands_in = self._latest is not None and self.backend == "reference"
        return "float32" if stands_in else stored_type(self._target, self._options)

    @overload
    def explain(self, example: Example | None = None) -> Explanation: ...

    @overload
    def explain(
        self, example: Example | None = None, *, target: str, dtype: AnyDType | None = None
    ) -> KernelReport: ...

    def explain(
        self,
        example: Example | None = None,
        *,
        target: str | None = None,
        dtype: AnyDType | None = None,
    ) -> Explanation | KernelReport:
        """How the layers run, and why: `print` gives what is dense and why, `.verbose()` all layers.

        Args:
          example: as for `compile`; None takes the size compiled last.
          target: None explains what was compiled. "cuda:sm_90" compiles the kernels for that architecture, without a
            GPU, and reports registers, shared memory and spills of each.
          dtype: of the kernels of `target`; None takes that of the options.

        Raises:
          ToolchainError: a CUDA target without NVRTC, or one that it does not know.
          OptionError: a target or dtype that kernels are not generated for.
        """
        from fluxshard.codegen.cuda.report import kernel_report, parse_arch

        arch = None if target is None else parse_arch(target)
        if example is not None:
            self.specialise(example_image(example))
        if arch is not None:
            options = CompileOptions(dtype=dtype or self._options.dtype)
            return kernel_report(self.plan, arch, stored_type("cuda", options))
        last = self._last()
        tuned = getattr(last.program.engine, "tuned", {})
        itemsize = 4 if self.dtype == "float32" else 2
        return Explanation(self.plan, self.backend, last.notes, itemsize, tuned, memory_finder(last.program))

    def _last(self) -> Specialisation:
        if self._latest is None:
            raise StateError("model is not compiled for any size yet: pass an example to compile(), or run a frame")
        return self._latest

    def _compile_another(self, image: Tensor, *, in_stream: bool) -> Specialisation:
        """Compiles, and tells of it."""
        others, start = list(self._compiled), time.perf_counter()
        try:
            found = self._compile(image)
        except TraceError as error:
            if not others or others[-1][1] == image.shape[1]:
                raise
            raise ShapeError(
                f"image is {tuple(image.shape)}, and the network was compiled for images of {others[-1][1]} channels, "
                f"such as {others[-1]}; with {image.shape[1]} it does not run"
            ) from error
        tell = _log.warning if others and in_stream else _log.info
        tell(
            "%s %s on %s in %.1f s%s", "compiled another size," if others else "compiled", describe(
                found.program.engine.plan
            ), found.program.engine.name, time.perf_counter() - start,
            f"; it had {', '.join('x'.join(map(str, shape[2:])) for shape in others)}" if others else "",
        )  # fmt: skip
        for name, note in found.notes.items():
            _log.info("%s runs in torch: %s", name, note)
        return found

    def _compile(self, image: Tensor) -> Specialisation:
        lowered = self._network.lower(image)
        plan = lowered.plan
        spec = lowered.out_spec or pytree.treespec_loads(plan.output_tree)
        engine, notes = make_engine(plan, lowered.weights, self._options, self._target, self._programs, self._progress)
        program = Program(
            engine,
            lambda leaves: pytree.tree_unflatten(leaves, spec),
            make_test=image_tests(plan, self._options, self._programs, engine),
            canvas_px=self._options.canvas_px,
            dense_macs=lowered.dense_macs,
        )
        return Specialisation(program=program, lowered=lowered, notes=notes)


def _network_type(example: Tensor) -> torch.dtype:
    """Type in which the network takes an image: pictures of bytes stand for float32."""
    return torch.float32 if example.dtype == torch.uint8 else example.dtype
