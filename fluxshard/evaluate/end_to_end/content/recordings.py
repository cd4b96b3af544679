"""Recordings of clips on disk: made once, and found again by all that they depend on."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxshard import video
from fluxshard.cloud.wire.messages import PROTOCOL
from fluxshard.cloud.wire.pixels.jpeg_stream import encode_jpeg
from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip, PreparedClip, prepare
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.jpeg_sent import QUALITY
from fluxshard.evaluate.methods.method import Method, Reuse
from fluxshard.evaluate.methods.ssim import ssim
from fluxshard.evaluate.offload.content.recorded_content import RecordedContent
from fluxshard.evaluate.offload.content.recorder import RecordingOptions, record_content
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.files import write_whole
from fluxshard.models.loading.load import load
from fluxshard.models.loading.loaded_model import LoadedModel
from fluxshard.models.loading.sizes import network_shape
from fluxshard.options import CompileOptions, ReuseOptions

FOLDER = "content"
AGES = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # of caches, in captured frames
FORMAT = 1  # of what is stored here; another one is recorded again

OnFrame = Callable[[int, int], None]
Floats = NDArray[np.float64]


class Networks:
    """The network at the sizes of clips; loaded and compiled when it is needed, for nothing where all is recorded.

    Args:
      setup: of the evaluation.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._loaded: LoadedModel | None = None
        self._networks: dict[tuple[int, int], CompiledNetwork] = {}

    @property
    def loaded(self) -> LoadedModel:
        """The network as read from its file."""
        if self._loaded is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # weights run code; whoever gives them trusts them
                self._loaded = load(self._setup.weights, self._setup.task)
        return self._loaded

    def size_of(self, clip: Clip) -> tuple[int, int]:
        """(H, W) of the image of a clip."""
        with video.open(clip.source, max_frames=1) as source:
            return network_shape(self._setup.size, source.picture_size, self.loaded)

    def at(self, size: tuple[int, int]) -> CompiledNetwork:
        """The network at a size."""
        if size not in self._networks:
            options = CompileOptions(backend=self._setup.backend)
            self._networks[size] = CompiledNetwork(self.loaded, size, options)
        return self._networks[size]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """What whole pictures of a clip take and how alike they are; see `Material`.

    Attributes:
      jpeg_bytes: `(frames,)`.
      similarity: `(frames, ages)` for the ages of `AGES`; NaN where there is no such frame.
    """

    jpeg_bytes: Floats
    similarity: Floats


class Recordings:
    """Recordings of one evaluation.

    Args:
      setup: network, size and frames.
      networks: of that setup.
      out: directory of the evaluation.
    """

    def __init__(self, setup: Setup, networks: Networks, out: Path) -> None:
        self._setup, self._networks, self._folder = setup, networks, out / FOLDER
        weights = Path(setup.weights)
        self._facts = {
            "format": FORMAT, "weights": hashlib.sha256(weights.read_bytes()).hexdigest(), "size": setup.size,
            "task": setup.task, "max_frames": setup.max_frames, "ages": AGES,
        }  # fmt: skip

    def content(self, clip: Clip, method: Method, on_frame: OnFrame = lambda _done, _all: None) -> RecordedContent:
        """Work and bytes of a clip under the reuse of a method; recorded where it is not there yet.

        Raises:
          EvaluationError: the clip cannot be read, or what is stored is damaged.
        """
        assert isinstance(method, Reuse)
        reuse = method.options
        if method.motion == "blocks":  # neither changes which pixels go up
            reuse = replace(reuse, rfap=ReuseOptions().rfap, execution=ReuseOptions().execution)
        path = self._path("work", clip, {"reuse": repr(reuse), "motion": method.motion, "protocol": PROTOCOL})
        if not path.exists():
            network = self.network(clip)
            options = RecordingOptions(
                reuse=reuse, ages=AGES, max_frames=self._setup.max_frames, motion=method.motion  # type: ignore[arg-type]
            )  # fmt: skip
            record_content(clip, network, options, on_frame).save(path)
        return RecordedContent.load(path)

    def pictures(self, clip: Clip) -> Pictures:
        """Whole pictures of a clip; measured where that has not been done yet.

        Raises:
          EvaluationError: the clip cannot be read, or what is stored is damaged.
        """
        path = self._path("pictures", clip, {"quality": QUALITY})
        if not path.exists():
            found = _pictures_of(self.prepared(clip))
            save_arrays(path, jpeg_bytes=found.jpeg_bytes, similarity=found.similarity)
        return Pictures(**load_arrays(path, "jpeg_bytes", "similarity"))

    def network(self, clip: Clip) -> CompiledNetwork:
        """The network at the clip's size."""
        return self._networks.at(self._networks.size_of(clip))

    def prepared(self, clip: Clip) -> PreparedClip:
        """The clip as all methods see it."""
        return prepare(clip, self._networks.size_of(clip), self._setup.max_frames, encoded=True)

    def path_of_moved(self, clip: Clip, method: Method, measure: str) -> Path:
        """Where the accuracy of moved results of a method is stored."""
        return self._path("moved", clip, {"method": method.name, **method.facts, "measure": measure})

    def _path(self, kind: str, clip: Clip, facts: Mapping[str, object]) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps([kind, str(clip.source.resolve()), self._facts, facts], sort_keys=True, default=str)
        return self._folder / f"{clip.name}-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.npz"


def _pictures_of(clip: PreparedClip) -> Pictures:
    sizes = np.array([len(encode_jpeg(pixels, QUALITY)) for pixels in clip.pixels], np.float64)
    similarity = np.full((len(clip), len(AGES)), np.nan)
    for frame in range(len(clip)):
        image = clip.image(frame)
        for column, age in enumerate(AGES):
            if age <= frame:
                similarity[frame, column] = ssim(image, clip.image(frame - age))
    return Pictures(jpeg_bytes=sizes, similarity=similarity)


def save_arrays(path: Path, **arrays: Floats) -> None:
    """Writes arrays atomically."""
    import io

    body = io.BytesIO()
    np.savez_compressed(body, **arrays)  # type: ignore[arg-type]
    write_whole(path, body.getvalue())


def load_arrays(path: Path, *names: str) -> dict[str, Any]:
    """Reads what `save_arrays` wrote.

    Raises:
      EvaluationError: missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names or stored.files}
    except Exception as error:  # damaged archives raise anything
        raise EvaluationError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {error}): delete it, and evaluate again"
        ) from error
