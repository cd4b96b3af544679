"""Who a client is, and which streams are its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

# identities become file names, labels of metrics and keys of caches, so their alphabet is small
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit"


def is_name(text: str) -> bool:
    """Whether a text can be the name of an identity: `NAME_RULE`."""
    return _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A client that has proved who it is.

    Attributes:
      name: of the client; two clients with one name are the same client.
      prefix: what the names of its streams begin with; "" allows every name.
      expires: Unix time in seconds at which the proof ends; None for a certificate, which TLS checks.
    """

    name: str
    prefix: str = ""
    expires: float | None = None

    def may_open(self, stream: str) -> bool:
        """Whether a stream is covered by the prefix, which ends at the end of a word.

        "cam1" covers "cam1", "cam1/left" and "cam1-b", not "cam10"; "depot7-" covers "depot7-cam1".
        """
        if not stream.startswith(self.prefix):
            return False
        before, after = self.prefix[-1:], stream[len(self.prefix) : len(self.prefix) + 1]
        return not (before.isalnum() and after.isalnum())
