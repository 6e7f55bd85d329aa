"""Packages that a kernel bundle is made of."""
