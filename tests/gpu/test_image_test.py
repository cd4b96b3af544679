"""The image test of planned reuse on a GPU is its definition, whatever the images, motion and thresholds are."""

from __future__ import annotations

import pytest

from tests.gpu import image_tests
from tests.gpu.place import Place
from tests.host.shard_streams import CASES


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(12))
def test_decisions_are_those_of_the_definition(place: Place, name: str, seed: int) -> None:
    assert image_tests.decides_alike(place, name, seed) > 0
