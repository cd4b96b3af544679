"""Sinks of a run's frames: JSON lines, an annotated film."""
