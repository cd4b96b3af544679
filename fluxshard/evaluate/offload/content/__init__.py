"""What a replay knows of a video, made up or recorded from a clip."""
