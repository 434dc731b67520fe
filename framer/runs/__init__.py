"""A run: finished weights with their config and card."""
