"""Kernels on the processor, through the emulation header."""
