"""Parking, where the backend cannot do it; tests/host/test_parking.py has the rest."""

from __future__ import annotations

import pytest
import torch

from fluxshard.errors import StateError
from fluxshard.testing.fake_engine import FakeEngine


def test_a_backend_that_cannot_park_says_so_and_the_stream_goes_on() -> None:
    with FakeEngine((16, 24)).session() as session:
        with pytest.raises(StateError, match="run no frame"):
            session.park()
        image = torch.rand(1, 3, 16, 24)
        first = session.run(image)
        with pytest.raises(StateError, match="'fake' cannot be parked"):
            session.park()
        assert not session.parked and session.parked_bytes == 0
        session.unpark()  # does nothing
        assert torch.equal(session.run(image), first)
    with pytest.raises(StateError, match="closed"):
        session.park()
