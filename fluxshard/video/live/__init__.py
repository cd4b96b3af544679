"""Frames of cameras and streams: read in a thread of their own, at their own times, over any number of connections."""
