"""Where frames come from: files, streams, cameras and directories of pictures."""
