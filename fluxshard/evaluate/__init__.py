"""Evaluation of incremental execution: clips, methods, traces, metrics, calibration and reports."""
