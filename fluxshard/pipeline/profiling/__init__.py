"""Latency and energy of an endpoint, measured on real frames, as functions of their predicted work."""
