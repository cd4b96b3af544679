"""`fluxshard serve`: a model that edges send their frames to."""
