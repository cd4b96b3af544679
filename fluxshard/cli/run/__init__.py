"""`fluxshard run`: a model over a video, and the files that it leaves."""
