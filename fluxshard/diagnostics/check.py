"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
      name: of the thing.
      status: "warn" works, but not well; "missing" is not there or cannot be used.
      seen: what was found.
      advice: what to do; "" for nothing.
      required: nothing works without it.
    """

    name: str
    status: Status
    seen: str
    advice: str = ""
    required: bool = False

    @property
    def fatal(self) -> bool:
        """Something required is missing."""
        return self.required and self.status == "missing"

    def line(self) -> str:
        """The check as one line of text."""
        text = f"{self.seen}: {self.advice}" if self.advice else self.seen
        return f"{self.status:<8} {self.name:<21} {' '.join(text.split())}"
