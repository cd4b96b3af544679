"""Clips to evaluate on, and their masks as COCO run lengths."""
