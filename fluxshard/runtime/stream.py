"""One stream of a session, for one image size: what runs it, and what has been seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fluxshard.motion import MotionField
from fluxshard.options import ReuseOptions
from fluxshard.runtime.engines.engine import Engine, Mask, StreamState, Unflatten
from fluxshard.runtime.pixel_values import PixelValues
from fluxshard.runtime.planned.image_test import ReferenceImageTest
from fluxshard.runtime.planned.planner import MakeTest
from fluxshard.runtime.planned.policy import PlannedPolicy
from fluxshard.runtime.reuse.canvas import Canvas, Placement
from fluxshard.runtime.reuse.policy import Proposal, WorkPolicy
from fluxshard.runtime.reuse.propagated import PropagatedPolicy
from fluxshard.runtime.reuse.thresholds import tau_per_layer
from fluxshard.runtime.work_stats import WorkCounter


@dataclass(frozen=True, slots=True)
class Program:
    """A plan that can be run: what a session needs for one image size.

    Attributes:
      engine: runs frames.
      unflatten: leaves to the structure that the model returns.
      make_test: makes the image tests of planned reuse.
      canvas_px: how much larger than the image the engine's plan is, per axis.
      dense_macs: multiply-accumulates that work is counted against: those of the network on the image itself; 0 takes
        those of the engine's plan.
    """

    engine: Engine
    unflatten: Unflatten
    make_test: MakeTest = ReferenceImageTest
    canvas_px: int = 0
    dense_macs: int = 0


@dataclass(frozen=True, slots=True)
class Stream:
    """Program, state and policy of a session for one image size."""

    program: Program
    state: StreamState
    policy: WorkPolicy
    canvas: Canvas | None
    macs: WorkCounter
    size: tuple[int, ...]


def new_policy(program: Program, reuse: ReuseOptions) -> WorkPolicy:
    """What decides the work of a stream that has seen nothing."""
    plan, make_cache = program.engine.plan, program.engine.new_input_cache
    if reuse.policy == "planned":
        return PlannedPolicy(plan, reuse, program.make_test, make_cache)
    return PropagatedPolicy(plan, reuse, tau_per_layer(plan, reuse.tau), make_cache)


def new_canvas(program: Program, reuse: ReuseOptions, size: tuple[int, ...]) -> Canvas | None:
    """A canvas without an image, where the program has one.

    Args:
      program: of the stream.
      reuse: options of the session.
      size: `(1, C, H, W)` of its images.
    """
    if not program.canvas_px:
        return None
    pixels = PixelValues(*reuse.planned.pixel_range)
    return Canvas((size[2], size[3]), program.canvas_px, reuse.canvas_fill, pixels)


@dataclass(frozen=True, slots=True)
class Offer:
    """A proposal, where its frame lies on the canvas, and the motion that was given with it."""

    proposal: Proposal
    placement: Placement | None
    motion: MotionField | None


def laid_out(image: Tensor) -> Tensor:
    """An image as policies and engines take it: detached, and contiguous where it is not bytes."""
    if image.requires_grad:
        image = image.detach()
    return image if image.dtype == torch.uint8 else image.contiguous()


def propose(
    policy: WorkPolicy,
    canvas: Canvas | None,
    image: Tensor,
    motion: MotionField | None,
    work: Mapping[int, Mask] | None,
) -> Offer:
    """A policy's proposal for a frame, placed on the canvas where there is one.

    Raises:
      ShapeError: work that does not fit the plan.
    """
    given = motion = None if policy.is_fresh else motion
    image, placement = laid_out(image), None
    if canvas is not None:
        placement = canvas.place(image, motion)
        image, motion = placement.image, placement.motion
    if work is None:
        return Offer(policy.propose(image, motion), placement, given)
    return Offer(policy.propose_given(image, motion, work), placement, given)
