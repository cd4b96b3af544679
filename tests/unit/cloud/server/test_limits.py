"""Limits of a server are finite and above 0."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from fluxshard.cloud.server.limits import Caller, ServerLimits
from fluxshard.errors import OptionError


@pytest.mark.parametrize("name", [field.name for field in fields(ServerLimits)])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
def test_values_that_are_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=name):
        ServerLimits(**{name: value})


def test_only_the_streams_of_a_caller_may_be_unlimited() -> None:
    assert ServerLimits(max_streams_per_identity=0).max_streams_per_identity == 0
    with pytest.raises(OptionError, match="max_streams"):
        ServerLimits(max_streams=0)


def test_an_open_server_knows_nobody() -> None:
    assert Caller() == Caller(identity="", address="", prefix="")
