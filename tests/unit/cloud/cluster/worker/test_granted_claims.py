"""A worker opens only what the front has placed on it, for whom, under the epoch that it was given."""

from __future__ import annotations

import pytest

from fluxshard.cloud.cluster.worker.granted_claims import GrantedClaims
from fluxshard.errors import RefusedError


def refused(claims: GrantedClaims, stream: str, identity: str, placed: int) -> RefusedError:
    with pytest.raises(RefusedError) as caught, claims.claim(stream, identity, lambda: None, placed=placed):
        pass
    return caught.value


def test_a_granted_stream_is_opened_once_and_its_end_is_told() -> None:
    claims = GrantedClaims(lambda: True)
    claims.grant("door", "alice", 7, until=10.0)
    with claims.claim("door", "alice", lambda: None, placed=7) as epoch:
        assert epoch == 7 and claims.open_streams == {"door": 7} and claims.take_ended() == ()
        assert refused(claims, "door", "alice", 7).reason == "draining", "a grant is good for one connection"
    assert claims.open_streams == {} and claims.take_ended() == (("door", 7),) and claims.take_ended() == ()


def test_others_are_sent_back_to_the_front() -> None:
    claims = GrantedClaims(lambda: True)
    assert refused(claims, "door", "alice", 0).retry_after_s is not None, "without a front"
    claims.grant("door", "alice", 7, until=10.0)
    for identity, placed in (("bob", 7), ("alice", 6), ("alice", 8), ("alice", 0)):
        assert refused(claims, "door", identity, placed).reason == "draining"
    assert claims.take_ended() == ()
    with claims.claim("door", "alice", lambda: None, placed=7):
        pass


def test_nothing_is_opened_without_a_lease() -> None:
    held = [False]
    claims = GrantedClaims(lambda: held[0])
    claims.grant("door", "alice", 7, until=10.0)
    refused(claims, "door", "alice", 7)
    claims.expire(0.0)
    assert claims.take_ended() == (("door", 7),), "what was granted is over with the lease"
    held[0] = True
    claims.grant("door", "alice", 7, until=10.0)
    with claims.claim("door", "alice", lambda: None, placed=7):
        pass


def test_grants_that_nobody_uses_end() -> None:
    claims = GrantedClaims(lambda: True)
    claims.grant("door", "alice", 7, until=10.0)
    claims.expire(9.9)
    assert claims.take_ended() == ()
    claims.expire(10.0)
    assert claims.take_ended() == (("door", 7),)
    refused(claims, "door", "alice", 7)


def test_an_older_grant_never_replaces_a_newer_one() -> None:
    claims = GrantedClaims(lambda: True)
    claims.grant("door", "alice", 7, until=10.0)
    claims.grant("door", "bob", 6, until=10.0)
    with claims.claim("door", "alice", lambda: None, placed=7):
        claims.grant("door", "alice", 5, until=10.0)
        refused(claims, "door", "alice", 5)


def test_a_revoked_grant_cannot_be_used() -> None:
    claims = GrantedClaims(lambda: True)
    claims.grant("door", "alice", 7, until=10.0)
    claims.revoke("door", 6)
    claims.revoke("gate", 9)
    with claims.claim("door", "alice", lambda: None, placed=7):
        pass
    claims.grant("door", "alice", 8, until=10.0)
    claims.revoke("door", 8)
    refused(claims, "door", "alice", 8)


def test_the_engines_time_is_told_by_stream() -> None:
    claims = GrantedClaims(lambda: True)
    claims.grant("door", "alice", 7, until=10.0)
    with claims.claim("door", "alice", lambda: None, placed=7):
        claims.worked("door", 0.25)
        claims.worked("door", 0.5)
        claims.worked("gate", 9.0)  # of a stream that is not open any more
        assert claims.take_work() == {"door": 0.75} and claims.take_work() == {}
