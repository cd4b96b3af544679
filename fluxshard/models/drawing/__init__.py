"""What is drawn into pictures, in place; `models.detections.draw` and the sinks of a run put it together."""
