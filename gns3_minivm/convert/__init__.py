"""Image to disk: recipe, cache, and the one pass from layers to qcow2."""
