"""Metrics of traces against annotations and against the dense network."""
