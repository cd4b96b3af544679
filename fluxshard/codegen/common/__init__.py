"""What the C++ and the CUDA generator share."""
