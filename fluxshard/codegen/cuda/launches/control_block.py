"""Bytes that the host writes once a frame and once a proposal: struct Control of prelude.cuh and what follows it.

Kernels of layers read `parity` of it; all other fields belong to the image.
"""

from __future__ import annotations

import struct

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.cuda.launches.memory import CONTROL_BYTES
from fluxshard.ir.stream_layout import FrameControl, InputControl, InputLayout, StreamLayout

_CONTROL = struct.Struct("<QQQqiiiiifQ")


def frame_block(layout: StreamLayout, c: FrameControl) -> bytes:
    """The bytes that go to `StreamLayout.control`."""
    parts = (
        _CONTROL.pack(0, 0, 0, 0, 1, 1, 0, 0, c.parity, 0.0, 0).ljust(CONTROL_BYTES, b"\0"),
        struct.pack(f"<{len(c.tau)}f", *c.tau).ljust(round_up(4 * len(c.tau), 8), b"\0"),
        struct.pack(f"<{len(c.work)}Q", *c.work),
        struct.pack(f"<{len(c.outputs)}Q", *c.outputs),
    )
    return b"".join(parts).ljust(layout.control_bytes, b"\0")


def input_block(layout: InputLayout, c: InputControl) -> bytes:
    """The bytes that go to `InputLayout.control`."""
    control = _CONTROL.pack(
        c.image, c.motion, c.motion_valid, c.scene_cut, c.cell_px, c.motion_columns, c.keyframe, c.fresh, c.parity,
        c.tau, c.motion_starts,
    )  # fmt: skip
    return (control.ljust(CONTROL_BYTES, b"\0") + struct.pack("<Q", c.given)).ljust(layout.control_bytes, b"\0")
