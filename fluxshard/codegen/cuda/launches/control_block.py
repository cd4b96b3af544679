"""What the host writes once a frame: one block of bytes, struct Control of prelude.cuh and what follows it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fluxshard.codegen.common.arena import round_up
from fluxshard.codegen.cuda.launches.memory import CONTROL_BYTES, Memory

_CONTROL = struct.Struct("<QQQqiiiiif")


def frame_block(
    memory: Memory, *, image: int, motion: int, motion_valid: int, scene_cut: int, cell_px: int, motion_columns: int,
    keyframe: bool, input_fresh: bool, parity: int, tau_input: float, tau: Sequence[float], work: Sequence[int],
    outputs: Sequence[int],
) -> bytes:  # fmt: skip
    """The bytes that go to `memory.control`.

    Args:
      memory: of the program.
      image, motion, motion_valid: device addresses; motion 0 where nothing moved.
      scene_cut: most pixels that may change before the frame is run whole.
      cell_px, motion_columns: of the motion field.
      keyframe: run the frame whole.
      input_fresh: feed the whole new frame.
      parity: which maps are the last frame's.
      tau_input, tau: thresholds; one per layer.
      work: address of the given cells per grid, or 0.
      outputs: address that each output that is a value goes to; 0 for those off the grids.
    """
    control = _CONTROL.pack(
        image, motion, motion_valid, scene_cut, cell_px, motion_columns, keyframe, input_fresh, parity, tau_input
    )
    parts = (
        control.ljust(CONTROL_BYTES, b"\0"),
        struct.pack(f"<{len(tau)}f", *tau).ljust(round_up(4 * len(tau), 8), b"\0"),
        struct.pack(f"<{len(work)}Q", *work),
        struct.pack(f"<{len(outputs)}Q", *outputs),
    )
    return b"".join(parts).ljust(memory.frame_bytes, b"\0")
