"""Thresholds that fit the scene: now and then a frame is computed whole, and shows what reuse has cost."""
