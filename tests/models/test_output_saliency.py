"""Saliency of a real network's maps on a real clip: less work, and results nearer to the dense network's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fluxshard
from fluxshard.models.loading.load import load
from fluxshard.options import PlannedOptions, ReuseOptions
from fluxshard.pipeline.saliency.output_saliency import TAU_BACKGROUND, OutputSaliency
from fluxshard.pipeline.stream_loop import StreamLoop

pytest.importorskip("ultralytics", reason="needs the ultralytics package")

SIZE, FRAMES = (192, 320), 12
CLIP, WEIGHTS = "videos/carnd_solidWhiteRight_540p25.mp4", "weights/yolo11n-seg.pt"


def test_a_road_takes_less_work_than_thresholds_alone_can_spare(data_dir):
    """The outputs of a segmentation network as they are: heads that are no maps, and prototypes of masks that are."""
    for name in (CLIP, WEIGHTS):
        if not (data_dir / name).is_file():
            pytest.skip(f"no {name} in {data_dir}")
    with pytest.warns(UserWarning, match="runs Python code"):
        net = load(data_dir / WEIGHTS, "raw").net
    model = fluxshard.compile(net, torch.zeros(1, 3, *SIZE))
    raised = PlannedOptions(tau=0.04, tau_small=None, tau_background=None)
    near = PlannedOptions(tau_background=TAU_BACKGROUND)
    settings = {
        "untold": (PlannedOptions(), None),
        "raised": (raised, None),
        "salient": (near, OutputSaliency(SIZE, 0.025)),
    }
    work, error = {}, {}
    with (
        fluxshard.video.open(data_dir / CLIP, size=SIZE, max_frames=FRAMES, packets=True) as video,
        torch.inference_mode(),
    ):
        frames = [(frame.image, frame.motion) for frame in video]
    with torch.inference_mode():
        dense = [net(image)[1] for image, _ in frames]
    for name, (planned, saliency) in settings.items():
        with model.session(ReuseOptions(policy="planned", planned=planned)) as session, torch.inference_mode():
            loop = StreamLoop(session=session, objects=planned, saliency=saliency)
            steps = [loop.step(image, motion) for image, motion in frames]
        work[name] = np.mean([step.stats.compute_ratio for step in steps[1:]])
        error[name] = np.mean(
            [float((step.outputs[1] - expected).abs().mean()) for step, expected in zip(steps, dense, strict=True)]
        )
        assert [step.regions is None for step in steps] == [saliency is None or index == 0 for index in range(FRAMES)]
    assert work["salient"] < 0.75 * work["untold"]
    # a larger threshold everywhere saves less, and loses more
    assert work["salient"] < work["raised"] and error["salient"] < error["raised"]
