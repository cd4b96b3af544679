"""Figures of a report; which are drawn depends on the methods that were evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from fluxshard import video
from fluxshard.evaluate.data.clips import Clip, prepare
from fluxshard.evaluate.methods.compiled_network import CompiledNetwork
from fluxshard.evaluate.methods.method_sets import NamedThresholdProfile
from fluxshard.evaluate.metrics.clip_scores import ClipScores
from fluxshard.evaluate.report.accuracy_plots import draw_frontier, draw_naive_reuse
from fluxshard.evaluate.report.frame_plots import draw_latency, draw_reuse_over_motion
from fluxshard.evaluate.report.grouping import by_method, family_of
from fluxshard.evaluate.report.report import Example, Figure
from fluxshard.evaluate.report.timelines import draw_clip, draw_remap
from fluxshard.evaluate.traces.workers import Setup
from fluxshard.models.detections.draw import Picture, draw_caption, draw_detections, draw_work
from fluxshard.models.loading.load import load
from fluxshard.models.loading.sizes import network_shape
from fluxshard.options import CompileOptions, ReuseOptions
from fluxshard.pipeline.stream_loop import StreamLoop

SHOWN_CONFIDENCE = 0.25
MOST_EXAMPLE_FRAMES = 30


def draw_figures(scores: Sequence[ClipScores], folder: Path, measure: str) -> list[Figure]:
    """Draws all figures that the evaluated methods allow.

    Source: figures 1b, 1c, 1d and 6 of the paper.

    Args:
      scores: scores of all methods, the dense network included.
      folder: directory of the pictures; created if missing.
      measure: measure of accuracy, see `measures.measure_named`.

    Raises:
      EvaluationError: scores of a method or clip are missing, see `summary_rows`.
      OptionError: there is no such measure.
    """
    folder.mkdir(parents=True, exist_ok=True)
    methods = by_method(scores)
    families = {method: family_of(next(iter(clips.values()))) for method, clips in methods.items()}
    others = [method for method in methods if method != "dense"]
    figures: list[Figure] = []
    if not others:
        return figures
    path = draw_frontier(scores, folder / "frontier.png", measure=measure)
    figures.append(Figure(picture=path, title="Accuracy against compute", caption="One line per family of methods."))
    path = draw_frontier(
        scores, folder / "frontier_ms.png", measure=measure, over="time", title="Accuracy against time"
    )
    caption = (
        "Tasks ran beside each other, one thread each; the dashed vertical line is the dense network on this engine."
    )
    figures.append(Figure(picture=path, title="Accuracy against time", caption=caption))
    moving = _one_per_family(methods, families, ("deltacnn", "motion-deltacnn", "propagated", "planned"))
    if moving:
        path = draw_reuse_over_motion(scores, folder / "motion.png", methods=moving)
        figures.append(Figure(picture=path, title="Reuse against motion (the paper's Fig. 1b)"))
    without_check = next((method for method in others if method.endswith("w/o RFAP")), None)
    if without_check is not None:
        base = without_check.removesuffix(" w/o RFAP")
        bars = {"with the check": base, "naive reuse": without_check}
        path = draw_naive_reuse(scores, folder / "naive.png", methods=bars, measure=measure)
        figures.append(Figure(picture=path, title="Accuracy under naive reuse (Fig. 1c)"))
    without_remap = next((method for method in others if method.endswith("w/o remap")), None)
    if without_remap is not None:
        base = without_remap.removesuffix(" w/o remap")
        both = set(methods[base]) & set(methods[without_remap])
        clip = max(both, key=lambda name: len(methods[base][name].frames))
        path = draw_remap(scores, folder / "remap.png", clip=clip, with_remap=base, without_remap=without_remap)
        figures.append(Figure(picture=path, title="Caches with and without remapping (Fig. 1d)"))
    timed = [method for method in others if families[method] not in ("skip", "skip-moved", "coach")]
    if timed:
        path = draw_latency(scores, folder / "latency.png", methods=timed)
        figures.append(Figure(picture=path, title="Latency against compute (Fig. 6)"))
    profiles = [method for method in others if "@" in method and families[method] == "planned"]
    if profiles:
        clip, method = _worst(methods, profiles[0], measure)
        path = draw_clip(scores, folder / "worst.png", clip=clip, methods=[method], measure=measure)
        caption = f"The clip on which {method} loses most."
        figures.append(Figure(picture=path, title=f"Accuracy over the frames of {clip}", caption=caption))
    return figures


def _one_per_family(
    methods: dict[str, dict[str, ClipScores]], families: dict[str, str], wanted: Sequence[str]
) -> list[str]:
    """Middle setting of each wanted family that was evaluated."""
    chosen = []
    for family in wanted:
        members = [method for method in methods if families[method] == family]
        if members:
            chosen.append(members[len(members) // 2])
    return chosen


def _worst(methods: dict[str, dict[str, ClipScores]], method: str, measure: str) -> tuple[str, str]:
    """Clip on which the method retains the smallest fraction of the dense network's measure, and the method."""

    def retained(clip: str) -> float:
        mine, dense = getattr(methods[method][clip], measure), getattr(methods["dense"][clip], measure)
        return float(mine) / float(dense) if mine is not None and dense else 1.0

    return min(methods[method], key=retained), method


@torch.inference_mode()
def draw_examples(
    clips: Sequence[Clip], setup: Setup, named: Sequence[NamedThresholdProfile], folder: Path
) -> list[Example]:
    """Draws one frame of each clip with the detections and the recomputed area of planned reuse.

    Args:
      clips: clips to draw.
      setup: network, image size and backend.
      named: threshold profiles; the first planned one that is reported on a clip is used, else the default thresholds.
      folder: directory of the pictures; created if missing.

    Raises:
      EvaluationError: a clip cannot be read.
      OptionError: the network cannot be evaluated at the size.
    """
    if not clips:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    loaded = load(setup.weights, setup.task)
    subjects: dict[tuple[int, int], CompiledNetwork] = {}
    examples = []
    for clip in clips:
        reuse, canvas_px = ReuseOptions(policy="planned"), 0
        label = "shipped thresholds"
        for one in named:
            profiled = one.threshold_profile
            if profiled.reuse.policy == "planned" and (one.clips is None or clip.name in one.clips):
                reuse, canvas_px, label = profiled.reuse, profiled.canvas_px, one.label
                break
        with video.open(clip.source, max_frames=1) as source:
            shape = network_shape(setup.size, source.shown_size, loaded)
        if shape not in subjects:
            subjects[shape] = CompiledNetwork(loaded, shape, CompileOptions(backend=setup.backend))
        subject = subjects[shape]
        picture, caption = _example(clip, subject, reuse, canvas_px, setup.max_frames)
        path = folder / f"example-{clip.name}.jpg"
        Image.fromarray(picture).save(path, quality=88)
        examples.append(Example(picture=path, caption=f"{clip.name}, {label}: {caption}"))
    return examples


def _example(
    clip: Clip, subject: CompiledNetwork, reuse: ReuseOptions, canvas_px: int, max_frames: int | None
) -> tuple[Picture, str]:
    """Last of the first `MOST_EXAMPLE_FRAMES` frames with detections and recomputed area, and its caption."""
    prepared = prepare(clip, subject.shape, min(MOST_EXAMPLE_FRAMES, max_frames or MOST_EXAMPLE_FRAMES))
    box = prepared.letterbox
    lowest = min(SHOWN_CONFIDENCE, reuse.planned.region_confidence)
    with subject.model(canvas_px).session(reuse) as session:
        loop = StreamLoop(
            session=session,
            detect=lambda outputs: subject.detect(outputs, canvas_px, lowest),
            objects=reuse.planned,
        )
        for index in range(len(prepared)):
            last = loop.step(prepared.image(index), prepared.motion[index])
        assert last.found is not None  # a subject's head is known
        offset = (box.offset[0] + last.origin[0], box.offset[1] + last.origin[1])
        shown = last.found.select((last.found.scores > SHOWN_CONFIDENCE).nonzero()[0])
        rows, columns = box.crop
        pixels = prepared.pixels[-1][rows.start : rows.stop, columns.start : columns.stop]
        scale = (1.0, 1.0)
        picture = draw_work(pixels, session.work_map(), scale, offset)
        picture = draw_detections(picture, shown.to_picture(scale, offset, pixels.shape[:2]), subject.loaded.names)
        text = f"frame {len(prepared) - 1}, {last.stats.compute_ratio:.0%} of the dense work; tinted: recomputed"
    return draw_caption(picture, text), text
