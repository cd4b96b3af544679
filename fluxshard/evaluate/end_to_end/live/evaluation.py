"""The evaluation over emulated links: the dense reference, the runs, their figures, and the report."""

from __future__ import annotations

import hashlib
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

import fluxshard
from fluxshard import video
from fluxshard.errors import EvaluationError, OptionError
from fluxshard.evaluate.data.clips import Clip
from fluxshard.evaluate.end_to_end.live.accuracy import Reference
from fluxshard.evaluate.end_to_end.live.figures import Measured, live_figures
from fluxshard.evaluate.end_to_end.live.options import LiveOptions
from fluxshard.evaluate.end_to_end.live.report import write_report
from fluxshard.evaluate.end_to_end.live.runs import FOLDER, LiveRun, Runs
from fluxshard.evaluate.end_to_end.settings import Settings
from fluxshard.evaluate.end_to_end.workload import Workload
from fluxshard.evaluate.experiment import measure_of
from fluxshard.evaluate.methods.method import dense_method
from fluxshard.evaluate.offload.link_trace import LinkTrace
from fluxshard.evaluate.runner import Runner
from fluxshard.evaluate.traces.trace import Trace
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape
from fluxshard.pipeline.device import cpu_name


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvaluation:
    """Request for an evaluation over emulated links.

    Attributes:
      clips: that are shown.
      setup: network, image size, frames of clips; `encoded` is taken for granted.
      settings: of the methods.
      workload: the paper's, whose edge's energy is taken.
      links: one per tier.
      options: of the runs.
      out: directory for everything.
      measure: accuracy, a name in `FrameScores`; None takes mean J where clips have annotations, else OKS or mIoU
        against the dense network.
      command: command line, for the report.
    """

    clips: tuple[Clip, ...]
    setup: Setup
    settings: Settings
    workload: Workload
    links: Mapping[str, LinkTrace]
    options: LiveOptions = field(default_factory=LiveOptions)
    out: Path
    measure: str | None = None
    command: str = ""


def run_live(
    request: LiveEvaluation,
    *,
    on_frames: Callable[[int], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Measured]:
    """Makes what is missing, and writes the report into the folder `FOLDER` of the output.

    Returns:
      all runs with their figures, those in which several edges share a link at the end.

    Raises:
      EvaluationError: nothing to run, clips of several sizes, or a process failed; what was finished remains.
      OptionError: a link is shared whose tier is not among the links.
      TransportError: the link cannot be made.
    """
    if not request.clips or not request.links:
        raise EvaluationError("nothing to run: give clips and link traces")
    unknown = sorted(set(request.options.shared_tiers) - set(request.links))
    if unknown and request.options.edges:
        raise OptionError(f"several edges share links of {', '.join(unknown)}: there are {', '.join(request.links)}")
    setup = replace(request.setup, encoded=True)
    request.out.mkdir(parents=True, exist_ok=True)
    size = _size(setup, request.clips)
    tell("the dense network on every frame")
    stored = Runner(setup, request.out).run(
        [(dense_method(), clip) for clip in request.clips], workers=1, on_frames=on_frames, on_trace=tell
    )
    references = [Reference.of(clip, Trace.load(entry.path)) for clip, entry in zip(request.clips, stored, strict=True)]
    measure = request.measure or measure_of([one.scores() for one in references])
    weights = hashlib.sha256(Path(setup.weights).read_bytes()).hexdigest()
    runs = Runs(
        setup=setup,
        weights=weights, settings=request.settings, size=size, clips=request.clips, links=request.links,
        options=request.options, out=request.out, tell=tell,
    )  # fmt: skip

    def measured_of(run: LiveRun) -> Measured:
        of_answers = references * (run.edges or 1)
        pairs = [one.accuracy(answers, measure) for one, answers in zip(of_answers, run.answers, strict=True)]
        own, dense = [one for one, _ in pairs], [one for _, one in pairs]
        figures = live_figures(run, own, dense, 3 * size[0] * size[1], request.workload.energy)
        return Measured(run=run, figures=figures)

    single, shared = runs.run(), runs.run_shared()
    tell("figures")
    measured, together = [measured_of(run) for run in single], [measured_of(run) for run in shared]
    description = {
        "command": request.command,
        "weights": Path(setup.weights).stem,
        "size": f"{size[0]}x{size[1]}",
        "clips": [clip.name for clip in request.clips],
        "measure": measure,
        "settings": asdict(request.settings),
        "versions": f"fluxshard {fluxshard.__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        "machine": f"{cpu_name()}, {platform.system()} {platform.release()}",
    }
    write_report(measured, together, request.options, request.workload.energy, request.out / FOLDER, description)
    return [*measured, *together]


def typical(traces: Sequence[LinkTrace], seconds: int) -> LinkTrace:
    """The link whose median rate over its first seconds is the middle one of all.

    Args:
      traces: of a tier, at least one.
      seconds: that are used of it.
    """
    return sorted(traces, key=lambda one: (statistics.median(one.mbps[:seconds]), one.name))[len(traces) // 2]


def _size(setup: Setup, clips: tuple[Clip, ...]) -> tuple[int, int]:
    """(H, W) of the images: the same for all clips, as one server runs one size."""
    loaded, sizes = load(setup.weights, setup.task), set()
    for clip in clips:
        with video.open(clip.source, max_frames=1) as source:
            sizes.add(network_shape(setup.size, source.shown_size, loaded))
    if len(sizes) > 1:
        found = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
        raise EvaluationError(f"clips would be shown at {found}; give one --size, such as 384x640")
    (size,) = sizes
    return size
