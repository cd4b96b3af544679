"""Sources of frames: video files, network streams, cameras and directories of images."""
