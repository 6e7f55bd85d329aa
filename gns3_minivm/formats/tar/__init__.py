"""Image layers: tar archives merged into one file tree."""
