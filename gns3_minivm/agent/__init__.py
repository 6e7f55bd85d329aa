"""Keeps GNS3 servers in the desired state."""
