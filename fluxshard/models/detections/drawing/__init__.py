"""What is drawn into pictures, in place; `models.detections.draw` puts it together."""
