"""Whose stream it is: the same caller takes over, another one is refused."""

from __future__ import annotations

import pytest

from fluxshard.cloud.server.admission.claims import Claims
from fluxshard.errors import RefusedError


def test_a_stream_is_owned_while_it_is_claimed() -> None:
    claims = Claims()
    with claims.claim("door", "alice", lambda: None) as epoch:
        assert epoch > 0 and len(claims) == 1
        assert claims.owns("door", "alice") and not claims.owns("door", "bob") and not claims.owns("gate", "alice")
        with claims.claim("gate", "alice", lambda: None) as later:
            assert later > epoch and claims.count("alice") == 2 and claims.count("bob") == 0
    assert len(claims) == 0 and not claims.owns("door", "alice")


def test_the_same_caller_takes_over_with_a_higher_epoch() -> None:
    claims, lost = Claims(), []
    first = claims.claim("door", "alice", lambda: lost.append("first"))
    second = claims.claim("door", "alice", lambda: lost.append("second"))
    before = first.__enter__()
    assert second.__enter__() > before and lost == ["first"]
    first.__exit__(None, None, None)
    assert claims.owns("door", "alice"), "the end of the first connection is not the end of the second one's claim"
    second.__exit__(None, None, None)
    assert len(claims) == 0 and lost == ["first"]


def test_another_caller_is_refused_and_disturbs_nobody() -> None:
    claims, lost = Claims(), []
    with claims.claim("door", "alice", lambda: lost.append("alice")):
        with (
            pytest.raises(RefusedError, match="belongs to another caller") as refused,
            claims.claim("door", "bob", lambda: None),
        ):
            pass
        assert refused.value.reason == "taken" and lost == [] and claims.owns("door", "alice")
    with claims.claim("door", "bob", lambda: None):
        assert claims.owns("door", "bob")


def test_epochs_never_come_back() -> None:
    claims, seen = Claims(), []
    for caller in ("alice", "bob", "alice"):
        with claims.claim("door", caller, lambda: None) as epoch:
            seen.append(epoch)
    assert seen == sorted(set(seen))


def test_an_error_inside_ends_the_claim() -> None:
    claims = Claims()
    with pytest.raises(ZeroDivisionError), claims.claim("door", "alice", lambda: None):
        raise ZeroDivisionError
    assert len(claims) == 0
