"""Images of registries."""
