"""Training: labelled samples, the loop, and the bundle that comes of it."""
