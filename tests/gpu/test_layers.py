"""Every op of a plan as a CUDA kernel on a GPU, against its definition in torch, on masks of all kinds."""

from __future__ import annotations

import pytest

from fluxshard.options import DType
from tests.gpu import layers
from tests.gpu.place import DTYPES, Place
from tests.layers.cases import GROUPS


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_are_their_definitions_on_any_mask(place: Place, dtype: DType, group: str) -> None:
    layers.definitions(place, group, dtype)


@pytest.mark.parametrize("group", ["convolutions", "pools", "views", "rowwise"])
def test_layers_that_run_in_torch_instead_are_their_definitions(place: Place, group: str) -> None:
    layers.some_in_torch(place, group)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nothing_is_written_between_blocks(place: Place, dtype: DType, group: str) -> None:
    layers.writes_stay_inside(place, group, dtype)
