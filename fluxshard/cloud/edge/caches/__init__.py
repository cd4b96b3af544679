"""What the caches of both endpoints ask for of a frame, as far as the edge knows or needs to know."""
