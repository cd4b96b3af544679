"""Measurements: never part of the tests, always as ratios within one run.

Waiting threads sleep, here as in the command line: with the default, one neighbour on a core makes every contender
several times slower. OpenMP reads this when torch is loaded.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
