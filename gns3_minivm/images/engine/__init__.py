"""Images of a Docker engine."""
