"""API v2 (GNS3 2.2)."""
