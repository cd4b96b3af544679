"""Planned reuse: levels, the image test and the planner."""
