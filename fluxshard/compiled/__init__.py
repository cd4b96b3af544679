"""Compiled models: their sizes and sessions, and how they are saved and loaded. No capture, and no passes."""
