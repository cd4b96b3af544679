"""Calibration: searches for the thresholds of least compute within an accuracy budget."""
