"""What a frame's latency is predicted from, before it runs."""

from __future__ import annotations

from fluxshard.runtime.engines.engine import StepCounts
from fluxshard.runtime.planned.planner import PlannedFrame
from fluxshard.runtime.planned.policy import PlannedProposal
from fluxshard.runtime.reuse.policy import Proposal


def work_features(proposal: Proposal) -> tuple[float, ...]:
    """Kinds of work of a proposed frame, 0..1 each: as many for every frame of one plan under one policy.

    Returns:
      planned reuse: the share of multiply-accumulates, then the share of recomputed shards per level; propagated
      reuse: rho, the share of recomputed pixels. All are 1 for a keyframe.
    """
    if isinstance(proposal, PlannedProposal):
        return planned_features(proposal.frame)
    return (proposal.predicted_work,)


def planned_features(frame: PlannedFrame) -> tuple[float, ...]:
    """The same for all work of a planned frame."""
    return (frame.work_ratio, *frame.level_shares)


def features_of_run(planned: PlannedFrame | None, counts: StepCounts, image_cells: int) -> tuple[float, ...]:
    """The same for a frame that has run, so that it need not be proposed a second time.

    Args:
      planned: `Session.planned` of the frame.
      counts: `Session.counted` of the frame.
      image_cells: of the plan's first grid: pixels of the image, or of the canvas.
    """
    return (counts.input_cells / image_cells,) if planned is None else planned_features(planned)
