"""`fluxshard edge`: a video whose frames run here or on a server."""
