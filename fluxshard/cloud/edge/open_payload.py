"""What an edge sends, by the payload's name."""

from __future__ import annotations

from fluxshard.cloud.edge.options import PayloadName
from fluxshard.cloud.edge.payloads import SparsePayload
from fluxshard.cloud.wire.raw_payload import RawPayload
from fluxshard.errors import OptionError
from fluxshard.runtime.endpoints.work_order import WorkOrders


def open_payload(name: PayloadName, orders: WorkOrders, size: tuple[int, int]) -> SparsePayload:
    """Makes the messages of a stream's frames.

    Raises:
      OptionError: a payload that this installation does not have.
    """
    if name == "raw":
        return SparsePayload(RawPayload(*size), orders, size)
    raise OptionError(f"payload (={name!r}) is not available here")
