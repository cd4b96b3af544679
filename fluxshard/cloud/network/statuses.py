"""How a refusal travels: as the status of a gRPC call, with the reason and the time to wait beside it."""

from __future__ import annotations

from collections.abc import Iterable

import grpc

from fluxshard.errors import RefusedError, TransportError

REASON, RETRY_AFTER = "reason", "retry-after-ms"
MAX_RETRY_MS = 3_600_000

_CODES = {
    "full": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "draining": grpc.StatusCode.UNAVAILABLE,
    "model": grpc.StatusCode.FAILED_PRECONDITION,
    "protocol": grpc.StatusCode.FAILED_PRECONDITION,
    "identity": grpc.StatusCode.PERMISSION_DENIED,
    "taken": grpc.StatusCode.ALREADY_EXISTS,
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "failed": grpc.StatusCode.INTERNAL,
}
# of servers, proxies and load balancers that know nothing of the reasons above
_FOREIGN = {
    grpc.StatusCode.UNAUTHENTICATED: "identity",
    grpc.StatusCode.PERMISSION_DENIED: "identity",
    grpc.StatusCode.UNIMPLEMENTED: "protocol",
}
_PLAIN = (
    ("too many pings", "it does not allow keepalive pings this often"),
    ("connection refused", "nothing listens there (connection refused)"),
    ("domain name not found", "its name cannot be resolved"),
    ("hostname verification", "its certificate is for another host name"),
    ("certificate has expired", "its certificate has expired"),
    ("certificate_verify_failed", "its certificate is not of the given authority, or not valid now"),
    ("cancelling all calls", "it has stopped"),
    ("stream removed", "the connection was closed"),
    ("connection reset", "the connection was closed"),
)
_CLOSED = "it closed the connection at once: it refuses this certificate, or only one side has TLS"
_MOST_TEXT, _MOST_SEARCHED = 200, 4000


def code_of(error: RefusedError) -> grpc.StatusCode:
    """The status of a refusal."""
    return _CODES.get(error.reason, grpc.StatusCode.UNKNOWN)


def trailing_metadata(error: RefusedError) -> tuple[tuple[str, str], ...]:
    """What is sent beside the status."""
    found = [(REASON, error.reason)]
    if error.retry_after_s is not None:
        found.append((RETRY_AFTER, str(min(MAX_RETRY_MS, max(0, round(1e3 * error.retry_after_s))))))
    return tuple(found)


def error_of(failure: grpc.aio.AioRpcError, address: str, *, opened: bool) -> TransportError:
    """What a failed call means to an edge. The texts in it come from the network.

    Args:
      failure: of the call.
      address: of the server.
      opened: the server has answered before.
    """
    code, text = failure.code(), _printable((failure.details() or "")[:_MOST_SEARCHED])
    metadata = dict(_pairs(failure.trailing_metadata()))
    reason = metadata.get(REASON, "")
    if reason in _CODES:
        said = text[:_MOST_TEXT] or f"the server refuses: {reason}"
        return RefusedError(said, reason=reason, retry_after_s=_retry_s(metadata))
    if code in _FOREIGN:
        what = "runs no FluxShard of this version" if code == grpc.StatusCode.UNIMPLEMENTED else "refuses this edge"
        return RefusedError(f"{address} {what}: {text[:_MOST_TEXT] or code.name}", reason=_FOREIGN[code])
    plain = _plain(text, code, opened=opened)
    return TransportError(f"the link to {address} was lost: {plain}" if opened else f"cannot reach {address}: {plain}")


def wants_fewer_pings(failure: grpc.aio.AioRpcError) -> bool:
    """Whether a server ended the connection because of keepalive pings."""
    return "too many pings" in (failure.details() or "").lower().replace("_", " ")


def _plain(text: str, code: grpc.StatusCode, *, opened: bool) -> str:
    low = text.lower().replace("too_many_pings", "too many pings")
    found = next((words for sign, words in _PLAIN if sign in low), "")
    if not found and not opened and ("socket closed" in low or "handshake" in low):
        return _CLOSED
    return found or text.rpartition("last error: ")[2][:_MOST_TEXT] or code.name


def _pairs(metadata: Iterable[tuple[str, str | bytes]] | None) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in metadata or () if isinstance(value, str))


def _retry_s(metadata: dict[str, str]) -> float | None:
    text = metadata.get(RETRY_AFTER, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None
    return min(MAX_RETRY_MS, int(text)) / 1e3


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
