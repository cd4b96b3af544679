"""A street that is drawn, a network trained on it, and the demo that runs that network incrementally."""

from __future__ import annotations

import os

# The demo runs two engines in turns, each with its own threads: those that wait must sleep, or they take the cores from
# the other engine. OpenMP reads it when it is loaded, and torch loads it: it has to be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
