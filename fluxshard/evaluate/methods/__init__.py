"""Methods under comparison: dense, planned and propagated reuse, and baselines, all on the same engine."""
