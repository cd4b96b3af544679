"""What methods take of memory: of their caches, and in all, each in a process of its own."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from fluxshard.errors import EvaluationError
from fluxshard.evaluate.data.clips import Clip, PreparedClip, prepare
from fluxshard.evaluate.end_to_end.content.recordings import FOLDER, Networks
from fluxshard.evaluate.end_to_end.live.memory import forget_peak, peak_mib
from fluxshard.evaluate.end_to_end.settings import Role
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method import Coach, Method, Reuse
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.files import write_whole
from fluxshard.models.loading.loaded_model import LoadedModel

TORCH = "dense, PyTorch"
ROLES: tuple[Role, ...] = ("dense", "coach", "deltacnn", "motion-deltacnn", "propagated", "planned", "carried")
"""Whose memory is measured: the others' differs in nothing."""
FRAMES = 8  # that are run; no method takes more after the second one
_FORMAT = 1
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodMemory:
    """Of one method.

    Attributes:
      name: of the method, or `TORCH`.
      cached_bytes: that it keeps from frame to frame to reuse; 0 for the dense network, whatever the engine holds.
      peak_mib: most resident memory of a process that runs frames with it, the network's weights and torch included;
        without what compiling and the first frame take; NaN where the kernel does not tell.
    """

    name: str
    cached_bytes: int
    peak_mib: float


def method_memory(
    setup: Setup,
    clip: Clip,
    methods: Mapping[Role, Method],
    out: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[MethodMemory, ...]:
    """Memory of the network in PyTorch and of `ROLES`; measured once, one after the other.

    Args:
      setup: network, size and backend.
      clip: whose frames run.
      methods: by role.
      out: directory of the evaluation.
      tell: receives lines of text.

    Raises:
      EvaluationError: the clip cannot be read, or what is stored is damaged.
    """
    taken: list[Method | None] = [None, *(methods[role] for role in ROLES)]
    path = _path(setup, clip, taken, out)
    if not path.exists():
        found = []
        # a process each: what one has taken, the next would have too
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
            for method in taken:
                tell(f"memory of {TORCH if method is None else method.name}")
                found.append(pool.submit(measured, setup, clip, method).result())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (json.dumps([asdict(one) for one in found]) + "\n").encode())
    try:
        return tuple(MethodMemory(**one) for one in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EvaluationError(f"{str(path)!r} cannot be read ({error}): delete it, and evaluate again") from error


def measured(setup: Setup, clip: Clip, method: Method | None) -> MethodMemory:
    """Memory of a method in this process.

    Args:
      setup: network, size and backend.
      clip: whose frames run.
      method: None for the network in PyTorch.

    Raises:
      EvaluationError: the clip cannot be read.
    """
    warnings.simplefilter("ignore")
    torch.set_num_threads(setup.threads)
    networks = Networks(setup)
    frames = prepare(clip, networks.size_of(clip), FRAMES, encoded=True)
    if method is None:
        run = _torch_step(networks.loaded)
        _run(frames, lambda index: run(frames.image(index)))
        return MethodMemory(name=TORCH, cached_bytes=0, peak_mib=peak_mib())
    network = networks.at(networks.size_of(clip))
    stream = method.start(network)

    def step(index: int) -> None:
        stream(frames.image(index), frames.motion[index])

    _run(frames, step)
    peak = peak_mib()
    return MethodMemory(name=method.name, cached_bytes=cached_bytes(method, network, frames), peak_mib=peak)


def _run(frames: PreparedClip, step: Callable[[int], object]) -> None:
    """Runs all frames; memory is counted from the second one on."""
    for index in range(len(frames)):
        step(index)
        if index == 0:
            forget_peak(os.getpid())


def _torch_step(loaded: LoadedModel) -> Callable[[Tensor], object]:
    net = loaded.net.module() if isinstance(loaded.net, ExportedProgram) else loaded.net

    def step(image: Tensor) -> object:
        with torch.inference_mode():
            return net(image)

    return step


def cached_bytes(method: Method, network: CompiledNetwork, frames: PreparedClip) -> int:
    """What a method keeps from frame to frame to reuse.

    Args:
      method: the method.
      network: the network.
      frames: two or more.
    """
    if isinstance(method, Coach):
        return _FLOAT_BYTES * frames.image(0).numel()  # the picture that the next ones are compared with
    if not isinstance(method, Reuse) or method.whole:
        return 0
    with network.model(method.canvas_px).session(method.options) as session:
        for index in range(2):
            session.run(frames.image(index), frames.motion[index])
        return session.state_bytes


def _path(setup: Setup, clip: Clip, methods: list[Method | None], out: Path) -> Path:
    weights = hashlib.sha256(Path(setup.weights).read_bytes()).hexdigest()
    of = [None if one is None else {"name": one.name, **one.facts} for one in methods]
    facts = [_FORMAT, weights, setup.size, setup.task, setup.backend, str(clip.source.resolve()), FRAMES, of]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return out / FOLDER / f"{clip.name}-memory-{digest}.json"
