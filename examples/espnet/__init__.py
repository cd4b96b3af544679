"""A network for semantic segmentation that is no YOLO: ESPNet with weights for streets."""
