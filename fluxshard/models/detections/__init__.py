"""Detections: decoding, non-maximum suppression, regions, agreement and drawing."""
