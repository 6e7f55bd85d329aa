"""What a lab looks like: the layout, drawings, and pictures."""
