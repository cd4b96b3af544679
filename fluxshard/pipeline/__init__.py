"""From frames to results: run, decode detections, mark regions, focus; records of frames and sinks for them."""
