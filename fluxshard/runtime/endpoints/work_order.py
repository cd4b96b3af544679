"""Work that one endpoint decides and another does: what has to travel so that both recompute the same cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fluxshard.errors import ShapeError
from fluxshard.geometry import Grid
from fluxshard.ir.plan import Plan
from fluxshard.options import ReuseOptions
from fluxshard.runtime.endpoints.quads import QUAD_PX, quad_mask, quad_pixels
from fluxshard.runtime.level_motion import Motion
from fluxshard.runtime.planned.levels import Level, levels_of
from fluxshard.runtime.planned.policy import PlannedProposal
from fluxshard.runtime.planned.shard_work import ShardWork
from fluxshard.runtime.reuse.policy import Proposal

Mask = NDArray[np.bool_]
Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkOrder:
    """The work of one frame.

    Attributes:
      keyframe: everything is recomputed; then there are no masks.
      masks: under planned reuse the recomputed shards of every level; under propagated reuse the quads of S_0.
    """

    keyframe: bool
    masks: tuple[Mask, ...] = ()


class WorkOrders(Protocol):
    """Makes orders from proposals, and cells from orders, for one plan and one policy."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(rows, columns) of an order's masks."""
        ...

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels that may move on their own; none under propagated reuse."""
        ...

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Grids of the plan."""
        ...

    def of(self, proposal: Proposal) -> WorkOrder:
        """The order that makes another endpoint do what was proposed."""
        ...

    def pixels(self, order: WorkOrder, motion: Motion | None) -> Mask:
        """S_0 of an order, `(H, W)`: the pixels that have to travel.

        Raises:
          ShapeError: masks of other shapes.
        """
        ...

    def work(self, order: WorkOrder, motion: Motion | None) -> dict[int, Mask]:
        """Cells to recompute per grid index; grids left out follow the values. Not for keyframes.

        Raises:
          ShapeError: masks of other shapes.
        """
        ...


def work_orders(plan: Plan, reuse: ReuseOptions) -> WorkOrders:
    """The orders of a plan under a policy."""
    return PlannedOrders(plan, reuse) if reuse.policy == "planned" else PropagatedOrders(plan)


class PlannedOrders:
    """See `WorkOrders`; the shards say everything, and are few.

    Args:
      plan: of the network.
      reuse: sizes of shards.
    """

    def __init__(self, plan: Plan, reuse: ReuseOptions) -> None:
        self._size = plan.image_size
        self.levels, self.grids = levels_of(plan, reuse.planned), tuple(plan.grids)
        self._shard_work = ShardWork(plan, self.levels)
        self.shapes: tuple[Shape, ...] = self._shard_work.shapes

    def of(self, proposal: Proposal) -> WorkOrder:
        """See `WorkOrders.of`."""
        if not isinstance(proposal, PlannedProposal) or proposal.keyframe:
            return WorkOrder(keyframe=True)
        return WorkOrder(keyframe=False, masks=proposal.frame.shards)

    def pixels(self, order: WorkOrder, motion: Motion | None) -> Mask:
        """See `WorkOrders.pixels`."""
        return np.ones(self._size, np.bool_) if order.keyframe else self.work(order, motion)[0]

    def work(self, order: WorkOrder, motion: Motion | None) -> dict[int, Mask]:
        """See `WorkOrders.work`."""
        _check(order, self.shapes)
        return self._shard_work(order.masks, motion)


class PropagatedOrders:
    """See `WorkOrders`; deeper layers follow the values on the endpoint that runs them.

    Args:
      plan: of the network.
    """

    def __init__(self, plan: Plan) -> None:
        self._size = plan.image_size
        height, width = self._size
        self.levels: tuple[Level, ...] = ()
        self.grids = tuple(plan.grids)
        self.shapes: tuple[Shape, ...] = ((-(-height // QUAD_PX), -(-width // QUAD_PX)),)

    def of(self, proposal: Proposal) -> WorkOrder:
        """See `WorkOrders.of`."""
        if proposal.keyframe:
            return WorkOrder(keyframe=True)
        return WorkOrder(keyframe=False, masks=(quad_mask(proposal.input_mask()),))

    def pixels(self, order: WorkOrder, motion: Motion | None) -> Mask:
        """See `WorkOrders.pixels`; pixels without a source are in the quads already."""
        return np.ones(self._size, np.bool_) if order.keyframe else self.work(order, motion)[0]

    def work(self, order: WorkOrder, motion: Motion | None) -> dict[int, Mask]:
        """See `WorkOrders.work`."""
        _check(order, self.shapes)
        return {0: quad_pixels(order.masks[0], self._size)}


def _check(order: WorkOrder, shapes: tuple[Shape, ...]) -> None:
    seen = tuple(mask.shape for mask in order.masks)
    if order.keyframe or seen != shapes:
        kind = "a keyframe" if order.keyframe else f"masks of {seen}"
        raise ShapeError(f"the order is {kind}; expected masks of {shapes}")
