"""The best link that this machine can emulate."""

from __future__ import annotations

from typing import Literal

from fluxshard.cloud.link_emulation.emulated_link import EmulatedLink
from fluxshard.cloud.link_emulation.namespaces import missing_for_namespaces
from fluxshard.cloud.link_emulation.options import LinkOptions
from fluxshard.cloud.link_emulation.packet_link import PacketLink
from fluxshard.cloud.link_emulation.shaped_link import ShapedLink


def open_link(options: LinkOptions, kind: Literal["auto", "packets", "shaper"] = "auto") -> EmulatedLink:
    """A link with these options, to be entered.

    Args:
      options: of the link.
      kind: "auto" carries packets where this machine allows it, and shapes in this process elsewhere; see
        `EmulatedLink.kind`.

    Raises:
      OptionError: a shaper cannot do what the options ask for.
    """
    if kind == "auto":
        kind = "shaper" if missing_for_namespaces() else "packets"
    return PacketLink(options) if kind == "packets" else ShapedLink(options)
