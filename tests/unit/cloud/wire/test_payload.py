"""Payloads by name: one contract for all of them."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from fluxshard.errors import OptionError, WireError

pytest.importorskip("zstandard", reason="zstandard is not installed: pip install '.[cloud]'")

from fluxshard.cloud.wire.jpeg_payload import JpegPayload
from fluxshard.cloud.wire.packed_payload import PackedPayload
from fluxshard.cloud.wire.payload import PayloadName, make_payload
from fluxshard.cloud.wire.raw_payload import RawPayload
from tests.unit.cloud.wire.pictures import masks, picture

NAMES: tuple[PayloadName, ...] = get_args(PayloadName)


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests take numpy on every machine; tests/host compares it with C++."""
    monkeypatch.setenv("CXX", "no-such-compiler")


@pytest.mark.parametrize("name", NAMES)
def test_every_payload_keeps_the_contract(name: PayloadName) -> None:
    size = (33, 47)
    made, pixels, cached = make_payload(name, *size), picture(size, "smooth", 0), picture(size, "noise", 1)
    assert (made.height, made.width) == size
    for mask in masks(size, 2):
        data = made.encode(pixels, mask)
        found = made.decode(data, mask, cached)
        assert (found[~mask] == cached[~mask]).all() and found is not cached
        assert found.flags["WRITEABLE"] and found.flags["C_CONTIGUOUS"]
        assert bool(data) == bool(mask.any())
        if name != "jpeg":
            assert (found[mask] == pixels[mask]).all()
        with pytest.raises(WireError):
            made.decode(data + b"x", mask, cached)
    with pytest.raises(WireError, match="a mask of"):
        made.encode(pixels, np.ones((33, 46), np.bool_))


def test_names() -> None:
    kinds = {"raw": RawPayload, "packed": PackedPayload, "jpeg": JpegPayload}
    assert {name: type(make_payload(name, 8, 8)) for name in NAMES} == kinds
    with pytest.raises(OptionError, match="payload \\(='zip'\\) must be 'raw', 'packed' or 'jpeg'"):
        make_payload("zip", 8, 8)  # type: ignore[arg-type]
