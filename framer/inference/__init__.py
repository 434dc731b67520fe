"""Restoring and captioning images, and the folders they are written to."""
