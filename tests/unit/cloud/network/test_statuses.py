"""Refusals as statuses, there and back, and what servers of others may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("grpc", reason="grpcio is not installed: pip install '.[cloud]'")

import grpc

from fluxshard.cloud.network.statuses import MAX_RETRY_MS, code_of, error_of, trailing_metadata, wants_fewer_pings
from fluxshard.errors import RefusedError, TransportError

REASONS = ["full", "draining", "model", "protocol", "identity", "taken", "invalid", "failed"]


def failed(code: grpc.StatusCode, details: str | None, *metadata: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details=details)


def back(error: RefusedError) -> TransportError:
    return error_of(failed(code_of(error), str(error), *trailing_metadata(error)), "a:1", opened=True)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("retry", [None, 0.0, 1.0, 0.25])
def test_there_and_back(reason: str, retry: float | None) -> None:
    found = back(RefusedError("words", reason=reason, retry_after_s=retry))
    assert isinstance(found, RefusedError)
    assert (str(found), found.reason, found.retry_after_s) == ("words", reason, retry)


def test_statuses_are_those_that_others_expect() -> None:
    codes = {reason: code_of(RefusedError("", reason=reason)).name for reason in REASONS}
    assert codes == {
        "full": "RESOURCE_EXHAUSTED",
        "draining": "UNAVAILABLE",
        "model": "FAILED_PRECONDITION",
        "protocol": "FAILED_PRECONDITION",
        "identity": "PERMISSION_DENIED",
        "taken": "ALREADY_EXISTS",
        "invalid": "INVALID_ARGUMENT",
        "failed": "INTERNAL",
    }


@pytest.mark.parametrize("text", ["", "-1", "1e3", "9999999999", "٣", "1.5", " 1", "x"])
def test_times_to_wait_that_are_none(text: str) -> None:
    error = error_of(
        failed(grpc.StatusCode.INTERNAL, "", ("reason", "full"), ("retry-after-ms", text)), "a:1", opened=True
    )
    assert isinstance(error, RefusedError) and error.retry_after_s is None and "full" in str(error)


def test_nobody_is_told_to_wait_for_ever() -> None:
    assert back(RefusedError("", reason="full", retry_after_s=1e9)).retry_after_s == MAX_RETRY_MS / 1e3


@given(
    st.sampled_from(list(grpc.StatusCode)),
    st.none() | st.text(max_size=6000),
    st.lists(st.tuples(st.sampled_from(["reason", "retry-after-ms", "x"]), st.text(max_size=300)), max_size=4),
    st.booleans(),
)
def test_whatever_comes_is_one_printable_line(code, details, metadata, opened) -> None:
    error = error_of(failed(code, details, *metadata), "a:1", opened=opened)
    assert isinstance(error, TransportError) and str(error).isprintable() and len(str(error)) < 400
    if isinstance(error, RefusedError):
        assert error.reason in REASONS
        assert error.retry_after_s is None or 0 <= error.retry_after_s <= MAX_RETRY_MS / 1e3


def test_too_many_pings_are_noticed_in_either_spelling() -> None:
    assert wants_fewer_pings(failed(grpc.StatusCode.UNAVAILABLE, "Too many pings"))
    assert wants_fewer_pings(failed(grpc.StatusCode.UNAVAILABLE, "GOAWAY received; Debug Text: too_many_pings"))
    assert not wants_fewer_pings(failed(grpc.StatusCode.UNAVAILABLE, None))
