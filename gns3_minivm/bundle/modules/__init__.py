"""Kernel modules: dependencies, aliases, and the order of loading."""
