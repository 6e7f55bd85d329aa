"""API v3 (GNS3 3.0)."""
