"""Execution of frames: displacement fields, recompute sets, slot maps, engines and sessions."""
