"""Options of reuse as bytes: what comes back is equal, and whatever else comes is an error without its text."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxshard.cloud.wire.reuse_codec import MAX_BYTES, decode_reuse, encode_reuse
from fluxshard.errors import WireError
from fluxshard.options import LevelOptions, PlannedOptions, ReuseOptions

ALL = [
    ReuseOptions(),
    ReuseOptions(policy="planned", scene_cut=0.5, input="assembled", rfap="per_layer"),
    ReuseOptions(tau={"model.0.conv": 0.25, "model.1.conv": 0.0}, tau_input=0.125),
    ReuseOptions(
        policy="planned",
        planned=PlannedOptions(
            tau=0.1, tau_small=None, levels={8: LevelOptions(gain=0.5), 32: LevelOptions(shard_px=64, dilation=1)}
        ),
    ),
]


@pytest.mark.parametrize("reuse", ALL)
def test_comes_back_equal(reuse: ReuseOptions) -> None:
    assert decode_reuse(encode_reuse(reuse)) == reuse


def test_a_path_never_travels() -> None:
    assert "profile" not in json.loads(encode_reuse(ReuseOptions(profile="/etc/passwd")))
    body = json.loads(encode_reuse(ReuseOptions()))
    with pytest.raises(WireError, match="name a file"):
        decode_reuse(json.dumps({**body, "profile": "/etc/passwd"}))


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(encode_reuse(ReuseOptions(policy="planned"))), **values})


def planned(**values: Any) -> str:
    body = json.loads(encode_reuse(ReuseOptions(policy="planned")))
    return json.dumps({**body, "planned": {**body["planned"], **values}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "7",
        '"planned"',
        "null",
        changed(policy="secret"),
        changed(secret=1),
        changed(tau_input=float("nan")),
        changed(tau_input=10**400),
        changed(tau=-1.0),
        changed(tau={"a": "b"}),
        changed(tau=[0.1]),
        changed(tau=True),
        changed(scene_cut="0.5"),
        changed(planned=None),
        planned(secret=1),
        planned(tau=float("inf")),
        planned(tau_waiting=10**400),
        planned(wait_frames=10**30),
        planned(wait_frames=1.5),
        planned(levels={"a": {}}),
        planned(levels={"8": {"secret": 1}}),
        planned(levels={"8": {"shard_px": 12}}),
        planned(levels={"8": []}),
        planned(pixel_range=[0.0]),
        planned(pixel_range=[0.0, 10**400]),
    ],
)
def test_values_that_are_refused(text: str) -> None:
    with pytest.raises(WireError, match=r"^options of reuse have values that are not allowed$"):
        decode_reuse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"' + "a" * MAX_BYTES + '"', "take more than"),
        ("[" * 30_000, "too complex"),
        ('{"a":' * 300 + "1" + "}" * 300, "too complex"),
        (" " * (MAX_BYTES + 1), "take more than"),
    ],
)
def test_sizes_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_reuse(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@given(st.data())
def test_any_value_of_any_option_is_read_or_refused(data: st.DataObject) -> None:
    body = json.loads(encode_reuse(data.draw(st.sampled_from(ALL))))
    where = data.draw(st.sampled_from([body, body["planned"]]))
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(JSON)
    with contextlib.suppress(WireError):
        assert isinstance(decode_reuse(json.dumps(body)), ReuseOptions)
