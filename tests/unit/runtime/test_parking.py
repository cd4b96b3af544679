from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fluxshard.runtime.parking import PART, Block, Bytes, HoldsMemory, Planes, memory_of, park


def split(numbers: Bytes, planes: Bytes) -> None:
    planes[:] = numbers.reshape(-1, 4).T.ravel()


def join(planes: Bytes, numbers: Bytes) -> None:
    numbers[:] = planes.reshape(4, -1).T.ravel()


FLOATS = Planes(4, split, join)


def smooth(n_bytes: int) -> Bytes:
    """Numbers of like size: their signs and exponents repeat."""
    return np.random.default_rng(0).normal(1.0, 0.1, n_bytes // 4).astype(np.float32).view(np.uint8)


def contents() -> list[tuple[Bytes, Planes | None]]:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, 300_001).astype(np.uint8)
    return [
        (smooth(3 * PART + 64), FLOATS),
        (np.tile(noise, 3), None),
        (noise.copy(), None),
        (np.zeros(100, np.uint8), None),
        (smooth(8), FLOATS),
        (noise[:7].copy(), FLOATS),  # not whole numbers
    ]


def without_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def importing(name: str, *rest: Any, **named: Any) -> Any:
        if name == "zstandard":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", importing)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("zstandard", [True, False])
def test_blocks_come_back_in_their_place(threads: int, zstandard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if zstandard:
        pytest.importorskip("zstandard")
    else:
        without_zstandard(monkeypatch)
    held = contents()
    before = [(memory.ctypes.data, memory.copy()) for memory, _ in held]
    for _ in range(2):
        parked = park([Block(memory, planes) for memory, planes in held], threads)
        assert 0 < parked.n_bytes < sum(memory.nbytes for memory, _ in held)
        parked.restore(threads)
        for (memory, _), (address, content) in zip(held, before, strict=True):
            assert memory.ctypes.data == address and (memory == content).all()


def test_bytes_of_a_kind_pack_better() -> None:
    pytest.importorskip("zstandard")
    floats = smooth(4 * PART)
    apart, mixed = park([Block(floats.copy(), FLOATS)], 1).n_bytes, park([Block(floats.copy())], 1).n_bytes
    assert apart < 0.85 * floats.nbytes and apart < 0.97 * mixed


def test_images_that_repeat_each_other_are_found_far_apart() -> None:
    pytest.importorskip("zstandard")
    image = np.random.default_rng(2).integers(0, 256, 3 << 20).astype(np.uint8)
    assert park([Block(np.tile(image, 3))], 1).n_bytes < 1.2 * image.nbytes


def test_who_holds_memory() -> None:
    class Holder:
        def memory(self) -> tuple[Bytes, ...]:
            return (np.zeros(3, np.uint8),)

    assert isinstance(Holder(), HoldsMemory) and len(memory_of(Holder())) == 1
    assert memory_of(object()) == () and memory_of(None) == ()
