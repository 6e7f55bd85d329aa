"""Containerlab topologies, read as labs."""
