"""Kernels compiled from source."""
