"""The worker's side of a cluster: it serves what it was granted, while it holds a lease."""
