"""Islands as dense ops on buffers of known sizes: torch ops lowered to what both C++ and CUDA are generated from."""
