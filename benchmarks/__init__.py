"""Measurements: never part of the tests, always as ratios within one run."""
