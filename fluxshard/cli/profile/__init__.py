"""`fluxshard profile`: what an endpoint takes for a frame, as a function of the frame's work."""
