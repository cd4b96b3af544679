"""Models in and pictures out: checkpoints, post-processing, agreement and drawing."""
