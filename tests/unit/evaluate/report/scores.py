"""Made-up scores for the tests of tables, pictures and reports."""

from __future__ import annotations

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
        _evaluated(clip, level, method, {**facts, "network": "yolo11n-seg"}, compute, loss, n_frames)
        for method, facts, compute, loss in methods
        for clip, level in (("bear", 0.9), ("cows", 0.6))
    ]


def _evaluated(clip, level, method, facts, compute, loss, n_frames):
    frames = [
        frame_scores(
            compute=1.0 if index == 0 else compute + 0.01 * (index % 5),
            recompute=1.0 if index == 0 else compute * 0.5 + 0.01 * index,
            latency=5 + 70 * compute + index % 3,
            motion=0.5 * index,
            keyframe=index == 0,
            jaccard=level * (1 - loss) - 0.002 * index,
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
