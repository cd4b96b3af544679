"""Identities of objects over the frames of a video, and Ultralytics' own tracking on a session."""
