"""From kernel parameters to machine code: text, NVRTC, CUBINs and what they use."""
