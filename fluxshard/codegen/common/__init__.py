"""Shared parts of the C++ and the CUDA generator."""
