"""A saved model as values: plans, weights, compiled programs, and what people know about them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import FluxShardError, ModelError
from fluxshard.files import write_whole
from fluxshard.ir.plan import Plan
from fluxshard.ir.verify import verify
from fluxshard.options import CompileOptions
from fluxshard.saved.container import Container, container_bytes, read_container

# dtype of a weight -> bytes of an element
ITEM_BYTES = {
    "float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1,
    "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
_OPTIONS = ("backend", "dtype", "canvas_px", "isa", "arch", "autotune")
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SavedArray:
    """A weight as bytes.

    Attributes:
      dtype: key of `ITEM_BYTES`.
      shape: of the weight.
      order: its axes, the slowest in memory first: results can depend on it in the last bit.
      data: its bytes in that order.

    Raises:
      ValueError: they do not fit together.
    """

    dtype: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    data: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.shape))) or any(side < 0 for side in self.shape):
            raise ValueError(f"a weight of shape {self.shape} in order {self.order}")
        if math.prod(self.shape) * ITEM_BYTES[self.dtype] != self.data.nbytes:
            raise ValueError(f"a weight of shape {self.shape} and {self.dtype} in {self.data.nbytes} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSize:
    """What was compiled for one image size.

    Attributes:
      plan: of the network, on the canvas where there is one.
      weights: by name.
      dense_macs: multiply-accumulates of the network on the image itself; 0: those of the plan.
    """

    plan: Plan
    weights: Mapping[str, SavedArray]
    dense_macs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedProgram:
    """A generated C++ program and its compiled form.

    Attributes:
      name: of its entry in the kernel cache.
      isa: instruction set that it was compiled for.
      machine: kind of processor, as `platform.machine()` names it.
      compiler_id, flags: what compiled it.
      text: C++ source.
      library: the shared library.

    Raises:
      ValueError: a name that is none: it becomes that of a directory.
    """

    name: str
    isa: str
    machine: str
    compiler_id: str
    flags: tuple[str, ...]
    text: str
    library: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", self.name):
            raise ValueError(f"a program of name {self.name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """All that a file holds.

    Attributes:
      options: that the model was compiled with; `backend` is the one that ran and `dtype` the one that was stored,
        `dump_dir` is None.
      sizes: at least one; the size compiled last is the last.
      programs: compiled code, for any number of instruction sets.
      profile: a threshold profile as plain values; None: none was given.
      outputs: what is known of the outputs: task, head and class names as plain values; None: nothing.
      facts: who wrote it, for people.
      path: where it was read from; empty before.
    """

    options: CompileOptions
    sizes: tuple[SavedSize, ...]
    programs: tuple[SavedProgram, ...] = ()
    profile: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""

    def __repr__(self) -> str:
        sizes = ", ".join(f"{height}x{width}" for height, width in self.image_sizes)
        where = f"{self.path!r}, " if self.path else ""
        kind = f"{self.options.backend} in {self.options.dtype}"
        return f"SavedModel({where}{kind}, sizes {sizes}, {len(self.programs)} programs)"

    @property
    def image_shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """`(1, C, H, W)` of the images of each size, without the canvas."""
        grown = self.options.canvas_px
        shapes = []
        for size in self.sizes:
            _, channels, height, width = size.plan.value(size.plan.input).shape
            shapes.append((1, channels, height - grown, width - grown))
        return tuple(shapes)

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        """(H, W) of the images of each size, in pixels."""
        return tuple(shape[2:] for shape in self.image_shapes)


def write_saved(saved: SavedModel, path: Path) -> int:
    """Writes a saved model; a reader never sees half of it. Returns the bytes written.

    Raises:
      OSError: it cannot be written.
    """
    parts: list[NDArray[np.uint8]] = []
    known: dict[bytes, int] = {}

    def part(data: bytes | NDArray[np.uint8]) -> int:
        """Index of a part; equal ones are kept once: sizes share most of their weights."""
        raw = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        digest = hashlib.sha256(raw.tobytes()).digest()
        if digest not in known:
            known[digest] = len(parts)
            parts.append(raw)
        return known[digest]

    header = {
        "options": {name: getattr(saved.options, name) for name in _OPTIONS},
        "sizes": [
            {
                "plan": part(size.plan.to_json().encode()),
                "digest": size.plan.digest(),
                "dense_macs": size.dense_macs,
                "weights": {
                    name: [array.dtype, array.shape, array.order, part(array.data)]
                    for name, array in size.weights.items()
                },
            }
            for size in saved.sizes
        ],
        "programs": [
            asdict(program) | {"text": part(program.text.encode()), "library": part(program.library)}
            for program in saved.programs
        ],
        "profile": saved.profile,
        "outputs": saved.outputs,
        "facts": dict(saved.facts),
    }
    content = container_bytes(Container(header, parts))
    write_whole(path, content)
    return len(content)


def read_saved(path: Path | str) -> SavedModel:
    """Reads what `write_saved` wrote. Programs in it are not loaded.

    Raises:
      ModelError: the file is missing, of another kind or version, truncated, altered, or holds what no model has.
    """
    container = read_container(Path(path))
    header, parts = container.header, container.parts
    try:
        sizes = tuple(_size(entry, parts) for entry in header["sizes"])
        if not sizes:
            raise ValueError("no size")
        unknown = sorted(set(header["options"]) - {f.name for f in fields(CompileOptions)})
        if unknown:
            raise ValueError(f"options {', '.join(unknown)}")
        saved = SavedModel(
            options=CompileOptions(**header["options"]),
            sizes=sizes,
            programs=tuple(_program(entry, parts) for entry in header["programs"]),
            profile=header["profile"],
            outputs=header["outputs"],
            facts=header["facts"],
            path=str(path),
        )
        if min(min(size) for size in saved.image_sizes) < 1:
            raise ValueError(f"a canvas of {saved.options.canvas_px} px leaves images of {saved.image_sizes}")
        return saved
    except (FluxShardError, *_DAMAGE) as error:
        raise ModelError(
            f"saved model {str(path)!r} holds what this version does not read ({type(error).__name__}: {error}): "
            "export it again"
        ) from error


def _size(entry: Mapping[str, Any], parts: Any) -> SavedSize:
    text = parts[entry["plan"]].tobytes()
    if hashlib.sha256(text).hexdigest() != entry["digest"]:
        raise ValueError("a plan of another digest")
    plan = Plan.from_json(text.decode())
    verify(plan)  # all that reads a plan takes its rules for granted
    weights = {
        name: SavedArray(dtype=dtype, shape=tuple(shape), order=tuple(order), data=parts[index])
        for name, (dtype, shape, order, index) in entry["weights"].items()
    }
    for spec in plan.weights:
        if (weights[spec.name].shape, weights[spec.name].dtype) != (spec.shape, spec.dtype):
            raise ValueError(f"weight {spec.name} is not that of the plan")
    return SavedSize(plan=plan, weights=weights, dense_macs=int(entry["dense_macs"]))


def _program(entry: Mapping[str, Any], parts: Any) -> SavedProgram:
    return SavedProgram(
        **{
            **entry,
            "flags": tuple(entry["flags"]),
            "text": parts[entry["text"]].tobytes().decode(),
            "library": parts[entry["library"]].tobytes(),
        }
    )
