"""What executes frames: the seam, and one engine for each backend."""
