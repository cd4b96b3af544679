"""Islands as generated CUDA: those that treat every cell alone, such as the decoding of boxes, are one kernel each."""
