"""How well incremental execution does: clips, methods to compare, metrics, and the runner that joins them."""
