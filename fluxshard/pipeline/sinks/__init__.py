"""Where frames of a run go: JSON lines, an annotated film."""
