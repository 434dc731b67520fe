"""A study: its schema, the grid of arms and jobs, and the layout of its outputs."""
