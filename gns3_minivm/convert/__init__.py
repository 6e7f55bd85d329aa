"""Image -> disk artifact: the pipeline and its cache."""
