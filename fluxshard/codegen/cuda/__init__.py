"""Generated CUDA: a plan becomes kernels of its own, compiled by NVRTC for a GPU, or by g++ for the emulator."""
