"""Loading of weights files; decoding, comparison and drawing of detections."""
