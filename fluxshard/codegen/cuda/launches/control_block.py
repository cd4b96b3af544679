"""What the host writes once a frame: one block of bytes, struct Control of prelude.cuh and what follows it."""

from __future__ import annotations

import struct

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.cuda.launches.memory import CONTROL_BYTES
from fluxshard.ir.stream_layout import FrameControl, StreamLayout

_CONTROL = struct.Struct("<QQQqiiiiif")


def frame_block(layout: StreamLayout, c: FrameControl) -> bytes:
    """The bytes that go to `layout.control`."""
    control = _CONTROL.pack(
        c.image, c.motion, c.motion_valid, c.scene_cut, c.cell_px, c.motion_columns, c.keyframe, c.input_fresh,
        c.parity, c.tau_input,
    )  # fmt: skip
    parts = (
        control.ljust(CONTROL_BYTES, b"\0"),
        struct.pack(f"<{len(c.tau)}f", *c.tau).ljust(round_up(4 * len(c.tau), 8), b"\0"),
        struct.pack(f"<{len(c.work)}Q", *c.work),
        struct.pack(f"<{len(c.outputs)}Q", *c.outputs),
    )
    return b"".join(parts).ljust(layout.control_bytes, b"\0")
