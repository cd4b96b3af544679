"""What outputs mean besides detections: maps of numbers, maps of classes, rankings of classes."""
