from typing import Any

import pytest

from fluxshard.cloud.link_emulation.options import LEAST_MBPS, LinkOptions
from fluxshard.errors import OptionError


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"up_mbps": ()}, "up_mbps"),
        ({"up_mbps": (1.0, -1.0)}, "up_mbps"),
        ({"up_mbps": (float("nan"),)}, "up_mbps"),
        ({"delay_up_ms": -1.0}, r"delay_up_ms \(=-1.0\)"),
        ({"delay_down_ms": float("inf")}, "delay_down_ms"),
        ({"queue_bytes": 100}, r"queue_bytes \(=100\) must hold a packet"),
        ({"loss": 1.0}, r"loss \(=1.0\)"),
        ({"seed": 0}, "seed"),
        ({"edges": 0}, "edges"),
        ({"edges": 201}, "edges"),
        ({"congestion_control": "cubic; reboot"}, "congestion_control"),
        ({"initcwnd": 0}, "initcwnd"),
    ],
)
def test_what_is_not_allowed_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        LinkOptions(**wrong)


def test_the_queue_is_a_round_trip_of_the_highest_rate_unless_it_is_given() -> None:
    assert LinkOptions(up_mbps=(10.0, 100.0)).queue == 500_000
    assert LinkOptions(up_mbps=(1.0,)).queue == 64 << 10
    assert LinkOptions(queue_bytes=3000).queue == 3000


def test_outages_have_a_rate() -> None:
    assert LinkOptions(up_mbps=(0.0, 5.0)).rates == (LEAST_MBPS, 5.0)
