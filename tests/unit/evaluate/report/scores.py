"""Made-up scores for the tests of tables, plots and reports."""

from __future__ import annotations

import math
from statistics import fmean, median

from fluxshard.evaluate.metrics.clip_scores import ClipScores, FrameScores


def clip_scores(clip, method, *, jaccard=0.8, compute=0.5, latency=10.0, facts=None, frames=(), **more):
    return ClipScores(
        clip=clip,
        method=method,
        facts={} if facts is None else facts,
        frames=tuple(frames),
        compute_ratio=compute,
        recompute_ratio=compute,
        tx_ratio=float("nan"),
        latency_ms=latency,
        jaccard=jaccard,
        **more,
    )


def frame_scores(*, compute=0.5, recompute=0.25, latency=10.0, motion=1.0, keyframe=False, **more):
    return FrameScores(
        compute_ratio=compute,
        recompute_ratio=recompute,
        tx_ratio=float("nan"),
        latency_ms=latency,
        motion_px=motion,
        keyframe=keyframe,
        **more,
    )


def evaluation(n_frames=12):
    """Two clips and five methods whose numbers follow simple rules; one setting of `frontier` is far off."""
    methods = (
        ("dense", {"family": "dense"}, 1.0, 0.0),
        ("frontier@1%", {"family": "frontier", "parameter": "1%"}, 0.5, 0.01),
        ("frontier@3%", {"family": "frontier", "parameter": "3%"}, 0.3, 0.03),
        ("frontier@far", {"family": "frontier", "parameter": "far"}, 0.1, 0.6),
        ("bare", {}, 0.7, 0.02),
    )
    return [
        _evaluated(clip, dense_jaccard, method, {**facts, "network": "yolo11n-seg"}, compute, loss, n_frames)
        for method, facts, compute, loss in methods
        for clip, dense_jaccard in (("bear", 0.9), ("cows", 0.6))
    ]


def two_methods():
    """Scores of `dense` and `ours` on clips a, b and c, of which c has a J of 0."""
    settings = {"family": "planned", "label": "ours", "parameter": "1%", "reference": "annotation J"}
    return [
        clip_scores("a", "dense", jaccard=0.8, compute=1.0, latency=20.0, miou=1.0, f1=1.0, ap=1.0, drift=0.0),
        clip_scores("b", "dense", jaccard=0.4, compute=1.0, latency=40.0, miou=1.0, f1=1.0, ap=1.0, drift=0.0),
        clip_scores("c", "dense", jaccard=0.0, compute=1.0, latency=10.0),
        clip_scores(
            "a", "ours", jaccard=0.76, compute=0.2, latency=5.0, facts=settings, miou=0.9, f1=0.8, ap=0.7,
            discovery_frames=(0, 4), drift=-0.02,
        ),
        clip_scores(
            "b", "ours", jaccard=0.36, compute=0.4, latency=20.0, facts=settings, miou=0.8, f1=0.6, ap=0.5,
            discovery_frames=(10,), drift=0.04,
        ),
        clip_scores("c", "ours", jaccard=0.02, compute=0.6, latency=math.nan, facts=settings, discovery_frames=(2, 2)),
    ]  # fmt: skip


def settings(*pairs, family="planned"):
    """Methods with (compute, accuracy) each, beside a dense network with an accuracy of 1 on one clip."""
    scores = [clip_scores("a", "dense", jaccard=1.0, compute=1.0)]
    for index, (compute, accuracy) in enumerate(pairs):
        facts = {"family": family, "parameter": f"p{index}"}
        scores.append(clip_scores("a", f"{family}-{index}", jaccard=accuracy, compute=compute, facts=facts))
    return scores


def lines_of(axis):
    """Points of the lines of matplotlib axes, by label."""
    return {line.get_label(): line.get_xydata() for line in axis.get_lines()}


def _evaluated(clip, dense_jaccard, method, facts, compute, loss, n_frames):
    frames = [
        frame_scores(
            compute=1.0 if index == 0 else compute + 0.01 * (index % 5),
            recompute=1.0 if index == 0 else compute * 0.5 + 0.01 * index,
            latency=5 + 70 * compute + index % 3,
            motion=0.5 * index,
            keyframe=index == 0,
            jaccard=dense_jaccard * (1 - loss) - 0.002 * index,
            miou=1 - loss,
            f1=1 - loss,
        )
        for index in range(n_frames)
    ]
    return clip_scores(
        clip,
        method,
        facts=facts,
        frames=frames,
        jaccard=fmean(frame.jaccard for frame in frames[1:]),
        compute=fmean(frame.compute_ratio for frame in frames[1:]),
        latency=median(frame.latency_ms for frame in frames[1:]),
        miou=1 - loss,
        f1=1 - loss,
        ap=1 - loss,
        discovery_frames=(0, int(100 * loss)),
        drift=-0.01 * loss,
    )
