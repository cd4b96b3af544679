"""Methods to compare, each a way of getting a result for every frame on the same engine."""
