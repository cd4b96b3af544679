"""What messages take over an emulated link, beside what rate and delay alone would take.

    python -m benchmarks.link

One connection of plain TCP between two processes, each in its own network namespace; a message goes up, 64 bytes come
back. Root is needed. Rows differ in the sender's congestion control and in whether its window shrinks while it pauses.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, replace

from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.cloud.link_emulation.packet_link import PacketLink
from tests.unit.cloud.link_emulation.peers import answering, seconds, start_edge

SIZES = (26_000, 300_000)
GAPS_S = (0.033, 0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Sender:
    """A row of the table."""

    label: str
    congestion_control: str
    slow_start_after_idle: bool
    initcwnd: int | None = None


SENDERS = (
    Sender("cubic, shrinks after idle (the kernel's default)", "cubic", True),
    Sender("cubic", "cubic", False),
    Sender("cubic, initcwnd 64", "cubic", False, 64),
    Sender("bbr", "bbr", False),
)


def times_ms(link: PacketLink, port: int, size: int, gap_s: float, count: int) -> list[float]:
    """Of messages on a new connection."""
    return [1e3 * took for took in seconds(start_edge(link, port, [size] * count, gap_s=gap_s))[1:]]


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbps", type=float, default=100.0)
    parser.add_argument("--delay", type=float, default=20.0, help="ms each way")
    parser.add_argument("--loss", type=float, default=0.0)
    parser.add_argument("--count", type=int, default=10, help="messages per cell")
    given = parser.parse_args()
    options = LinkOptions(
        up_mbps=(given.mbps,), delay_up_ms=given.delay, delay_down_ms=given.delay, loss=given.loss, queue_bytes=1 << 20
    )
    ideal = [2 * given.delay + size * 8 / given.mbps / 1e3 for size in SIZES]
    print(
        f"{given.mbps:g} Mbit/s, {given.delay:g} ms each way, loss {given.loss:g}, queue 1 MiB; median ms without the "
        f"first two; without TCP {' and '.join(f'{ms:.0f}' for ms in ideal)} ms\n"
    )
    cells = [f"{size // 1000} kB, {1e3 * gap:g} ms apart" for size in SIZES for gap in GAPS_S]
    print(f"| sender | {' | '.join(cells)} | first of {' / '.join(f'{size // 1000} kB' for size in SIZES)} |")
    print("|---|" + "---:|" * (len(cells) + 1))
    for sender in SENDERS:
        link = PacketLink(
            replace(
                options,
                congestion_control=sender.congestion_control,
                slow_start_after_idle=sender.slow_start_after_idle,
                initcwnd=sender.initcwnd,
            )
        )
        with link, answering(link) as port:
            rows = {
                (size, gap): times_ms(link, port, size, gap, max(4, given.count if gap < 2 else given.count // 2))
                for size in SIZES
                for gap in GAPS_S
            }
        medians = [f"{statistics.median(rows[size, gap][2:]):.0f}" for size in SIZES for gap in GAPS_S]
        first = " / ".join(f"{rows[size, GAPS_S[0]][0]:.0f}" for size in SIZES)
        print(f"| {sender.label} | {' | '.join(medians)} | {first} |", flush=True)


if __name__ == "__main__":
    main()
